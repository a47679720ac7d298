#include "lib/trace/trace_log.h"

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "lib/store/ordered_key.h"
#include "lib/trace/log_keys.h"
#include "lib/trace/run_removal.h"

namespace faultline::trace {
namespace {

using ::faultline::store::Family;
using ::faultline::store::WriteBatch;

constexpr int64_t kRetryMilliseconds = 200;
constexpr char kBytesFact[] = "bytes";
constexpr char kFirstFact[] = "first";
constexpr char kConfigFact[] = "config";
// What a project may commit in one turn, while others wait, and what is
// committed at once for so long after several projects were seen.
constexpr size_t kTurnBytes = 128 << 10;
constexpr absl::Duration kSharedFor = absl::Seconds(1);
// Runs that one commit removes.
constexpr size_t kMaxRemovals = 128;

// Equal for equal content, whatever the order of its maps. Never 0.
uint64_t Digest(const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return std::max<uint64_t>(base::Hash64(bytes), 1);
}

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

std::string EncodeNumber(uint64_t number) {
  std::string value;
  store::AppendNumber(number, &value);
  return value;
}

// Id of the run that a record is about; empty where it is about none.
absl::string_view TraceIdOf(const v1::LogRecord& record) {
  switch (record.payload_case()) {
    case v1::LogRecord::kTrace:
      return record.trace().trace_id();
    case v1::LogRecord::kReplacement:
      return record.replacement().trace_id();
    case v1::LogRecord::kOutcome:
      return record.outcome().trace_id();
    case v1::LogRecord::kAnnotation:
      return record.annotation().trace_id();
    case v1::LogRecord::kReview:
    case v1::LogRecord::kClusterReview:
    case v1::LogRecord::kConfig:
    case v1::LogRecord::kDeletion:
    case v1::LogRecord::kTombstone:
    case v1::LogRecord::PAYLOAD_NOT_SET:
      break;
  }
  return "";
}

bool IsRun(v1::LogRecord::PayloadCase kind) {
  return kind == v1::LogRecord::kTrace || kind == v1::LogRecord::kReplacement;
}

// Where a project's log stands.
struct Extent {
  uint64_t first = 1;  // records below it may be missing
  uint64_t last = 0;   // highest durable sequence
  uint64_t bytes = 0;  // of all records that are about a trace
};

// Runs on their way out of the log. Belongs to the caller of Delete.
struct Removal {
  struct Run {
    uint64_t sequence;
    std::string trace_id;
  };
  std::vector<Run> runs;
  v1::DeletionReason reason = v1::DELETION_REASON_UNSPECIFIED;
  absl::StatusOr<TraceLog::Deleted> result;
  absl::Notification settled;
};

// A record on its way into the log: what the committer needs to know of it. The
// record itself is let go where it was made, since freeing it costs more than
// anything that the committer does.
struct Entry {
  v1::LogRecord::PayloadCase kind;
  std::string value;   // serialised, without sequence and receive_time
  std::string id_key;  // empty: never a duplicate
  uint64_t digest = 0;
  std::string trace_id;         // of what may take the place of another record
  std::string config;           // settings, serialised
  double keep_probability = 0;  // of a trace

  // `known`: what its id stands for; sequence 0: nothing.
  bool IsDuplicateOf(const Known& known) const {
    return known.sequence != 0 &&
           (kind == v1::LogRecord::kTrace || known.digest == digest);
  }
  bool ReplacesNothing(const Known& known) const {
    return kind == v1::LogRecord::kReplacement && known.sequence == 0;
  }
};

// Room for sequence and receive_time behind what is serialised of a record.
constexpr size_t kStampBytes = 40;

// A piece on its way into the store.
struct PieceEntry {
  std::string key;
  std::string value;
};

// Fills all but the record's sequence and receive_time. On the caller's
// thread, since serialising costs more than anything that the committer does.
absl::StatusOr<Entry> MakeEntry(absl::string_view project,
                                v1::LogRecord* unstamped) {
  unstamped->clear_sequence();
  unstamped->clear_receive_time();
  const v1::LogRecord& record = *unstamped;
  Entry entry;
  entry.kind = record.payload_case();
  switch (entry.kind) {
    case v1::LogRecord::kTrace:
      entry.id_key = IdKey(project, kTraceId, {record.trace().trace_id()});
      entry.keep_probability = record.trace().keep_probability();
      break;
    case v1::LogRecord::kOutcome:
      entry.id_key = IdKey(project, kOutcomeId,
                           {record.outcome().trace_id(),
                            record.outcome().evaluation().evaluator()});
      entry.digest = Digest(record.outcome());
      entry.trace_id = record.outcome().trace_id();
      break;
    case v1::LogRecord::kAnnotation: {
      const v1::Annotation& annotation = record.annotation().annotation();
      entry.id_key = IdKey(project, kAnnotationId,
                           {record.annotation().trace_id(),
                            annotation.annotator(), annotation.failure_mode()});
      entry.digest = Digest(record.annotation());
      entry.trace_id = record.annotation().trace_id();
      break;
    }
    case v1::LogRecord::kReplacement:
      entry.id_key =
          IdKey(project, kTraceId, {record.replacement().trace_id()});
      entry.digest = Digest(record.replacement());
      entry.trace_id = record.replacement().trace_id();
      break;
    case v1::LogRecord::kConfig:
      record.config().SerializeToString(&entry.config);
      break;
    case v1::LogRecord::kReview:
    case v1::LogRecord::kClusterReview:
      break;
    case v1::LogRecord::kDeletion:
    case v1::LogRecord::kTombstone:
    case v1::LogRecord::PAYLOAD_NOT_SET:
      return absl::InvalidArgumentError("trace log: a record has no payload");
  }
  const size_t size = record.ByteSizeLong();
  entry.value.reserve(size + kStampBytes);
  record.AppendToString(&entry.value);
  return entry;
}

absl::Status Overloaded(size_t pending_bytes) {
  v1::ErrorDetail detail = base::MakeErrorDetail(
      v1::ErrorDetail::REASON_OVERLOADED, "",
      "a project may fill as much of the log's buffer as is free",
      absl::StrCat("the log is behind its disk, with ", pending_bytes,
                   " bytes of this project; send again later"));
  detail.mutable_retry_delay()->set_nanos(kRetryMilliseconds * 1'000'000);
  return base::DetailedError(absl::StatusCode::kUnavailable, detail);
}

class StoreTraceLog : public TraceLog {
 public:
  StoreTraceLog(const Options& options, store::KeyValueStore* store,
                const base::Clock* clock,
                absl::btree_map<std::string, Extent> extents)
      : options_(options),
        store_(store),
        clock_(clock),
        extents_(std::move(extents)),
        committer_([this] { CommitUntilStopped(); }) {}

