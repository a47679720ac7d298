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

// What a record says of one run.
struct Indexer::Change {
  enum Kind { kTrace, kReplacement, kJudgement, kRemoval };
  Kind kind;
  uint64_t sequence;  // of the run; 0: of a judgement before its run
  std::string trace_id;
  v1::Outcome outcome;
  // Records that a replacement took the place of.
  std::vector<uint64_t> earlier;
};

// What the analysis of a project's log records yields, before it is published.
struct Indexer::IndexBatch {
  uint64_t last = 0;  // sequence of the last record read
  std::vector<uint64_t> ids;
  std::vector<float> vectors;  // ids.size() x dimension
  std::vector<Change> changes;
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
  size_t deleted = 0;
  if (status.ok()) {
    const auto removed = UpdateSpace(*batch, index->space.get());
    status = removed.status();
    deleted = removed.value_or(0);
  }
  if (status.ok()) {
    absl::MutexLock lock(&mutex_);
    for (const Change& change : batch->changes) {
      Apply(change, project);
    }
    project->traces -= deleted;
    if (project->embedding_dimension == 0) {
      project->embedding_dimension = batch->embedding_dimension;
    }
    index->indexed = batch->last;
  }
  if (status.ok() && next != nullptr) {
    batch = ReadBatch(project->name, *next, index->indexed);
    status = batch.status();
    if (status.ok()) status = UpdateSpace(*batch, next->space.get()).status();
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
  FAULTLINE_RETURN_IF_ERROR(log_->Scan(
      project, index.indexed + 1, batch.last, [&](const v1::LogRecord& record) {
        Analyze(record, *index.embedder, &batch);
        return true;
      }));
  FAULTLINE_RETURN_IF_ERROR(FindRuns(project, &batch));
  return batch;
}

void Indexer::Analyze(const v1::LogRecord& record,
                      const embedding::Embedder& embedder, IndexBatch* batch) {
  switch (record.payload_case()) {
    case v1::LogRecord::kTrace:
    case v1::LogRecord::kReplacement: {
      const bool is_new = record.has_trace();
      const v1::Trace& trace = is_new ? record.trace() : record.replacement();
      const size_t dimension = embedder.dimension();
      batch->ids.push_back(record.sequence());
      batch->vectors.resize(batch->vectors.size() + dimension);
      embedder.Embed(embedding::ExtractRun(trace, nullptr),
                     embedding::Map::kTrajectory, nullptr,
                     absl::MakeSpan(batch->vectors).last(dimension));
      batch->changes.push_back({is_new ? Change::kTrace : Change::kReplacement,
                                record.sequence(),
                                trace.trace_id(),
                                trace.evaluation().outcome(),
                                {}});
      if (batch->embedding_dimension == 0) {
        batch->embedding_dimension = trace.task().embedding_size();
      }
      break;
    }
    case v1::LogRecord::kOutcome:
      batch->changes.push_back({Change::kJudgement,
                                0,
                                record.outcome().trace_id(),
                                record.outcome().evaluation().outcome(),
                                {}});
      break;
    case v1::LogRecord::kDeletion:
      for (const uint64_t sequence : record.deletion().sequences()) {
        batch->changes.push_back(
            {Change::kRemoval, sequence, "", v1::OUTCOME_UNSPECIFIED, {}});
      }
      break;
    case v1::LogRecord::kAnnotation:
    case v1::LogRecord::kReview:
    case v1::LogRecord::kConfig:
    case v1::LogRecord::kTombstone:
    case v1::LogRecord::PAYLOAD_NOT_SET:
      break;
  }
}

absl::Status Indexer::FindRuns(const std::string& project,
                               IndexBatch* batch) const {
  for (Change& change : batch->changes) {
    switch (change.kind) {
      case Change::kJudgement: {
        const auto sequence = log_->FindTrace(project, change.trace_id);
        if (absl::IsNotFound(sequence.status())) break;
        FAULTLINE_RETURN_IF_ERROR(sequence.status());
        change.sequence = *sequence;
        break;
      }
      case Change::kReplacement: {
        const auto versions = log_->FindVersions(project, change.trace_id);
        // Deleted meanwhile: the deletion names every version.
        if (absl::IsNotFound(versions.status())) break;
        FAULTLINE_RETURN_IF_ERROR(versions.status());
        for (const uint64_t version : *versions) {
          if (version < change.sequence) change.earlier.push_back(version);
        }
        break;
      }
      case Change::kTrace:
      case Change::kRemoval:
        break;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Indexer::UpdateSpace(const IndexBatch& batch,
                                            space::VectorSpace* space) {
  FAULTLINE_RETURN_IF_ERROR(space->Add(batch.ids, batch.vectors));
  // Whatever is removed was added before, here or in an earlier batch.
  std::vector<uint64_t> replaced, deleted;
  for (const Change& change : batch.changes) {
    replaced.insert(replaced.end(), change.earlier.begin(),
                    change.earlier.end());
    if (change.kind == Change::kRemoval) {
      deleted.push_back(change.sequence);
    }
  }
  if (!replaced.empty()) {
    FAULTLINE_RETURN_IF_ERROR(space->Remove(replaced).status());
  }
  if (deleted.empty()) return 0;
  return space->Remove(deleted);
}

void Indexer::Apply(const Change& change, Project* project) {
  OutcomeTable& outcomes = project->outcomes;
  switch (change.kind) {
    case Change::kTrace:
      outcomes.AddTrace(change.sequence, change.trace_id, change.outcome);
      project->traces += change.sequence <= project->replayed;
      break;
    case Change::kReplacement:
      outcomes.ReplaceTrace(change.earlier, change.sequence, change.trace_id,
                            change.outcome);
      break;
    case Change::kJudgement:
      outcomes.AddJudgement(change.sequence, change.trace_id, change.outcome);
      break;
    case Change::kRemoval:
      outcomes.Remove(change.sequence);
      break;
  }
}

}  // namespace faultline::ingest
