#include "lib/ingest/ingestor.h"

#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/node_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/embedding/run.h"
#include "lib/ingest/outcome_table.h"

namespace faultline::ingest {
namespace {

constexpr int kIndexNiceness = 5;

using EmbedderPtr = std::shared_ptr<const embedding::Embedder>;

// The behaviour space under one embedder.
struct Index {
  EmbedderPtr embedder;
  std::unique_ptr<space::VectorSpace> space;
  uint64_t indexed = 0;  // log sequence that the space is up to
};

// What the analysis of a project's log records yields, before it is published.
struct IndexBatch {
  // One outcome: the trace's own, or a later judgement.
  struct Outcome {
    uint64_t sequence;  // of the trace; 0: not arrived
    std::string trace_id;
    v1::Outcome outcome;
    bool judgement;
  };

  uint64_t last = 0;  // sequence of the last record read
  std::vector<uint64_t> ids;
  std::vector<float> vectors;  // ids.size() x dimension
  std::vector<Outcome> outcomes;
  int embedding_dimension = 0;  // of the callers' embeddings; 0: none
};

struct Project {
  std::string name;
  std::shared_ptr<Index> index;  // null before Replay
  std::shared_ptr<Index> next;   // being built for a new embedder
  OutcomeTable outcomes;
  absl::Status status;    // why indexing stands still, until the next record
  bool queued = false;    // in ready_
  uint64_t durable = 0;   // highest known sequence
  uint64_t replayed = 0;  // highest sequence that was there at start
  uint64_t traces = 0;
  uint64_t rejected = 0;
  uint64_t duplicates = 0;
  int embedding_dimension = 0;  // 0: not known yet

  bool HasWork() const {
    return index != nullptr && status.ok() &&
           (index->indexed < durable || next != nullptr);
  }
  bool IndexedUpTo(uint64_t sequence) const {
    return index != nullptr && index->indexed >= sequence && next == nullptr;
  }
};

// A trace id as a refusal quotes it.
std::string Quote(const std::string& trace_id) {
  return base::CutText(trace_id, 128);
}

absl::Status BadProject(const v1::ErrorDetail& detail) {
  return base::DetailedError(absl::StatusCode::kInvalidArgument, detail);
}

class IngestorImpl : public Ingestor {
 public:
  IngestorImpl(const Options& options, EmbedderPtr first_embedder,
               trace::TraceLog* log, const trace::TraceValidator* validator,
               const base::Clock* clock);
  ~IngestorImpl() override;

  absl::Status Replay(
      const std::function<EmbedderPtr(absl::string_view project)>& embedder)
      override;
  absl::Status IngestTraces(absl::string_view project,
                            std::vector<v1::Trace> traces, Done done) override;
  absl::Status RecordOutcomes(absl::string_view project,
                              std::vector<v1::OutcomeRecord> outcomes,
                              Done done) override;
  absl::Status AnnotateTraces(absl::string_view project,
                              std::vector<v1::AnnotationRecord> annotations,
                              Done done) override;
  void SetEmbedder(absl::string_view project, EmbedderPtr embedder) override;
  absl::StatusOr<std::vector<Similar>> FindSimilar(
      absl::string_view project, const v1::Trace& trace, int k,
      v1::Outcome outcome) const override;
  Counters GetCounters(absl::string_view project) const override;
  void WaitUntilIndexed(absl::string_view project) override;