  ~StoreTraceLog() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    committer_.join();
  }

  void SetObserver(Observer observer) override {
    observer_ = std::move(observer);
  }

  absl::Status CheckRoom(absl::string_view project) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Append(absl::string_view project,
                      std::vector<v1::LogRecord> records, Done done) override;
  absl::Status AppendPieces(absl::string_view project,
                            absl::Span<v1::Piece> pieces, Done done) override;
  absl::Status DropPieces(absl::string_view project,
                          const std::vector<std::string>& trace_ids,
                          Done done) override;

  std::vector<std::string> Projects() const override {
    absl::MutexLock lock(&mutex_);
    std::vector<std::string> projects;
    projects.reserve(extents_.size());
    for (const auto& [project, extent] : extents_) projects.push_back(project);
    return projects;
  }

  uint64_t LastSequence(absl::string_view project) const override {
    return ExtentOf(project).last;
  }
  uint64_t FirstSequence(absl::string_view project) const override {
    return ExtentOf(project).first;
  }
  uint64_t StoredBytes(absl::string_view project) const override {
    return ExtentOf(project).bytes;
  }

  absl::Status Scan(
      absl::string_view project, uint64_t first, uint64_t last,
      const std::function<bool(const v1::LogRecord&)>& visit) const override;
  absl::StatusOr<v1::LogRecord> Read(absl::string_view project,
                                     uint64_t sequence) const override;
  absl::StatusOr<uint64_t> FindTrace(absl::string_view project,
                                     absl::string_view trace_id) const override;
  absl::StatusOr<std::vector<uint64_t>> FindVersions(
      absl::string_view project, absl::string_view trace_id) const override;
  absl::StatusOr<std::optional<v1::ProjectConfig>> LatestConfig(
      absl::string_view project) const override;
  absl::StatusOr<std::vector<v1::Piece>> ReadPieces(
      absl::string_view project, absl::string_view trace_id) const override;
  absl::Status ScanPieces(
      const std::function<void(absl::string_view project, const v1::Piece&)>&
          visit) const override;
  absl::StatusOr<std::vector<Stored>> ListRuns(
      absl::string_view project) const override;
  absl::StatusOr<Deleted> Delete(absl::string_view project,
                                 std::vector<uint64_t> sequences,
                                 v1::DeletionReason reason) override;
  absl::Status Trim(absl::string_view project, uint64_t last) override;
  absl::Status Compact(absl::string_view project) override;

 private:
  // What one call appends, stages, drops or removes, and what became of it.
  // Only one of the four is there.
  struct Call {
    std::string project;
    std::vector<Entry> entries;
    std::vector<PieceEntry> pieces;
    std::vector<std::string> drops;  // keys of pieces
    Removal* removal = nullptr;      // in the place of `done` and `appended`
    size_t bytes = 0;
    absl::Time receive_time;
    Done done;
    std::vector<Appended> appended;

    size_t size() const {
      return entries.size() + pieces.size() + drops.size();
    }
  };

  // What waits of one project.
  struct Queue {
    std::deque<Call> calls;
    size_t pending_bytes = 0;  // of `calls` and of the commit under way
    size_t credit = 0;         // bytes left of its turn
  };

  // Whether a project may have no more bytes pending: as many as are free, so
  // that one flooding project gets half of the buffer, two get a third each,
  // and there is always room for the others.
  bool IsFull(const Queue& queue) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return pending_bytes_ + queue.pending_bytes >= options_.max_pending_bytes;
  }

  struct Id {
    Known known;  // sequence 0: nothing
    bool changed = false;
  };

  // One commit in the making. Keys point into the calls.
  struct Changes {
    WriteBatch apply;
    // What else taking it back takes, beside the deletion of what was put.
    WriteBatch undo;
    absl::flat_hash_map<absl::string_view, Id> ids;         // by key
    absl::flat_hash_map<absl::string_view, bool> staged;    // by piece key
    absl::flat_hash_map<absl::string_view, uint64_t> last;  // by project
    // Bytes added, by project.
    absl::flat_hash_map<absl::string_view, int64_t> bytes;
    // Latest settings added, serialised, by project.
    absl::flat_hash_map<absl::string_view, std::string> configs;
  };

