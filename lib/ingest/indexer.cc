#include "lib/ingest/indexer.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "lib/base/thread_priority.h"
#include "lib/embedding/run.h"
#include "lib/ingest/checkpoint_file.h"

namespace faultline::ingest {
namespace {

constexpr int64_t kRetryMilliseconds = 200;
// Batches that are read by several threads, and how many threads.
constexpr uint64_t kParallelBatches = 8;
constexpr unsigned kMaxReaders = 4;
// A checkpoint is due when so many records have come since the last one, and
// half as many as it holds: a start then reads a third of the log at most, and
// what is written in all is three times what there is.
constexpr uint64_t kCheckpointRecords = 20000;
// At the end, where it spares the next start more than it takes.
constexpr uint64_t kLastCheckpointRecords = 1000;
constexpr uint64_t kLastCheckpointShare = 20;

}  // namespace

// The behaviour spaces under one embedder.
struct Indexer::Index {
  EmbedderPtr embedder;
  std::unique_ptr<space::VectorSpace> trajectory;
  std::unique_ptr<space::VectorSpace> behavior;
  uint64_t indexed = 0;  // log sequence that the spaces are up to
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
  std::vector<float> trajectories;  // ids.size() x dimension
  std::vector<float> behaviors;     // ids.size() x dimension
  std::vector<Change> changes;
  int embedding_dimension = 0;  // of the callers' embeddings; 0: none
};

// Of traces alone. Their sequences are filled in when they are known.
struct Indexer::Prepared {
  Project* project;
  EmbedderPtr embedder;
  IndexBatch batch;
  uint64_t first = 0;  // sequence of the first record; the last is batch.last
  size_t records = 0;
  size_t bytes = 0;
};

// A project on its way to a file.
struct Indexer::Snapshot {
  v1::CheckpointSummary summary;
  OutcomeTable outcomes;
  std::unique_ptr<const space::VectorSpace::Frozen> trajectory;
  std::unique_ptr<const space::VectorSpace::Frozen> behavior;
};

// A project on its way from a file.
struct Indexer::Checkpoint {
  std::shared_ptr<Index> index;
  OutcomeTable outcomes;
  int embedding_dimension;
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
  int preparing = 0;            // calls that will deliver
  uint64_t preparing_records = 0;
  uint64_t least_lag = 0;  // of the durable records, since start
  // What calls have delivered, in log order.
  std::deque<std::shared_ptr<Prepared>> delivered;
  uint64_t checkpoint = 0;  // watermark of the last one, under this embedder
  bool checkpoint_wanted = false;