 private:
  Project& GetProject(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Project* FindProject(absl::string_view name) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Enqueue(Project* project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The dimension of the project's caller embeddings; becomes `dimension`
  // where there is none yet.
  int FixEmbeddingDimension(absl::string_view project, int dimension)
      ABSL_LOCKS_EXCLUDED(mutex_);
  std::optional<v1::ErrorDetail> CheckTrace(absl::string_view project,
                                            const v1::Trace& trace,
                                            absl::Time now, int* dimension)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Appends what was accepted and reports when it is durable.
  absl::Status Append(absl::string_view project,
                      std::vector<v1::LogRecord> records, Result result,
                      Done done) ABSL_LOCKS_EXCLUDED(mutex_);
  void Count(absl::string_view project, const Result& result)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Observe(absl::string_view project,
               const std::vector<v1::LogRecord>& records)
      ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::shared_ptr<Index>> NewIndex(EmbedderPtr embedder) const;
  void IndexLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  // One batch of the index in use, then one of the index being built.
  void Advance(Project* project) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<IndexBatch> ReadBatch(const std::string& project,
                                       const Index& index, uint64_t last) const;
  // Fills in the sequences of judged traces.
  absl::Status FindJudged(const std::string& project, IndexBatch* batch) const;

  const Options options_;
  const EmbedderPtr first_embedder_;
  trace::TraceLog* const log_;
  const trace::TraceValidator* const validator_;
  const base::Clock* const clock_;

  mutable absl::Mutex mutex_;
  // Pointers to projects stay valid: none is ever removed.
  absl::node_hash_map<std::string, Project> projects_ ABSL_GUARDED_BY(mutex_);
  std::deque<Project*> ready_ ABSL_GUARDED_BY(mutex_);
  int appends_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

IngestorImpl::IngestorImpl(const Options& options, EmbedderPtr first_embedder,
                           trace::TraceLog* log,
                           const trace::TraceValidator* validator,
                           const base::Clock* clock)
    : options_(options),
      first_embedder_(std::move(first_embedder)),
      log_(log),
      validator_(validator),
      clock_(clock) {
  for (const std::string& name : log_->Projects()) {
    const uint64_t last = log_->LastSequence(name);
    absl::MutexLock lock(&mutex_);
    Project& project = GetProject(name);
    project.durable = last;
    project.replayed = last;
  }
  log_->SetObserver(
      [this](absl::string_view project, std::vector<v1::LogRecord> records) {
        Observe(project, records);
      });
  thread_ = std::thread([this] { IndexLoop(); });
}

IngestorImpl::~IngestorImpl() {
  {
    absl::MutexLock lock(&mutex_);
    const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return appends_in_flight_ == 0;
    };
    mutex_.Await(absl::Condition(&idle));
    stopping_ = true;
  }
  thread_.join();
}

Project& IngestorImpl::GetProject(absl::string_view name) {
  const auto [it, inserted] = projects_.try_emplace(name);
  if (inserted) it->second.name = it->first;
  return it->second;
}

const Project* IngestorImpl::FindProject(absl::string_view name) const {
  const auto it = projects_.find(name);
  return it == projects_.end() ? nullptr : &it->second;
}

void IngestorImpl::Enqueue(Project* project) {
  if (project->queued || !project->HasWork()) return;
  project->queued = true;
  ready_.push_back(project);
}

absl::Status IngestorImpl::Replay(
    const std::function<EmbedderPtr(absl::string_view project)>& embedder) {
  struct Pending {
    std::string name;
    uint64_t sequence;
  };
  std::vector<Pending> pending;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, project] : projects_) {
      pending.push_back({name, project.durable});
    }
  }
  for (const Pending& p : pending) SetEmbedder(p.name, embedder(p.name));

  absl::MutexLock lock(&mutex_);
  for (const Pending& p : pending) {
    const Project& project = GetProject(p.name);
    const auto finished = [&project, &p] {
      return !project.status.ok() || project.IndexedUpTo(p.sequence);
    };
    mutex_.Await(absl::Condition(&finished));
    FAULTLINE_RETURN_IF_ERROR(project.status);
  }
  return absl::OkStatus();
}

absl::Status IngestorImpl::IngestTraces(absl::string_view project,
                                        std::vector<v1::Trace> traces,
                                        Done done) {
  if (const auto fault = trace::CheckProjectName(project)) {
    return BadProject(*fault);
  }
  const absl::Time now = clock_->Now();
  int dimension = FixEmbeddingDimension(project, 0);
  Result result;
  std::vector<v1::LogRecord> records;
  records.reserve(traces.size());
  for (size_t i = 0; i < traces.size(); ++i) {
    if (auto fault = CheckTrace(project, traces[i], now, &dimension)) {
      result.refusals.push_back(
          {i, Quote(traces[i].trace_id()), *std::move(fault)});
    } else {
      *records.emplace_back().mutable_trace() = std::move(traces[i]);
    }
  }
  return Append(project, std::move(records), std::move(result),
                std::move(done));
}

absl::Status IngestorImpl::RecordOutcomes(
    absl::string_view project, std::vector<v1::OutcomeRecord> outcomes,
    Done done) {
  if (const auto fault = trace::CheckProjectName(project)) {
    return BadProject(*fault);
  }
  const absl::Time now = clock_->Now();
  Result result;
  std::vector<v1::LogRecord> records;
  records.reserve(outcomes.size());
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (auto fault = validator_->CheckOutcome(outcomes[i], now)) {
      result.refusals.push_back(
          {i, Quote(outcomes[i].trace_id()), *std::move(fault)});
    } else {
      *records.emplace_back().mutable_outcome() = std::move(outcomes[i]);
    }
  }
  return Append(project, std::move(records), std::move(result),
                std::move(done));
}