  void Enqueue(Call call) ABSL_LOCKS_EXCLUDED(mutex_);
  void CommitUntilStopped();
  // By deficit round robin over bytes: a project that waits with little is not
  // behind one that waits with much.
  std::vector<Call> NextGroup() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Commit(std::vector<Call>* group) ABSL_LOCKS_EXCLUDED(mutex_);
  // What the ids and the pieces of the group stand for now.
  absl::Status LookUp(const std::vector<Call>& group, Changes* changes) const;
  void AddRecords(Call* call, Changes* changes) const;
  static void AddPieces(Call* call, Changes* changes);
  // Writes the changes, synced, and only then moves the extents.
  absl::Status Write(Changes* changes) ABSL_LOCKS_EXCLUDED(mutex_);
  void CommitRemoval(const Call& call);
  absl::StatusOr<v1::LogRecord> Remove(const Call& call, Deleted* deleted);
  absl::Status Repair();
  void Observe(const std::vector<Call>& group);
  Extent ExtentOf(absl::string_view project) const ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  store::KeyValueStore* const store_;
  const base::Clock* const clock_;
  Observer observer_;  // set before the first Append

  mutable absl::Mutex mutex_;
  // By project. None is ever removed, so that pointers stay valid.
  absl::node_hash_map<std::string, Queue> queues_ ABSL_GUARDED_BY(mutex_);
  std::deque<Queue*> turns_ ABSL_GUARDED_BY(mutex_);  // those with calls
  size_t pending_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  const Queue* last_turn_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Duration shared_until_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // `last` and `bytes` are written by the committer alone.
  absl::btree_map<std::string, Extent> extents_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex trim_mutex_;  // held during a Trim: one at a time

  // Takes back the last commit, where it failed: the store may hold it all the
  // same. Used by the committer alone.
  WriteBatch repair_;

  std::thread committer_;  // last: it uses the others
};

absl::Status StoreTraceLog::Append(absl::string_view project,
                                   std::vector<v1::LogRecord> records,
                                   Done done) {
  FAULTLINE_RETURN_IF_ERROR(CheckRoom(project));
  Call call;
  call.project = std::string(project);
  call.done = std::move(done);
  call.entries.reserve(records.size());
  for (v1::LogRecord& record : records) {
    FAULTLINE_ASSIGN_OR_RETURN(Entry entry, MakeEntry(project, &record));
    call.bytes += entry.value.size();
    call.entries.push_back(std::move(entry));
  }
  Enqueue(std::move(call));
  return absl::OkStatus();
}

absl::Status StoreTraceLog::AppendPieces(absl::string_view project,
                                         absl::Span<v1::Piece> pieces,
                                         Done done) {
  FAULTLINE_RETURN_IF_ERROR(CheckRoom(project));
  Call call;
  call.project = std::string(project);
  call.done = std::move(done);
  call.pieces.reserve(pieces.size());
  const absl::Time now = clock_->Now();
  for (v1::Piece& piece : pieces) {
    if (piece.trace_id().empty() || piece.id().empty()) {
      return absl::InvalidArgumentError(
          "trace log: a piece has no trace_id or no id");
    }
    SetTime(now, piece.mutable_receive_time());
    PieceEntry& entry = call.pieces.emplace_back();
    entry.key = PieceKey(project, piece.trace_id(), piece.id());
    piece.SerializeToString(&entry.value);
    call.bytes += entry.value.size();
  }
  Enqueue(std::move(call));
  return absl::OkStatus();
}

absl::Status StoreTraceLog::DropPieces(
    absl::string_view project, const std::vector<std::string>& trace_ids,
    Done done) {
  FAULTLINE_RETURN_IF_ERROR(CheckRoom(project));
  Call call;
  call.project = std::string(project);
  call.done = std::move(done);
  for (const std::string& trace_id : trace_ids) {
    const std::string prefix = PiecePrefix(project, trace_id);
    FAULTLINE_RETURN_IF_ERROR(
        store_->Scan(Family::kPieces, prefix, store::PrefixEnd(prefix),
                     [&call](absl::string_view key, absl::string_view) {
                       call.drops.emplace_back(key);
                       call.bytes += key.size();
                       return true;
                     }));
  }
  Enqueue(std::move(call));
  return absl::OkStatus();
}

// Before the work of serialising: a loaded server refuses cheaply.
absl::Status StoreTraceLog::CheckRoom(absl::string_view project) {
  absl::MutexLock lock(&mutex_);
  const Queue& queue = queues_[project];
  return IsFull(queue) ? Overloaded(queue.pending_bytes) : absl::OkStatus();
}

void StoreTraceLog::Enqueue(Call call) {
  absl::MutexLock lock(&mutex_);
  Queue& queue = queues_[call.project];
  queue.pending_bytes += call.bytes;
  pending_bytes_ += call.bytes;
  call.receive_time = clock_->Now();
  if (queue.calls.empty()) {
    // One that sends now and then goes before those that always have more
    // waiting; it may do so for one turn.
    queue.credit = kTurnBytes;
    turns_.push_front(&queue);
  }
  queue.calls.push_back(std::move(call));
}

Extent StoreTraceLog::ExtentOf(absl::string_view project) const {
  absl::MutexLock lock(&mutex_);
  const auto it = extents_.find(project);
  return it == extents_.end() ? Extent() : it->second;
}

