#include "lib/ingest/indexer.h"

#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "absl/types/span.h"
#include "lib/base/status_macros.h"
#include "lib/embedding/run.h"

namespace faultline::ingest {
namespace {

constexpr int kIndexNiceness = 5;

}  // namespace

// The behaviour space under one embedder.
struct Indexer::Index {
  EmbedderPtr embedder;
  std::unique_ptr<space::VectorSpace> space;
  uint64_t indexed = 0;  // log sequence that the space is up to
};

// What the analysis of a project's log records yields, before it is published.
struct Indexer::IndexBatch {
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

struct Indexer::Project {
  std::string name;
  std::shared_ptr<Index> index;  // null before Replay
  std::shared_ptr<Index> next;   // being built for a new embedder
  OutcomeTable outcomes;
  absl::Status status;    // why indexing stands still, until the next record
  bool queued = false;    // in ready_
  uint64_t durable = 0;   // highest known sequence
  uint64_t replayed = 0;  // highest sequence that was there at start
  uint64_t traces = 0;
  int embedding_dimension = 0;  // 0: not known yet

  bool HasWork() const {
    return index != nullptr && status.ok() &&
           (index->indexed < durable || next != nullptr);
  }
  bool IndexedUpTo(uint64_t sequence) const {
    return index != nullptr && index->indexed >= sequence && next == nullptr;
  }
};

Indexer::Indexer(const Ingestor::Options& options, EmbedderPtr first_embedder,
                 trace::TraceLog* log)
    : options_(options), first_embedder_(std::move(first_embedder)), log_(log) {
  for (const std::string& name : log_->Projects()) {
    const uint64_t last = log_->LastSequence(name);
    absl::MutexLock lock(&mutex_);
    Project& project = GetProject(name);
    project.durable = last;
    project.replayed = last;
  }
  thread_ = std::thread([this] { IndexLoop(); });
}

Indexer::~Indexer() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

Indexer::Project& Indexer::GetProject(absl::string_view name) {
  auto [it, inserted] = projects_.try_emplace(name);
  if (inserted) {
    it->second = std::make_unique<Project>();
    it->second->name = it->first;
  }
  return *it->second;
}

const Indexer::Project* Indexer::FindProject(absl::string_view name) const {
  const auto it = projects_.find(name);
  return it == projects_.end() ? nullptr : it->second.get();
}

void Indexer::Enqueue(Project* project) {
  if (project->queued || !project->HasWork()) return;
  project->queued = true;
  ready_.push_back(project);
}

absl::Status Indexer::Replay(
    const std::function<EmbedderPtr(absl::string_view project)>& embedder) {
  struct Pending {
    std::string name;
    uint64_t sequence;
  };
  std::vector<Pending> pending;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, project] : projects_) {
      pending.push_back({name, project->durable});
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

int Indexer::EmbeddingDimension(absl::string_view project) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Project* known = FindProject(project);
  return known == nullptr ? 0 : known->embedding_dimension;
}

int Indexer::FixEmbeddingDimension(absl::string_view project, int dimension) {
  absl::MutexLock lock(&mutex_);
  int& fixed = GetProject(project).embedding_dimension;
  if (fixed == 0) fixed = dimension;
  return fixed;
}

void Indexer::Observe(absl::string_view project,
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

void Indexer::SetEmbedder(absl::string_view project, EmbedderPtr embedder) {
  absl::StatusOr<std::shared_ptr<Index>> index =
      NewIndex(embedder == nullptr ? first_embedder_ : std::move(embedder));
  absl::MutexLock lock(&mutex_);
  Project& changed = GetProject(project);
  changed.status = index.status();
  if (!index.ok()) return;
  (changed.index == nullptr ? changed.index : changed.next) = *std::move(index);
  Enqueue(&changed);
}

absl::StatusOr<std::vector<Ingestor::Similar>> Indexer::FindSimilar(
    absl::string_view project, const v1::Trace& trace, uint64_t self, int k,
    v1::Outcome outcome) const {
  std::shared_ptr<const Index> index;
  {
    absl::ReaderMutexLock lock(&mutex_);
    const Project* known = FindProject(project);
    if (known == nullptr) return std::vector<Ingestor::Similar>();
    FAULTLINE_RETURN_IF_ERROR(known->status);
    if (known->index == nullptr) return std::vector<Ingestor::Similar>();
    index = known->index;
  }
  std::vector<float> vector(index->embedder->dimension());
  index->embedder->Embed(embedding::ExtractRun(trace, nullptr),
                         embedding::Map::kTrajectory, nullptr,
                         absl::MakeSpan(vector));

  // The index does not know outcomes: look further until enough are left.
  size_t wanted = k + 1;
  while (true) {
    const size_t points = index->space->size();
    FAULTLINE_ASSIGN_OR_RETURN(
        auto found, index->space->Search(vector, static_cast<int>(wanted)));
    std::vector<Ingestor::Similar> similar;
    {
      absl::ReaderMutexLock lock(&mutex_);
      const Project* known = FindProject(project);
      for (const space::Neighbor& neighbor : found.front()) {
        if (neighbor.id == self) continue;
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

void Indexer::FillCounters(absl::string_view project,
                           Ingestor::Counters* counters) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Project* known = FindProject(project);
  if (known == nullptr) return;
  counters->traces = known->traces;
  counters->failures = known->outcomes.failures();
  if (known->index == nullptr) return;
  counters->indexed_sequence = known->index->indexed;
  counters->indexed = known->index->space->size();
  counters->embedding_epoch = known->index->embedder->epoch();
}

void Indexer::WaitUntilIndexed(absl::string_view project) {
  const uint64_t last = log_->LastSequence(project);
  if (last == 0) return;
  absl::MutexLock lock(&mutex_);
  const Project& waited = GetProject(project);
  const auto finished = [&waited, last] {
    return !waited.status.ok() || waited.IndexedUpTo(last);
  };
  mutex_.Await(absl::Condition(&finished));
}

absl::StatusOr<std::shared_ptr<Indexer::Index>> Indexer::NewIndex(
    EmbedderPtr embedder) const {
  space::VectorSpace::Options options = options_.space;
  options.dimension = embedder->dimension();
  auto index = std::make_shared<Index>();
  FAULTLINE_ASSIGN_OR_RETURN(index->space, space::VectorSpace::Create(options));
  index->embedder = std::move(embedder);
  return index;
}

void Indexer::IndexLoop() {
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

void Indexer::Advance(Project* project) {
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

absl::StatusOr<Indexer::IndexBatch> Indexer::ReadBatch(
    const std::string& project, const Index& index, uint64_t last) const {
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

absl::Status Indexer::FindJudged(const std::string& project,
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

}  // namespace faultline::ingest