absl::Status IngestorImpl::AnnotateTraces(
    absl::string_view project, std::vector<v1::AnnotationRecord> annotations,
    Done done) {
  if (const auto fault = trace::CheckProjectName(project)) {
    return BadProject(*fault);
  }
  Result result;
  std::vector<v1::LogRecord> records;
  records.reserve(annotations.size());
  for (size_t i = 0; i < annotations.size(); ++i) {
    if (auto fault = validator_->CheckAnnotation(annotations[i])) {
      result.refusals.push_back(
          {i, Quote(annotations[i].trace_id()), *std::move(fault)});
    } else {
      *records.emplace_back().mutable_annotation() = std::move(annotations[i]);
    }
  }
  return Append(project, std::move(records), std::move(result),
                std::move(done));
}

int IngestorImpl::FixEmbeddingDimension(absl::string_view project,
                                        int dimension) {
  absl::MutexLock lock(&mutex_);
  if (dimension == 0) {
    const Project* known = FindProject(project);
    return known == nullptr ? 0 : known->embedding_dimension;
  }
  int& fixed = GetProject(project).embedding_dimension;
  if (fixed == 0) fixed = dimension;
  return fixed;
}

std::optional<v1::ErrorDetail> IngestorImpl::CheckTrace(
    absl::string_view project, const v1::Trace& trace, absl::Time now,
    int* dimension) {
  auto fault = validator_->CheckTrace(trace, project, *dimension, now);
  const int own = trace.task().embedding_size();
  if (fault.has_value() || own == 0 || *dimension != 0) return fault;
  // The first one with an embedding, unless another call was faster.
  *dimension = FixEmbeddingDimension(project, own);
  return *dimension == own
             ? std::nullopt
             : validator_->CheckTrace(trace, project, *dimension, now);
}

absl::Status IngestorImpl::Append(absl::string_view project,
                                  std::vector<v1::LogRecord> records,
                                  Result result, Done done) {
  if (records.empty()) {
    Count(project, result);
    result.durable_sequence = log_->LastSequence(project);
    done(std::move(result));
    return absl::OkStatus();
  }
  {
    absl::MutexLock lock(&mutex_);
    ++appends_in_flight_;
  }
  const absl::Status status = log_->Append(
      project, std::move(records),
      [this, name = std::string(project), result = std::move(result),
       done = std::move(done)](
          absl::StatusOr<std::vector<trace::TraceLog::Appended>>
              appended) mutable {
        if (appended.ok()) {
          for (const auto& record : *appended) {
            ++(record.duplicate ? result.duplicates : result.stored);
          }
          result.durable_sequence = log_->LastSequence(name);
          Count(name, result);
          done(std::move(result));
        } else {
          done(std::move(appended).status());
        }
        absl::MutexLock lock(&mutex_);
        --appends_in_flight_;
      });
  if (!status.ok()) {
    absl::MutexLock lock(&mutex_);
    --appends_in_flight_;
  }
  return status;
}

void IngestorImpl::Count(absl::string_view project, const Result& result) {
  if (result.duplicates == 0 && result.refusals.empty()) return;
  absl::MutexLock lock(&mutex_);
  Project& counted = GetProject(project);
  counted.duplicates += result.duplicates;
  counted.rejected += result.refusals.size();
}

void IngestorImpl::Observe(absl::string_view project,
                           const std::vector<v1::LogRecord>& records) {
  if (records.empty()) return;
  uint64_t traces = 0;
  for (const v1::LogRecord& record : records) traces += record.has_trace();

  absl::MutexLock lock(&mutex_);
  Project& observed = GetProject(project);
  observed.durable = std::max(observed.durable, records.back().sequence());
  observed.traces += traces;
  observed.status = absl::OkStatus();
  if (observed.index == nullptr && observed.replayed == 0) {
    absl::StatusOr<std::shared_ptr<Index>> index = NewIndex(first_embedder_);
    if (index.ok()) {
      observed.index = *std::move(index);
    } else {
      observed.status = std::move(index).status();
    }
  }
  Enqueue(&observed);
}

void IngestorImpl::SetEmbedder(absl::string_view project,
                               EmbedderPtr embedder) {
  absl::StatusOr<std::shared_ptr<Index>> index =
      NewIndex(embedder == nullptr ? first_embedder_ : std::move(embedder));
  absl::MutexLock lock(&mutex_);
  Project& changed = GetProject(project);
  changed.status = index.status();
  if (!index.ok()) return;
  (changed.index == nullptr ? changed.index : changed.next) = *std::move(index);
  Enqueue(&changed);
}