void StoreTraceLog::CommitUntilStopped() {
  while (true) {
    std::vector<Call> group = NextGroup();
    if (group.empty()) break;
    const bool removes = group.front().removal != nullptr;
    const absl::Status status = removes ? absl::OkStatus() : Commit(&group);
    {
      absl::MutexLock lock(&mutex_);
      for (const Call& call : group) {
        queues_[call.project].pending_bytes -= call.bytes;
        pending_bytes_ -= call.bytes;
      }
    }
    if (removes) {
      CommitRemoval(group.front());
      continue;
    }
    if (status.ok()) Observe(group);
    for (Call& call : group) {
      if (status.ok()) {
        call.done(std::move(call.appended));
      } else {
        call.done(status);
      }
    }
  }
  // Best effort: what a failed call wrote is only a duplicate to its retry.
  Repair().IgnoreError();
}

std::vector<StoreTraceLog::Call> StoreTraceLog::NextGroup() {
  std::vector<Call> group;
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !turns_.empty();
  };
  mutex_.Await(absl::Condition(&ready));
  // A commit under way delays everybody: short ones, while there are several.
  const absl::Duration now = clock_->SteadyNow();
  if (turns_.size() > 1 || (!turns_.empty() && turns_.front() != last_turn_)) {
    shared_until_ = now + kSharedFor;
  }
  if (!turns_.empty()) last_turn_ = turns_.front();
  const size_t max_bytes = now < shared_until_
                               ? std::min(kTurnBytes, options_.max_commit_bytes)
                               : options_.max_commit_bytes;
  size_t records = 0;
  size_t bytes = 0;
  while (!turns_.empty()) {
    Queue* queue = turns_.front();
    Call& next = queue->calls.front();
    if (queue->credit < next.bytes) {
      queue->credit += kTurnBytes;
      turns_.pop_front();
      turns_.push_back(queue);
      continue;
    }
    records += next.size();
    bytes += next.bytes;
    const bool full =
        records > options_.max_commit_records || bytes > max_bytes;
    const bool removes = next.removal != nullptr;
    if ((full || removes) && !group.empty()) break;
    queue->credit -= next.bytes;
    group.push_back(std::move(next));
    queue->calls.pop_front();
    if (queue->calls.empty()) {
      queue->credit = 0;
      turns_.pop_front();
    }
    if (removes) break;  // it is a commit of its own
  }
  return group;
}

absl::Status StoreTraceLog::Commit(std::vector<Call>* group) {
  FAULTLINE_RETURN_IF_ERROR(Repair());
  Changes changes;
  FAULTLINE_RETURN_IF_ERROR(LookUp(*group, &changes));
  for (Call& call : *group) {
    AddRecords(&call, &changes);
    AddPieces(&call, &changes);
    // Not taken back where the commit fails: the caller drops them again.
    for (const std::string& key : call.drops) {
      changes.apply.Delete(Family::kPieces, key);
      changes.staged[key] = false;
    }
  }
  return Write(&changes);
}

absl::Status StoreTraceLog::Write(Changes* changes) {
  if (changes->apply.empty()) return absl::OkStatus();
  for (const auto& [project, added] : changes->bytes) {
    const uint64_t old = ExtentOf(project).bytes;
    const std::string key = MetaKey(project, kBytesFact);
    changes->apply.Put(Family::kMeta, key,
                       EncodeNumber(old + static_cast<uint64_t>(added)));
    changes->undo.Put(Family::kMeta, key, EncodeNumber(old));
  }
  for (const auto& [project, config] : changes->configs) {
    const std::string key = MetaKey(project, kConfigFact);
    const auto old = store_->Get(Family::kMeta, key);
    if (old.ok()) {
      changes->undo.Put(Family::kMeta, key, *old);
    } else if (!absl::IsNotFound(old.status())) {
      return old.status();
    }
    changes->apply.Put(Family::kMeta, key, config);
  }
  absl::Status status = store_->Write(changes->apply, /*sync=*/true);
  if (!status.ok()) {
    for (const WriteBatch::Operation& operation : changes->apply.operations()) {
      if (!operation.erase) repair_.Delete(operation.family, operation.key);
    }
    for (const WriteBatch::Operation& operation : changes->undo.operations()) {
      repair_.Put(operation.family, operation.key, operation.value);
    }
    return status;
  }
  absl::MutexLock lock(&mutex_);
  for (const auto& [project, sequence] : changes->last) {
    if (sequence > 0) extents_[project].last = sequence;
  }
  for (const auto& [project, added] : changes->bytes) {
    extents_[project].bytes += static_cast<uint64_t>(added);
  }
  return absl::OkStatus();
}

absl::Status StoreTraceLog::LookUp(const std::vector<Call>& group,
                                   Changes* changes) const {
  std::vector<std::string> ids;
  std::vector<std::string> pieces;
  for (const Call& call : group) {
    for (const Entry& entry : call.entries) {
      if (entry.id_key.empty()) continue;
      if (changes->ids.try_emplace(entry.id_key).second) {
        ids.push_back(entry.id_key);
      }
    }
    for (const PieceEntry& piece : call.pieces) {
      if (changes->staged.try_emplace(piece.key, false).second) {
        pieces.push_back(piece.key);
      }
    }
  }
  FAULTLINE_ASSIGN_OR_RETURN(const auto known,
                             store_->MultiGet(Family::kIds, ids));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!known[i].has_value()) continue;
    FAULTLINE_ASSIGN_OR_RETURN(changes->ids[ids[i]].known,
                               Known::Decode(*known[i]));
  }
  if (pieces.empty()) return absl::OkStatus();
  FAULTLINE_ASSIGN_OR_RETURN(const auto staged,
                             store_->MultiGet(Family::kPieces, pieces));
  for (size_t i = 0; i < pieces.size(); ++i) {
    changes->staged[pieces[i]] = staged[i].has_value();
  }
  return absl::OkStatus();
}