  bool HasWork() const {
    if (index == nullptr || !status.ok()) return false;
    if (next != nullptr) return true;
    // What is on its way need not be read from the log.
    return index->indexed < durable && (!delivered.empty() || preparing == 0);
  }
  // Durable records that are not in the index.
  uint64_t Lag() const {
    return durable - (index == nullptr ? 0 : std::min(index->indexed, durable));
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
    project.least_lag = last;
    const auto runs = log_->ListRuns(name);
    project.status = runs.status();
    if (runs.ok()) project.traces = runs->size();
  }
  thread_ = std::thread([this] { IndexLoop(); });
  checkpoint_thread_ = std::thread([this] { CheckpointLoop(); });
}

Indexer::~Indexer() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
  checkpoint_thread_.join();
  std::vector<Project*> projects;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, project] : projects_) {
      if (project->index == nullptr || project->next != nullptr) continue;
      const uint64_t fresh = project->index->indexed - project->checkpoint;
      if (fresh >= std::max(kLastCheckpointRecords,
                            project->checkpoint / kLastCheckpointShare)) {
        projects.push_back(project.get());
      }
    }
  }
  for (Project* project : projects) {
    const absl::Status status = WriteCheckpoint(*TakeSnapshot(project));
    if (!status.ok()) LOG(ERROR) << status.message();
  }
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
  const bool checkpoint = project->checkpoint_wanted && snapshot_ == nullptr &&
                          project->index != nullptr && project->status.ok();
  if (project->queued || (!project->HasWork() && !checkpoint)) return;
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
  std::vector<Pending> awaited;
  for (const Pending& p : pending) {
    EmbedderPtr own = embedder(p.name);
    if (own == nullptr) own = first_embedder_;
    FAULTLINE_ASSIGN_OR_RETURN(const bool waits,
                               Restore(p.name, std::move(own)));
    if (waits) awaited.push_back(p);
  }

  absl::MutexLock lock(&mutex_);
  for (const Pending& p : awaited) {
    const Project& project = GetProject(p.name);
    const auto finished = [&project, &p] {
      return !project.status.ok() || project.IndexedUpTo(p.sequence);
    };
    mutex_.Await(absl::Condition(&finished));
    FAULTLINE_RETURN_IF_ERROR(project.status);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Indexer::Restore(const std::string& project,
                                      EmbedderPtr embedder) {
  uint64_t durable;
  {
    absl::MutexLock lock(&mutex_);
    durable = GetProject(project).durable;
  }
  absl::StatusOr<Checkpoint> saved = LoadCheckpoint(project, embedder, durable);
  if (absl::IsDataLoss(saved.status())) {
    LOG(ERROR) << saved.status().message()
               << "; it is removed and the index rebuilt from the log";
    unlink(CheckpointPath(project).c_str());
  } else if (!saved.ok() && !absl::IsNotFound(saved.status())) {
    LOG(WARNING) << saved.status().message()
                 << "; the index is rebuilt from the log";
  }
  const bool rebuilt = absl::IsFailedPrecondition(saved.status());
  Checkpoint restored;
  if (saved.ok()) {
    restored = *std::move(saved);
  } else {
    FAULTLINE_ASSIGN_OR_RETURN(restored.index, NewIndex(std::move(embedder)));
  }
  absl::MutexLock lock(&mutex_);
  Project& opened = GetProject(project);
  opened.checkpoint = restored.index->indexed;
  opened.index = std::move(restored.index);
  opened.least_lag = std::min(opened.least_lag, opened.Lag());
  opened.outcomes = std::move(restored.outcomes);
  if (opened.embedding_dimension == 0) {
    opened.embedding_dimension = restored.embedding_dimension;
  }
  Enqueue(&opened);
  return !rebuilt;
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
                      const std::vector<trace::TraceLog::News>& news) {
  if (news.empty()) return;
  // By the log alone: what is deleted before it is indexed never gets there.
  uint64_t traces = 0;
  for (const trace::TraceLog::News& record : news) {
    traces += record.kind == v1::LogRecord::kTrace;
    traces -= record.removed;
  }

  absl::MutexLock lock(&mutex_);
  Project& observed = GetProject(project);
  observed.durable = std::max(observed.durable, news.back().sequence);
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

absl::Status Indexer::CheckLag(absl::string_view project) const {
  uint64_t lag;
  {
    absl::ReaderMutexLock lock(&mutex_);
    const Project* known = FindProject(project);
    // Where it stands still, only a new record sets it going.
    if (known == nullptr || !known->status.ok()) return absl::OkStatus();
    lag = known->Lag() + known->preparing_records;
    if (lag < known->least_lag + options_.max_index_lag) {
      return absl::OkStatus();
    }
  }
  v1::ErrorDetail detail = base::MakeErrorDetail(
      v1::ErrorDetail::REASON_OVERLOADED, "",
      absl::StrCat("ingest.max_index_lag: ", options_.max_index_lag,
                   " records that are accepted and not indexed"),
      absl::StrCat("the index of this project is ", lag,
                   " records behind; send again later"));
  detail.mutable_retry_delay()->set_nanos(kRetryMilliseconds * 1'000'000);
  return base::DetailedError(absl::StatusCode::kUnavailable, detail);
}

std::shared_ptr<Indexer::Prepared> Indexer::Prepare(
    absl::string_view project, const std::vector<v1::LogRecord>& records) {
  if (!std::all_of(records.begin(), records.end(),
                   [](const v1::LogRecord& r) { return r.has_trace(); })) {
    return nullptr;
  }
  auto prepared = std::make_shared<Prepared>();
  {
    absl::MutexLock lock(&mutex_);
    if (backlog_ >= options_.max_backlog_bytes) return nullptr;
    Project& stored = GetProject(project);
    if (stored.index == nullptr) {
      // Not yet replayed, or the very first call.
      if (stored.replayed > 0) return nullptr;
      prepared->embedder = first_embedder_;
    } else {
      prepared->embedder = stored.index->embedder;
    }
    prepared->project = &stored;
    prepared->records = records.size();
    prepared->bytes = 2 * records.size() *
                      static_cast<size_t>(prepared->embedder->dimension()) *
                      sizeof(float);
    backlog_ += prepared->bytes;
    ++stored.preparing;
    stored.preparing_records += records.size();
  }
  const size_t numbers = records.size() * prepared->embedder->dimension();
  prepared->batch.trajectories.reserve(numbers);
  prepared->batch.behaviors.reserve(numbers);
  prepared->batch.ids.reserve(records.size());
  prepared->batch.changes.reserve(records.size());
  embedding::Run scratch;
  for (const v1::LogRecord& record : records) {
    Analyze(record, *prepared->embedder, &scratch, &prepared->batch);
  }
  return prepared;
}

void Indexer::Deliver(std::shared_ptr<Prepared> prepared,
                      const std::vector<trace::TraceLog::Appended>* appended) {
  IndexBatch& batch = prepared->batch;
  size_t kept = 0;
  if (appended != nullptr) {
    const size_t dimension = prepared->embedder->dimension();
    for (size_t i = 0; i < appended->size(); ++i) {
      if ((*appended)[i].duplicate) continue;
      batch.last = (*appended)[i].sequence;
      if (kept == 0) prepared->first = batch.last;
      if (kept < i) {
        std::copy_n(batch.trajectories.begin() + i * dimension, dimension,
                    batch.trajectories.begin() + kept * dimension);
        std::copy_n(batch.behaviors.begin() + i * dimension, dimension,
                    batch.behaviors.begin() + kept * dimension);
        batch.changes[kept] = std::move(batch.changes[i]);
      }
      batch.ids[kept] = batch.last;
      batch.changes[kept].sequence = batch.last;
      ++kept;
    }
    batch.ids.resize(kept);
    batch.trajectories.resize(kept * dimension);
    batch.behaviors.resize(kept * dimension);
    batch.changes.erase(batch.changes.begin() + kept, batch.changes.end());
  }
  absl::MutexLock lock(&mutex_);
  Project* project = prepared->project;
  --project->preparing;
  project->preparing_records -= prepared->records;
  if (kept == 0) {
    backlog_ -= prepared->bytes;
  } else {
    project->delivered.push_back(std::move(prepared));
  }
  Enqueue(project);
}

void Indexer::SetEmbedder(absl::string_view project, EmbedderPtr embedder) {
  if (embedder == nullptr) embedder = first_embedder_;
  absl::StatusOr<std::shared_ptr<Index>> index = NewIndex(std::move(embedder));
  absl::MutexLock lock(&mutex_);
  Project& changed = GetProject(project);
  changed.status = index.status();
  if (!index.ok()) return;
  (changed.index == nullptr ? changed.index : changed.next) = *std::move(index);
  Enqueue(&changed);
}

absl::StatusOr<std::vector<Ingestor::Similar>> Indexer::FindSimilar(
    absl::string_view project, const v1::Trace& trace, v1::View view,
    uint64_t self, int k, v1::Outcome outcome) const {
  std::shared_ptr<const Index> index;
  {
    absl::ReaderMutexLock lock(&mutex_);
    const Project* known = FindProject(project);
    if (known == nullptr) return std::vector<Ingestor::Similar>();
    FAULTLINE_RETURN_IF_ERROR(known->status);
    if (known->index == nullptr) return std::vector<Ingestor::Similar>();
    index = known->index;
  }
  const bool behavior = view == v1::VIEW_BEHAVIOR;
  const space::VectorSpace& space =
      behavior ? *index->behavior : *index->trajectory;
  embedding::Run run;
  embedding::ExtractFeatures(trace, &run);
  std::vector<float> vector(index->embedder->dimension());
  index->embedder->Embed(
      run, behavior ? embedding::Map::kBehavior : embedding::Map::kTrajectory,
      nullptr, absl::MakeSpan(vector));

  // The index does not know outcomes: look further until enough are left.
  size_t wanted = k + 1;
  while (true) {
    const size_t points = space.size();
    FAULTLINE_ASSIGN_OR_RETURN(auto found,
                               space.Search(vector, static_cast<int>(wanted)));
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

std::vector<v1::Outcome> Indexer::GetOutcomes(
    absl::string_view project, absl::Span<const uint64_t> sequences) const {
  std::vector<v1::Outcome> outcomes(sequences.size());
  absl::ReaderMutexLock lock(&mutex_);
  const Project* known = FindProject(project);
  if (known == nullptr) return outcomes;
  for (size_t i = 0; i < sequences.size(); ++i) {
    outcomes[i] = known->outcomes.Get(sequences[i]);
  }
  return outcomes;
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
  counters->indexed = known->index->trajectory->size();
  counters->embedding_epoch = known->index->embedder->epoch();
  counters->checkpoint_sequence = options_.checkpoint_directory.empty()
                                      ? known->index->indexed
                                      : known->checkpoint;
}

void Indexer::RequestCheckpoint(absl::string_view project) {
  if (options_.checkpoint_directory.empty()) return;
  absl::MutexLock lock(&mutex_);
  Project& wanted = GetProject(project);
  wanted.checkpoint_wanted = true;
  Enqueue(&wanted);
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
  FAULTLINE_ASSIGN_OR_RETURN(index->trajectory,
                             space::VectorSpace::Create(options));
  options.quantization = options_.behavior_quantization;
  FAULTLINE_ASSIGN_OR_RETURN(index->behavior,
                             space::VectorSpace::Create(options));
  index->embedder = std::move(embedder);
  return index;
}

void Indexer::IndexLoop() {
  base::SetThreadPriority(base::ThreadPriority::kBatch);
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
  {
    absl::MutexLock lock(&mutex_);
    index = project->index;
    next = project->next;
  }
  // Only this thread changes Index::indexed and spaces, so that reading them
  // needs no lock here. `name` never changes.
  uint64_t read_to = 0;
  absl::StatusOr<IndexBatch> batch = TakeDelivered(project, *index, &read_to);
  if (batch->last == index->indexed) {
    batch = ReadBatch(project->name, *index, read_to);
  }
  absl::Status status = batch.status();
  if (status.ok()) status = UpdateSpaces(*batch, index.get());
  if (status.ok()) {
    absl::MutexLock lock(&mutex_);
    for (const Change& change : batch->changes) {
      Apply(change, project);
    }
    if (project->embedding_dimension == 0) {
      project->embedding_dimension = batch->embedding_dimension;
    }
    index->indexed = batch->last;
    project->least_lag = std::min(project->least_lag, project->Lag());
  }
  if (status.ok() && next != nullptr) {
    batch = ReadBatch(project->name, *next, index->indexed);
    status = batch.status();
    if (status.ok()) status = UpdateSpaces(*batch, next.get());
  }

  bool due;
  {
    absl::MutexLock lock(&mutex_);
    if (status.ok() && next != nullptr) {
      next->indexed = batch->last;
      if (project->next == next && next->indexed == index->indexed) {
        project->index = std::move(project->next);
        project->next = nullptr;
        project->checkpoint = 0;
      }
    }
    if (!status.ok()) {
      LOG(ERROR) << "project " << project->name << " is not indexed beyond "
                 << index->indexed << ": " << status;
      project->status = std::move(status);
    }
    const uint64_t fresh = project->index->indexed - project->checkpoint;
    due = !options_.checkpoint_directory.empty() && snapshot_ == nullptr &&
          project->next == nullptr &&
          (project->checkpoint_wanted ||
           fresh >= std::max(kCheckpointRecords, project->checkpoint / 2));
    if (due) project->checkpoint_wanted = false;
  }
  if (due) {
    std::unique_ptr<Snapshot> snapshot = TakeSnapshot(project);
    absl::MutexLock lock(&mutex_);
    snapshot_ = std::move(snapshot);
  }
  absl::MutexLock lock(&mutex_);
  Enqueue(project);
}

Indexer::IndexBatch Indexer::TakeDelivered(Project* project, const Index& index,
                                           uint64_t* read_to) {
  std::vector<std::shared_ptr<Prepared>> taken;
  IndexBatch batch;
  batch.last = index.indexed;
  size_t runs = 0;
  {
    absl::MutexLock lock(&mutex_);
    auto& delivered = project->delivered;
    while (!delivered.empty() && runs < options_.index_batch) {
      const std::shared_ptr<Prepared>& front = delivered.front();
      const bool useless =
          front->first <= batch.last || front->embedder != index.embedder;
      if (!useless && front->first != batch.last + 1) break;
      backlog_ -= front->bytes;
      if (!useless) {
        batch.last = front->batch.last;
        runs += front->batch.ids.size();
        taken.push_back(front);
      }
      delivered.pop_front();
    }
    if (!delivered.empty()) {
      *read_to = std::min(project->durable, delivered.front()->first - 1);
    } else {
      *read_to = project->preparing > 0 ? index.indexed : project->durable;
    }
  }
  const size_t numbers = runs * index.embedder->dimension();
  batch.ids.reserve(runs);
  batch.trajectories.reserve(numbers);
  batch.behaviors.reserve(numbers);
  batch.changes.reserve(runs);
  for (const std::shared_ptr<Prepared>& part : taken) {
    Append(std::move(part->batch), &batch);
  }
  return batch;
}

// What comes after. Leaves batch->last.
void Indexer::Append(IndexBatch&& from, IndexBatch* batch) {
  batch->ids.insert(batch->ids.end(), from.ids.begin(), from.ids.end());
  batch->trajectories.insert(batch->trajectories.end(),
                             from.trajectories.begin(),
                             from.trajectories.end());
  batch->behaviors.insert(batch->behaviors.end(), from.behaviors.begin(),
                          from.behaviors.end());
  std::move(from.changes.begin(), from.changes.end(),
            std::back_inserter(batch->changes));
  if (batch->embedding_dimension == 0) {
    batch->embedding_dimension = from.embedding_dimension;
  }
}

absl::StatusOr<Indexer::IndexBatch> Indexer::ReadBatch(
    const std::string& project, const Index& index, uint64_t last) const {
  IndexBatch batch;
  const uint64_t first = index.indexed + 1;
  const uint64_t behind = last - index.indexed;
  const uint64_t parallel = kParallelBatches * options_.index_batch;
  if (behind < parallel) {
    batch.last = std::min(last, index.indexed + options_.index_batch);
    FAULTLINE_RETURN_IF_ERROR(
        ReadRange(project, index, first, batch.last, &batch));
    return batch;
  }
  // Far behind, as after a start: reading takes longer than adding.
  const unsigned readers =
      std::clamp(std::thread::hardware_concurrency(), 1u, kMaxReaders);
  std::vector<IndexBatch> parts(readers);
  std::vector<absl::Status> statuses(readers);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < readers; ++i) {
    threads.emplace_back([&, i] {
      statuses[i] =
          ReadRange(project, index, first + parallel * i / readers,
                    index.indexed + parallel * (i + 1) / readers, &parts[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  batch.last = index.indexed + parallel;
  for (unsigned i = 0; i < readers; ++i) {
    FAULTLINE_RETURN_IF_ERROR(statuses[i]);
    Append(std::move(parts[i]), &batch);
  }
  return batch;
}

absl::Status Indexer::ReadRange(const std::string& project, const Index& index,
                                uint64_t first, uint64_t last,
                                IndexBatch* batch) const {
  embedding::Run scratch;
  FAULTLINE_RETURN_IF_ERROR(
      log_->Scan(project, first, last, [&](const v1::LogRecord& record) {
        Analyze(record, *index.embedder, &scratch, batch);
        return true;
      }));
  return FindRuns(project, batch);
}

void Indexer::Analyze(const v1::LogRecord& record,
                      const embedding::Embedder& embedder,
                      embedding::Run* scratch, IndexBatch* batch) {
  switch (record.payload_case()) {
    case v1::LogRecord::kTrace:
    case v1::LogRecord::kReplacement: {
      const bool is_new = record.has_trace();
      const v1::Trace& trace = is_new ? record.trace() : record.replacement();
      const size_t dimension = embedder.dimension();
      batch->ids.push_back(record.sequence());
      batch->trajectories.resize(batch->trajectories.size() + dimension);
      batch->behaviors.resize(batch->behaviors.size() + dimension);
      embedding::ExtractFeatures(trace, scratch);
      embedder.EmbedViews(*scratch,
                          absl::MakeSpan(batch->trajectories).last(dimension),
                          absl::MakeSpan(batch->behaviors).last(dimension));
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
    case v1::LogRecord::kClusterReview:
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

absl::Status Indexer::UpdateSpaces(const IndexBatch& batch, Index* index) {
  FAULTLINE_RETURN_IF_ERROR(
      index->trajectory->Add(batch.ids, batch.trajectories));
  if (auto added = index->behavior->Add(batch.ids, batch.behaviors);
      !added.ok()) {
    // The batch will come again.
    FAULTLINE_RETURN_IF_ERROR(index->trajectory->Remove(batch.ids).status());
    return added;
  }
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
    FAULTLINE_RETURN_IF_ERROR(index->trajectory->Remove(replaced).status());
    FAULTLINE_RETURN_IF_ERROR(index->behavior->Remove(replaced).status());
  }
  if (deleted.empty()) return absl::OkStatus();
  FAULTLINE_RETURN_IF_ERROR(index->behavior->Remove(deleted).status());
  return index->trajectory->Remove(deleted).status();
}

void Indexer::Apply(const Change& change, Project* project) {
  OutcomeTable& outcomes = project->outcomes;
  switch (change.kind) {
    case Change::kTrace:
      outcomes.AddTrace(change.sequence, change.trace_id, change.outcome);
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

std::string Indexer::CheckpointPath(const std::string& project) const {
  return absl::StrCat(options_.checkpoint_directory, "/", project, ".ckpt");
}

absl::StatusOr<uint64_t> Indexer::Anchor(const std::string& project,
                                         uint64_t sequence) const {
  const absl::StatusOr<v1::LogRecord> record = log_->Read(project, sequence);
  if (absl::IsNotFound(record.status())) return 0;
  FAULTLINE_RETURN_IF_ERROR(record.status());
  return base::Hash64(record->receive_time().SerializeAsString());
}

std::unique_ptr<Indexer::Snapshot> Indexer::TakeSnapshot(Project* project) {
  auto snapshot = std::make_unique<Snapshot>();
  absl::MutexLock lock(&mutex_);
  const Index& index = *project->index;
  snapshot->summary.set_project(project->name);
  snapshot->summary.set_fingerprint(index.embedder->fingerprint());
  snapshot->summary.set_watermark(index.indexed);
  snapshot->summary.set_embedding_dimension(project->embedding_dimension);
  snapshot->outcomes = project->outcomes;
  snapshot->trajectory = index.trajectory->Freeze();
  snapshot->behavior = index.behavior->Freeze();
  // Where it fails, too: it is tried again when as much has come.
  project->checkpoint = index.indexed;
  return snapshot;
}

absl::Status Indexer::WriteCheckpoint(const Snapshot& snapshot) const {
  v1::CheckpointSummary summary = snapshot.summary;
  FAULTLINE_ASSIGN_OR_RETURN(const uint64_t anchor,
                             Anchor(summary.project(), summary.watermark()));
  summary.set_anchor(anchor);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto writer,
      CheckpointWriter::Create(CheckpointPath(summary.project())));
  const auto sink = [&writer](absl::string_view bytes) {
    return writer->Write(bytes);
  };
  FAULTLINE_RETURN_IF_ERROR(snapshot.outcomes.Save(sink));
  FAULTLINE_RETURN_IF_ERROR(snapshot.trajectory->Save(sink));
  FAULTLINE_RETURN_IF_ERROR(snapshot.behavior->Save(sink));
  return writer->Commit(summary);
}

void Indexer::CheckpointLoop() {
  base::SetThreadPriority(base::ThreadPriority::kBackground);
  const auto due = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || snapshot_ != nullptr;
  };
  while (true) {
    const Snapshot* snapshot;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&due));
      if (snapshot_ == nullptr) return;
      snapshot = snapshot_.get();
    }
    const absl::Status status = WriteCheckpoint(*snapshot);
    if (!status.ok()) {
      LOG(ERROR) << status.message()
                 << "; the next start goes on from the one before";
    }
    absl::MutexLock lock(&mutex_);
    snapshot_.reset();
    for (const auto& [name, project] : projects_) Enqueue(project.get());
  }
}

absl::StatusOr<Indexer::Checkpoint> Indexer::LoadCheckpoint(
    const std::string& project, EmbedderPtr embedder, uint64_t durable) const {
  if (options_.checkpoint_directory.empty()) {
    return absl::NotFoundError("there are no checkpoints");
  }
  const std::string path = CheckpointPath(project);
  FAULTLINE_ASSIGN_OR_RETURN(const auto reader, CheckpointReader::Open(path));
  const v1::CheckpointSummary& summary = reader->summary();
  FAULTLINE_ASSIGN_OR_RETURN(const uint64_t anchor,
                             Anchor(project, summary.watermark()));
  if (summary.project() != project || summary.watermark() > durable ||
      (anchor != 0 && summary.anchor() != 0 && anchor != summary.anchor())) {
    return absl::DataLossError(
        absl::StrCat("checkpoint ", path, ": is of another log"));
  }
  if (summary.watermark() + 1 < log_->FirstSequence(project)) {
    // It may hold runs of which the log does not say any more that they were
    // deleted.
    return absl::DataLossError(
        absl::StrCat("checkpoint ", path, ": is older than the log's head"));
  }
  if (summary.fingerprint() != embedder->fingerprint()) {
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint ", path, ": is of embedder ",
                     summary.fingerprint(), ", not ", embedder->fingerprint()));
  }
  const auto source = [&reader](absl::Span<char> bytes) {
    return reader->Read(bytes);
  };
  space::VectorSpace::Options options = options_.space;
  options.dimension = embedder->dimension();
  Checkpoint checkpoint;
  checkpoint.embedding_dimension =
      static_cast<int>(summary.embedding_dimension());
  checkpoint.index = std::make_shared<Index>();
  Index& index = *checkpoint.index;
  FAULTLINE_RETURN_IF_ERROR(
      checkpoint.outcomes.Load(source, summary.watermark()));
  FAULTLINE_ASSIGN_OR_RETURN(index.trajectory,
                             space::VectorSpace::Load(options, source));
  options.quantization = options_.behavior_quantization;
  FAULTLINE_ASSIGN_OR_RETURN(index.behavior,
                             space::VectorSpace::Load(options, source));
  FAULTLINE_RETURN_IF_ERROR(reader->Finish());
  index.embedder = std::move(embedder);
  index.indexed = summary.watermark();
  return checkpoint;
}

}  // namespace faultline::ingest