absl::StatusOr<std::vector<Ingestor::Similar>> IngestorImpl::FindSimilar(
    absl::string_view project, const v1::Trace& trace, int k,
    v1::Outcome outcome) const {
  std::shared_ptr<const Index> index;
  int dimension = 0;
  {
    absl::ReaderMutexLock lock(&mutex_);
    const Project* known = FindProject(project);
    if (known != nullptr) {
      FAULTLINE_RETURN_IF_ERROR(known->status);
      index = known->index;
      dimension = known->embedding_dimension;
    }
  }
  const absl::Time now = clock_->Now();
  v1::Trace whole = trace;
  if (whole.trace_id().empty()) whole.set_trace_id("query");
  if (!whole.has_start_time()) {
    whole.mutable_start_time()->set_seconds(absl::ToUnixSeconds(now));
    whole.clear_end_time();
  }
  if (auto fault = validator_->CheckTrace(whole, project, dimension, now)) {
    return base::DetailedError(absl::StatusCode::kInvalidArgument,
                               *std::move(fault));
  }
  if (index == nullptr) return std::vector<Similar>();

  std::vector<float> vector(index->embedder->dimension());
  index->embedder->Embed(embedding::ExtractRun(whole, nullptr),
                         embedding::Map::kTrajectory, nullptr,
                         absl::MakeSpan(vector));
  const absl::StatusOr<uint64_t> self =
      trace.trace_id().empty() ? absl::NotFoundError("")
                               : log_->FindTrace(project, trace.trace_id());
  if (!self.ok() && !absl::IsNotFound(self.status())) return self.status();

  // The index does not know outcomes: look further until enough are left.
  size_t wanted = k + 1;
  while (true) {
    const size_t points = index->space->size();
    FAULTLINE_ASSIGN_OR_RETURN(
        auto found, index->space->Search(vector, static_cast<int>(wanted)));
    std::vector<Similar> similar;
    {
      absl::ReaderMutexLock lock(&mutex_);
      const Project* known = FindProject(project);
      for (const space::Neighbor& neighbor : found.front()) {
        if (self.ok() && neighbor.id == *self) continue;
        const v1::Outcome own = known->outcomes.Get(neighbor.id);
        if (outcome != v1::OUTCOME_UNSPECIFIED && own != outcome) continue;
        similar.push_back(
            {neighbor.id, std::sqrt(std::max(0.0f, neighbor.distance)), own});
        if (similar.size() == static_cast<size_t>(k)) return similar;
      }
    }
    if (wanted >= points) return similar;
    wanted = std::min(points, wanted * 4);
  }
}

Ingestor::Counters IngestorImpl::GetCounters(absl::string_view project) const {
  Counters counters;
  absl::ReaderMutexLock lock(&mutex_);
  const Project* known = FindProject(project);
  if (known == nullptr) return counters;
  counters.traces = known->traces;
  counters.failures = known->outcomes.failures();
  counters.rejected = known->rejected;
  counters.duplicates = known->duplicates;
  if (known->index != nullptr) {
    counters.indexed_sequence = known->index->indexed;
    counters.indexed = known->index->space->size();
    counters.embedding_epoch = known->index->embedder->epoch();
  }
  return counters;
}

void IngestorImpl::WaitUntilIndexed(absl::string_view project) {
  const uint64_t last = log_->LastSequence(project);
  if (last == 0) return;
  absl::MutexLock lock(&mutex_);
  const Project& waited = GetProject(project);
  const auto finished = [&waited, last] {
    return !waited.status.ok() || waited.IndexedUpTo(last);
  };
  mutex_.Await(absl::Condition(&finished));
}

absl::StatusOr<std::shared_ptr<Index>> IngestorImpl::NewIndex(
    EmbedderPtr embedder) const {
  space::VectorSpace::Options options = options_.space;
  options.dimension = embedder->dimension();
  auto index = std::make_shared<Index>();
  FAULTLINE_ASSIGN_OR_RETURN(index->space, space::VectorSpace::Create(options));
  index->embedder = std::move(embedder);
  return index;
}

void IngestorImpl::IndexLoop() {
  // Acknowledgements go first: on Linux each thread has a niceness of its own,
  // and the threads that it starts inherit it.
  errno = 0;
  if (nice(kIndexNiceness) == -1 && errno != 0) {
    PLOG(WARNING) << "indexing runs at the priority of the rest";
  }
  const auto due = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !ready_.empty();
  };
  while (true) {
    Project* project;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&due));
      if (stopping_) return;
      project = ready_.front();
      ready_.pop_front();
      project->queued = false;
    }
    Advance(project);
  }
}