void StoreTraceLog::AddRecords(Call* call, Changes* changes) const {
  if (call->entries.empty()) return;
  auto [last_it, first_of_project] = changes->last.try_emplace(call->project);
  if (first_of_project) last_it->second = LastSequence(call->project);
  v1::LogRecord stamp;
  SetTime(call->receive_time, stamp.mutable_receive_time());
  call->appended.reserve(call->entries.size());
  for (Entry& entry : call->entries) {
    const uint64_t sequence = last_it->second + 1;
    stamp.set_sequence(sequence);
    // Messages are concatenated to be merged: this is the whole record.
    stamp.AppendToString(&entry.value);
    if (!entry.id_key.empty()) {
      auto& [known, changed] = changes->ids[entry.id_key];
      if (entry.IsDuplicateOf(known)) {
        call->appended.push_back(
            {.sequence = known.sequence, .duplicate = true});
        continue;
      }
      if (entry.ReplacesNothing(known)) {
        call->appended.emplace_back();
        continue;
      }
      if (!std::exchange(changed, true) && known.sequence != 0) {
        changes->undo.Put(Family::kIds, entry.id_key, known.Encode());
      }
      if (known.sequence != 0) {
        changes->apply.Put(
            Family::kIds,
            EarlierKey(call->project,
                       IsRun(entry.kind) ? kEarlierVersion : kEarlierJudgement,
                       entry.trace_id, known.sequence),
            "");
      }
      known = {.sequence = sequence, .digest = entry.digest};
      if (IsRun(entry.kind)) {
        known.receive_seconds = static_cast<uint32_t>(
            std::max<int64_t>(stamp.receive_time().seconds(), 0));
        known.bytes = static_cast<uint32_t>(entry.value.size());
      }
      changes->apply.Put(Family::kIds, entry.id_key, known.Encode());
      changes->bytes[call->project] += static_cast<int64_t>(entry.value.size());
    }
    if (entry.kind == v1::LogRecord::kConfig) {
      changes->configs[call->project] = std::move(entry.config);
    }
    changes->apply.Put(Family::kLog, LogKey(call->project, sequence),
                       std::move(entry.value));
    last_it->second = sequence;
    call->appended.push_back({.sequence = sequence, .duplicate = false});
  }
}

void StoreTraceLog::AddPieces(Call* call, Changes* changes) {
  call->appended.reserve(call->appended.size() + call->pieces.size());
  for (PieceEntry& piece : call->pieces) {
    bool& staged = changes->staged[piece.key];
    call->appended.push_back({.sequence = 0, .duplicate = staged});
    if (std::exchange(staged, true)) continue;
    changes->apply.Put(Family::kPieces, piece.key, std::move(piece.value));
  }
}

// Until this has worked nothing else is written, so that a sequence or an id
// of a failed commit can never be taken for another record's.
absl::Status StoreTraceLog::Repair() {
  if (repair_.empty()) return absl::OkStatus();
  FAULTLINE_RETURN_IF_ERROR(store_->Write(repair_, /*sync=*/true));
  repair_.Clear();
  return absl::OkStatus();
}

void StoreTraceLog::Observe(const std::vector<Call>& group) {
  if (!observer_) return;
  std::vector<std::pair<absl::string_view, std::vector<News>>> fresh;
  absl::flat_hash_map<absl::string_view, size_t> index;
  for (const Call& call : group) {
    for (size_t i = 0; i < call.entries.size(); ++i) {
      const Appended& appended = call.appended[i];
      if (appended.duplicate || appended.sequence == 0) continue;
      const auto [it, added] = index.try_emplace(call.project, fresh.size());
      if (added) fresh.push_back({call.project, {}});
      const Entry& entry = call.entries[i];
      fresh[it->second].second.push_back(
          {.sequence = appended.sequence,
           .kind = entry.kind,
           .keep_probability = entry.keep_probability});
    }
  }
  for (const auto& [project, news] : fresh) observer_(project, news);
}

absl::Status ParseRecord(absl::string_view project, uint64_t sequence,
                         absl::string_view value, v1::LogRecord* record) {
  if (!record->ParseFromArray(value.data(), static_cast<int>(value.size())) ||
      record->sequence() != sequence) {
    return absl::DataLossError(absl::StrCat("trace log: record ", sequence,
                                            " of project ", project,
                                            " cannot be parsed"));
  }
  return absl::OkStatus();
}

absl::Status StoreTraceLog::Scan(
    absl::string_view project, uint64_t first, uint64_t last,
    const std::function<bool(const v1::LogRecord&)>& visit) const {
  const Extent extent = ExtentOf(project);
  uint64_t expected = std::max<uint64_t>(first, 1);
  last = std::min(last, extent.last);
  if (expected > last) return absl::OkStatus();

  const size_t prefix_size = ProjectPrefix(project).size();
  absl::Status fault;
  bool stopped = false;
  v1::LogRecord record;
  FAULTLINE_RETURN_IF_ERROR(store_->Scan(
      Family::kLog, LogKey(project, expected), LogKey(project, last + 1),
      [&](absl::string_view key, absl::string_view value) {
        key.remove_prefix(prefix_size);
        uint64_t sequence = 0;
        if (!store::ConsumeNumber(&key, &sequence) ||
            sequence > std::max(expected, extent.first)) {
          return false;
        }
        expected = sequence;
        fault = ParseRecord(project, sequence, value, &record);
        if (!fault.ok()) return false;
        ++expected;
        stopped = !visit(record);
        return !stopped;
      }));
  FAULTLINE_RETURN_IF_ERROR(fault);
  expected = std::max(expected, extent.first);
  if (!stopped && expected <= last) {
    return absl::DataLossError(absl::StrCat("trace log: record ", expected,
                                            " of project ", project,
                                            " is missing"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::LogRecord> StoreTraceLog::Read(absl::string_view project,
                                                  uint64_t sequence) const {
  if (sequence > LastSequence(project)) {
    return absl::NotFoundError(
        absl::StrCat("no record ", sequence, " in project ", project));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const std::string value,
      store_->Get(Family::kLog, LogKey(project, sequence)));
  v1::LogRecord record;
  FAULTLINE_RETURN_IF_ERROR(ParseRecord(project, sequence, value, &record));
  if (record.has_tombstone()) {
    return absl::NotFoundError(absl::StrCat("record ", sequence, " of project ",
                                            project, " was deleted"));
  }
  return record;
}

absl::Status NoTrace(absl::string_view project, absl::string_view trace_id) {
  return absl::NotFoundError(
      absl::StrCat("no trace ", trace_id, " in project ", project));
}

absl::StatusOr<std::optional<v1::ProjectConfig>> StoreTraceLog::LatestConfig(
    absl::string_view project) const {
  const auto value = store_->Get(Family::kMeta, MetaKey(project, kConfigFact));
  if (absl::IsNotFound(value.status())) return std::nullopt;
  FAULTLINE_RETURN_IF_ERROR(value.status());
  v1::ProjectConfig config;
  if (!config.ParseFromString(*value)) {
    return absl::DataLossError(absl::StrCat(
        "trace log: the settings of project ", project, " cannot be parsed"));
  }
  return config;
}

absl::StatusOr<uint64_t> StoreTraceLog::FindTrace(
    absl::string_view project, absl::string_view trace_id) const {
  // Read before the id: one beyond it belongs to a commit that is under way or
  // has failed.
  const uint64_t last = LastSequence(project);
  const auto value =
      store_->Get(Family::kIds, IdKey(project, kTraceId, {trace_id}));
  if (absl::IsNotFound(value.status())) return NoTrace(project, trace_id);
  FAULTLINE_RETURN_IF_ERROR(value.status());
  FAULTLINE_ASSIGN_OR_RETURN(const Known known, Known::Decode(*value));
  if (known.sequence <= last) return known.sequence;
  // Such a commit may replace a trace that is durable.
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<uint64_t> versions,
                             FindVersions(project, trace_id));
  return versions.back();
}

absl::StatusOr<std::vector<uint64_t>> StoreTraceLog::FindVersions(
    absl::string_view project, absl::string_view trace_id) const {
  const uint64_t last = LastSequence(project);
  std::vector<uint64_t> versions;
  const std::string prefix = IdKey(project, kEarlierVersion, {trace_id});
  bool well_formed = true;
  FAULTLINE_RETURN_IF_ERROR(store_->Scan(
      Family::kIds, prefix, store::PrefixEnd(prefix),
      [&](absl::string_view key, absl::string_view) {
        key.remove_prefix(prefix.size());
        well_formed = store::ConsumeNumber(&key, &versions.emplace_back());
        return well_formed;
      }));
  if (!well_formed) return absl::DataLossError("trace log: a key is malformed");
  const auto value =
      store_->Get(Family::kIds, IdKey(project, kTraceId, {trace_id}));
  if (value.ok()) {
    FAULTLINE_ASSIGN_OR_RETURN(const Known known, Known::Decode(*value));
    versions.push_back(known.sequence);
  } else if (!absl::IsNotFound(value.status())) {
    return value.status();
  }
  while (!versions.empty() && versions.back() > last) versions.pop_back();
  if (versions.empty()) return NoTrace(project, trace_id);
  return versions;
}

absl::Status ParsePiece(absl::string_view key, absl::string_view value,
                        v1::Piece* piece) {
  if (piece->ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      "trace log: the piece ", absl::CHexEscape(key), " cannot be parsed"));
}

absl::StatusOr<std::vector<v1::Piece>> StoreTraceLog::ReadPieces(
    absl::string_view project, absl::string_view trace_id) const {
  std::vector<v1::Piece> pieces;
  absl::Status fault;
  const std::string prefix = PiecePrefix(project, trace_id);
  FAULTLINE_RETURN_IF_ERROR(
      store_->Scan(Family::kPieces, prefix, store::PrefixEnd(prefix),
                   [&](absl::string_view key, absl::string_view value) {
                     fault = ParsePiece(key, value, &pieces.emplace_back());
                     return fault.ok();
                   }));
  FAULTLINE_RETURN_IF_ERROR(fault);
  return pieces;
}

absl::Status StoreTraceLog::ScanPieces(
    const std::function<void(absl::string_view project, const v1::Piece&)>&
        visit) const {
  absl::Status fault;
  v1::Piece piece;
  std::string project;
  FAULTLINE_RETURN_IF_ERROR(store_->Scan(
      Family::kPieces, "", "",
      [&](absl::string_view key, absl::string_view value) {
        fault = ParsePiece(key, value, &piece);
        if (!store::ConsumeText(&key, &project)) {
          fault = absl::DataLossError("trace log: a key is malformed");
        }
        if (fault.ok()) visit(project, piece);
        return fault.ok();
      }));
  return fault;
}

absl::StatusOr<std::vector<TraceLog::Stored>> StoreTraceLog::ListRuns(
    absl::string_view project) const {
  const uint64_t last = LastSequence(project);
  std::vector<Stored> runs;
  absl::Status fault;
  std::string prefix = ProjectPrefix(project);
  prefix.push_back(kTraceId);
  FAULTLINE_RETURN_IF_ERROR(store_->Scan(
      Family::kIds, prefix, store::PrefixEnd(prefix),
      [&](absl::string_view, absl::string_view value) {
        const absl::StatusOr<Known> known = Known::Decode(value);
        fault = known.status();
        if (fault.ok() && known->sequence <= last) {
          runs.push_back({known->sequence,
                          absl::FromUnixSeconds(known->receive_seconds),
                          known->bytes});
        }
        return fault.ok();
      }));
  FAULTLINE_RETURN_IF_ERROR(fault);
  std::sort(runs.begin(), runs.end(), [](const Stored& a, const Stored& b) {
    return a.sequence < b.sequence;
  });
  return runs;
}

absl::StatusOr<TraceLog::Deleted> StoreTraceLog::Delete(
    absl::string_view project, std::vector<uint64_t> sequences,
    v1::DeletionReason reason) {
  std::sort(sequences.begin(), sequences.end());
  sequences.erase(std::unique(sequences.begin(), sequences.end()),
                  sequences.end());
  Deleted deleted;
  auto next = sequences.begin();
  while (next != sequences.end()) {
    Removal removal;
    removal.reason = reason;
    Call call;
    call.project = std::string(project);
    call.removal = &removal;
    // Read here, so that the committer finds them in memory.
    for (; next != sequences.end() && removal.runs.size() < kMaxRemovals &&
           call.bytes < options_.max_commit_bytes;
         ++next) {
      const absl::StatusOr<v1::LogRecord> record = Read(project, *next);
      if (absl::IsNotFound(record.status())) continue;
      FAULTLINE_RETURN_IF_ERROR(record.status());
      if (!IsRun(record->payload_case())) continue;
      call.bytes += record->ByteSizeLong();
      removal.runs.push_back({*next, std::string(TraceIdOf(*record))});
    }
    if (removal.runs.empty()) break;
    Enqueue(std::move(call));
    removal.settled.WaitForNotification();
    FAULTLINE_ASSIGN_OR_RETURN(const Deleted part, std::move(removal.result));
    deleted.runs += part.runs;
    deleted.outcomes += part.outcomes;
    deleted.annotations += part.annotations;
    deleted.bytes += part.bytes;
  }
  return deleted;
}

void StoreTraceLog::CommitRemoval(const Call& call) {
  Deleted deleted;
  absl::StatusOr<v1::LogRecord> record = Remove(call, &deleted);
  if (!record.ok()) {
    call.removal->result = record.status();
  } else {
    if (observer_ && deleted.runs > 0) {
      observer_(call.project, {{.sequence = record->sequence(),
                                .kind = record->payload_case(),
                                .reason = call.removal->reason,
                                .removed = deleted.runs}});
    }
    call.removal->result = deleted;
  }
  call.removal->settled.Notify();  // and with it, the removal may be gone
}

absl::StatusOr<v1::LogRecord> StoreTraceLog::Remove(const Call& call,
                                                    Deleted* deleted) {
  FAULTLINE_RETURN_IF_ERROR(Repair());
  RunRemoval removal(store_, call.project, call.removal->reason);
  for (const Removal::Run& run : call.removal->runs) {
    FAULTLINE_RETURN_IF_ERROR(removal.Add(run.sequence, run.trace_id));
  }
  v1::LogRecord record;
  if (removal.runs() == 0) return record;
  const uint64_t sequence = LastSequence(call.project) + 1;
  record.set_sequence(sequence);
  SetTime(call.receive_time, record.mutable_receive_time());
  record.mutable_deletion()->set_reason(call.removal->reason);
  record.mutable_deletion()->set_run_count(removal.runs());
  record.mutable_deletion()->mutable_sequences()->Add(
      removal.sequences().begin(), removal.sequences().end());

  Changes changes;
  changes.apply = std::move(removal.apply());
  changes.undo = std::move(removal.undo());
  changes.apply.Put(Family::kLog, LogKey(call.project, sequence),
                    record.SerializeAsString());
  changes.last[call.project] = sequence;
  changes.bytes[call.project] = -static_cast<int64_t>(removal.bytes());
  FAULTLINE_RETURN_IF_ERROR(Write(&changes));
  *deleted = {.runs = removal.runs(),
              .outcomes = removal.outcomes(),
              .annotations = removal.annotations(),
              .bytes = removal.bytes()};
  return record;
}

absl::Status StoreTraceLog::Trim(absl::string_view project, uint64_t last) {
  absl::MutexLock trim_lock(&trim_mutex_);
  const uint64_t durable = LastSequence(project);
  if (durable == 0) return absl::OkStatus();
  // The last record stays: the next sequence is known by it.
  last = std::min(last, durable - 1);

  uint64_t first = last + 1;
  uint64_t config = 0;  // the latest that was visited
  std::vector<uint64_t> spent;
  FAULTLINE_RETURN_IF_ERROR(
      Scan(project, 1, last, [&](const v1::LogRecord& record) {
        if (IsRun(record.payload_case())) {
          first = record.sequence();
          return false;
        }
        if (record.has_config()) {
          if (config != 0) spent.push_back(config);
          config = record.sequence();
        } else if (TraceIdOf(record).empty()) {
          spent.push_back(record.sequence());
        }
        return true;
      }));
  if (spent.empty()) return absl::OkStatus();
  WriteBatch batch;
  batch.Put(Family::kMeta, MetaKey(project, kFirstFact), EncodeNumber(first));
  for (const uint64_t sequence : spent) {
    batch.Delete(Family::kLog, LogKey(project, sequence));
  }
  FAULTLINE_RETURN_IF_ERROR(store_->Write(batch, /*sync=*/true));
  absl::MutexLock lock(&mutex_);
  extents_[project].first = first;
  return absl::OkStatus();
}

absl::Status StoreTraceLog::Compact(absl::string_view project) {
  const std::string prefix = ProjectPrefix(project);
  const std::string end = store::PrefixEnd(prefix);
  for (const Family family : {Family::kLog, Family::kIds, Family::kPieces}) {
    FAULTLINE_RETURN_IF_ERROR(store_->Compact(family, prefix, end));
  }
  return absl::OkStatus();
}

// A fact of a project; nothing where it is not recorded.
absl::StatusOr<std::optional<uint64_t>> ReadFact(
    const store::KeyValueStore& store, absl::string_view project,
    absl::string_view fact) {
  const auto value = store.Get(Family::kMeta, MetaKey(project, fact));
  if (absl::IsNotFound(value.status())) return std::nullopt;
  FAULTLINE_RETURN_IF_ERROR(value.status());
  absl::string_view rest = *value;
  uint64_t number = 0;
  if (!store::ConsumeNumber(&rest, &number)) {
    return absl::DataLossError(absl::StrCat("trace log: the fact `", fact,
                                            "` of project ", project,
                                            " is malformed"));
  }
  return number;
}

// The projects of the log with their extents: a few seeks for each.
absl::StatusOr<absl::btree_map<std::string, Extent>> ReadExtents(
    const store::KeyValueStore& store) {
  absl::btree_map<std::string, Extent> extents;
  std::string begin;
  while (true) {
    std::string project;
    bool found = false;
    bool well_formed = true;
    FAULTLINE_RETURN_IF_ERROR(store.Scan(
        Family::kLog, begin, "", [&](absl::string_view key, absl::string_view) {
          found = true;
          well_formed = store::ConsumeText(&key, &project);
          return false;
        }));
    if (!found) return extents;
    Extent& extent = extents[project];
    const std::string prefix = ProjectPrefix(project);
    const std::string end = store::PrefixEnd(prefix);
    FAULTLINE_RETURN_IF_ERROR(store.ScanReverse(
        Family::kLog, prefix, end,
        [&](absl::string_view key, absl::string_view) {
          key.remove_prefix(prefix.size());
          well_formed &= store::ConsumeNumber(&key, &extent.last);
          return false;
        }));
    if (!well_formed) {
      return absl::DataLossError("trace log: a key is malformed");
    }
    FAULTLINE_ASSIGN_OR_RETURN(const auto first,
                               ReadFact(store, project, kFirstFact));
    extent.first = first.value_or(1);
    FAULTLINE_ASSIGN_OR_RETURN(const auto bytes,
                               ReadFact(store, project, kBytesFact));
    if (bytes.has_value()) {
      extent.bytes = *bytes;
    } else {  // written before bytes were counted
      FAULTLINE_RETURN_IF_ERROR(
          store.Scan(Family::kLog, prefix, end,
                     [&extent](absl::string_view, absl::string_view value) {
                       extent.bytes += value.size();
                       return true;
                     }));
    }
    begin = end;
  }
}

// Waits for what `start` gives a Done to.
absl::StatusOr<std::vector<TraceLog::Appended>> Wait(
    absl::FunctionRef<absl::Status(TraceLog::Done)> start) {
  absl::StatusOr<std::vector<TraceLog::Appended>> result;
  absl::Notification settled;
  FAULTLINE_RETURN_IF_ERROR(start([&](auto appended) {
    result = std::move(appended);
    settled.Notify();
  }));
  settled.WaitForNotification();
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TraceLog>> TraceLog::Create(
    const Options& options, store::KeyValueStore* store,
    const base::Clock* clock) {
  if (options.max_commit_records == 0 || options.max_commit_bytes == 0 ||
      options.max_pending_bytes == 0) {
    return absl::InvalidArgumentError(
        "trace log: max_commit_records, max_commit_bytes and "
        "max_pending_bytes must be positive");
  }
  FAULTLINE_ASSIGN_OR_RETURN(auto extents, ReadExtents(*store));
  return std::unique_ptr<TraceLog>(std::make_unique<StoreTraceLog>(
      options, store, clock, std::move(extents)));
}

absl::StatusOr<std::vector<TraceLog::Appended>> TraceLog::AppendAndWait(
    absl::string_view project, std::vector<v1::LogRecord> records) {
  return Wait([&](Done done) {
    return Append(project, std::move(records), std::move(done));
  });
}

absl::Status TraceLog::DropPiecesAndWait(
    absl::string_view project, const std::vector<std::string>& trace_ids) {
  return Wait([&](Done done) {
           return DropPieces(project, trace_ids, std::move(done));
         })
      .status();
}

absl::StatusOr<v1::Trace> TraceLog::ReadTrace(absl::string_view project,
                                              uint64_t sequence) const {
  FAULTLINE_ASSIGN_OR_RETURN(v1::LogRecord record, Read(project, sequence));
  if (record.has_trace()) return std::move(*record.mutable_trace());
  if (record.has_replacement()) {
    return std::move(*record.mutable_replacement());
  }
  return absl::NotFoundError(absl::StrCat("record ", sequence, " of project ",
                                          project, " holds no trace"));
}

}  // namespace faultline::trace