void IngestorImpl::Advance(Project* project) {
  std::shared_ptr<Index> index, next;
  uint64_t durable;
  {
    absl::MutexLock lock(&mutex_);
    index = project->index;
    next = project->next;
    durable = project->durable;
  }
  // Only this thread changes Index::indexed and spaces, so that reading them
  // needs no lock here. `name` never changes.
  absl::StatusOr<IndexBatch> batch = ReadBatch(project->name, *index, durable);
  absl::Status status = batch.status();
  if (status.ok()) status = FindJudged(project->name, &*batch);
  if (status.ok()) status = index->space->Add(batch->ids, batch->vectors);
  if (status.ok()) {
    absl::MutexLock lock(&mutex_);
    for (const IndexBatch::Outcome& o : batch->outcomes) {
      if (o.judgement) {
        project->outcomes.AddJudgement(o.sequence, o.trace_id, o.outcome);
      } else {
        project->outcomes.AddTrace(o.sequence, o.trace_id, o.outcome);
        project->traces += o.sequence <= project->replayed;
      }
    }
    if (project->embedding_dimension == 0) {
      project->embedding_dimension = batch->embedding_dimension;
    }
    index->indexed = batch->last;
  }
  if (status.ok() && next != nullptr) {
    batch = ReadBatch(project->name, *next, index->indexed);
    status = batch.status();
    if (status.ok()) status = next->space->Add(batch->ids, batch->vectors);
  }

  absl::MutexLock lock(&mutex_);
  if (status.ok() && next != nullptr) {
    next->indexed = batch->last;
    if (project->next == next && next->indexed == index->indexed) {
      project->index = std::move(project->next);
      project->next = nullptr;
    }
  }
  if (!status.ok()) {
    LOG(ERROR) << "project " << project->name << " is not indexed beyond "
               << index->indexed << ": " << status;
    project->status = std::move(status);
  }
  Enqueue(project);
}

absl::StatusOr<IndexBatch> IngestorImpl::ReadBatch(const std::string& project,
                                                   const Index& index,
                                                   uint64_t last) const {
  IndexBatch batch;
  batch.last = std::min(last, index.indexed + options_.index_batch);
  if (batch.last == index.indexed) return batch;
  const size_t dimension = index.embedder->dimension();
  FAULTLINE_RETURN_IF_ERROR(log_->Scan(
      project, index.indexed + 1, batch.last, [&](const v1::LogRecord& record) {
        if (record.has_trace()) {
          const v1::Trace& trace = record.trace();
          batch.ids.push_back(record.sequence());
          batch.vectors.resize(batch.vectors.size() + dimension);
          index.embedder->Embed(embedding::ExtractRun(trace, nullptr),
                                embedding::Map::kTrajectory, nullptr,
                                absl::MakeSpan(batch.vectors).last(dimension));
          batch.outcomes.push_back({record.sequence(), trace.trace_id(),
                                    trace.evaluation().outcome(), false});
          if (batch.embedding_dimension == 0) {
            batch.embedding_dimension = trace.task().embedding_size();
          }
        } else if (record.has_outcome()) {
          batch.outcomes.push_back({0, record.outcome().trace_id(),
                                    record.outcome().evaluation().outcome(),
                                    true});
        }
        return true;
      }));
  return batch;
}

absl::Status IngestorImpl::FindJudged(const std::string& project,
                                      IndexBatch* batch) const {
  for (IndexBatch::Outcome& outcome : batch->outcomes) {
    if (!outcome.judgement) continue;
    const auto sequence = log_->FindTrace(project, outcome.trace_id);
    if (sequence.ok()) {
      outcome.sequence = *sequence;
    } else if (!absl::IsNotFound(sequence.status())) {
      return sequence.status();
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ingestor>> Ingestor::Create(
    const Options& options, trace::TraceLog* log,
    const trace::TraceValidator* validator, const base::Clock* clock) {
  if (options.index_batch == 0) {
    return absl::InvalidArgumentError("index_batch: 0 (at least 1)");
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      EmbedderPtr embedder,
      embedding::Embedder::Create(options.embedder, v1::CorpusSnapshot()));
  space::VectorSpace::Options space = options.space;
  space.dimension = embedder->dimension();
  FAULTLINE_RETURN_IF_ERROR(space::VectorSpace::Create(space).status());
  return std::make_unique<IngestorImpl>(options, std::move(embedder), log,
                                        validator, clock);
}

}  // namespace faultline::ingest
