// How the log lies in the store (ordered_key.h gives the encodings):
//
//   log  text(project) number(sequence)
//          -> LogRecord
//   ids  text(project) 't' text(trace_id)
//          -> number(sequence)
//   ids  text(project) 'o' text(trace_id) text(evaluator)
//   ids  text(project) 'a' text(trace_id) text(annotator) text(failure_mode)
//          -> number(sequence) number(digest), of the latest such record
//
// A record and its id are written in one batch.

#include "lib/trace/trace_log.h"

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
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

namespace faultline::trace {
namespace {

using ::faultline::store::Family;
using ::faultline::store::WriteBatch;

constexpr int64_t kRetryMilliseconds = 200;
// What a project may commit in one turn, while others wait.
constexpr size_t kTurnBytes = 64 << 10;

std::string ProjectPrefix(absl::string_view project) {
  std::string key;
  store::AppendText(project, &key);
  return key;
}

std::string LogKey(absl::string_view project, uint64_t sequence) {
  std::string key = ProjectPrefix(project);
  store::AppendNumber(sequence, &key);
  return key;
}

std::string IdKey(absl::string_view project, char kind,
                  std::initializer_list<absl::string_view> id) {
  std::string key = ProjectPrefix(project);
  key.push_back(kind);
  for (const absl::string_view part : id) store::AppendText(part, &key);
  return key;
}

// What an id stands for: the latest record with it.
struct Known {
  uint64_t sequence = 0;
  uint64_t digest = 0;  // of its content; 0: of a trace, whose id is enough

  std::string Encode() const {
    std::string value;
    store::AppendNumber(sequence, &value);
    if (digest != 0) store::AppendNumber(digest, &value);
    return value;
  }

  static absl::StatusOr<Known> Decode(absl::string_view value) {
    Known known;
    if (!store::ConsumeNumber(&value, &known.sequence) ||
        (!value.empty() && !store::ConsumeNumber(&value, &known.digest))) {
      return absl::DataLossError("trace log: an id has a malformed value");
    }
    return known;
  }
};

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

// A record on its way into the log.
struct Entry {
  v1::LogRecord record;
  std::string payload;  // serialised, without sequence and receive_time
  std::string id_key;   // empty: never a duplicate
  uint64_t digest = 0;
};

// Fills all but the record's sequence and receive_time. On the caller's
// thread, since serialising costs more than anything that the committer does.
absl::StatusOr<Entry> MakeEntry(absl::string_view project,
                                v1::LogRecord record) {
  Entry entry;
  record.clear_sequence();
  record.clear_receive_time();
  switch (record.payload_case()) {
    case v1::LogRecord::kTrace:
      entry.id_key = IdKey(project, 't', {record.trace().trace_id()});
      break;
    case v1::LogRecord::kOutcome:
      entry.id_key = IdKey(project, 'o',
                           {record.outcome().trace_id(),
                            record.outcome().evaluation().evaluator()});
      entry.digest = Digest(record.outcome());
      break;
    case v1::LogRecord::kAnnotation: {
      const v1::Annotation& annotation = record.annotation().annotation();
      entry.id_key = IdKey(project, 'a',
                           {record.annotation().trace_id(),
                            annotation.annotator(), annotation.failure_mode()});
      entry.digest = Digest(record.annotation());
      break;
    }
    case v1::LogRecord::kReview:
    case v1::LogRecord::kConfig:
      break;
    case v1::LogRecord::kReplacement:
    case v1::LogRecord::kDeletion:
    case v1::LogRecord::kTombstone:
    case v1::LogRecord::PAYLOAD_NOT_SET:
      return absl::InvalidArgumentError("trace log: a record has no payload");
  }
  record.SerializeToString(&entry.payload);
  entry.record = std::move(record);
  return entry;
}

absl::Status Overloaded(size_t pending_bytes) {
  v1::ErrorDetail detail = base::MakeErrorDetail(
      v1::ErrorDetail::REASON_OVERLOADED, "",
      "a project may fill as much of the log's buffer as is free",
      absl::StrCat("the log is behind its disk, with ", pending_bytes,
                   " bytes of this project; send again later"));
  detail.mutable_retry_delay()->set_nanos(kRetryMilliseconds * 1'000'000);
  return base::DetailedError(absl::StatusCode::kUnavailable, std::move(detail));
}

class StoreTraceLog : public TraceLog {
 public:
  StoreTraceLog(const Options& options, store::KeyValueStore* store,
                const base::Clock* clock,
                absl::btree_map<std::string, uint64_t> last)
      : options_(options),
        store_(store),
        clock_(clock),
        last_(std::move(last)),
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

  absl::Status Append(absl::string_view project,
                      std::vector<v1::LogRecord> records, Done done) override;

  std::vector<std::string> Projects() const override {
    absl::MutexLock lock(&mutex_);
    std::vector<std::string> projects;
    projects.reserve(last_.size());
    for (const auto& [project, last] : last_) projects.push_back(project);
    return projects;
  }

  uint64_t LastSequence(absl::string_view project) const override {
    absl::MutexLock lock(&mutex_);
    const auto it = last_.find(project);
    return it == last_.end() ? 0 : it->second;
  }

  absl::Status Scan(
      absl::string_view project, uint64_t first, uint64_t last,
      const std::function<bool(const v1::LogRecord&)>& visit) const override;
  absl::StatusOr<v1::LogRecord> Read(absl::string_view project,
                                     uint64_t sequence) const override;
  absl::StatusOr<uint64_t> FindTrace(absl::string_view project,
                                     absl::string_view trace_id) const override;

 private:
  // The records of one Append, and what became of them.
  struct Call {
    std::string project;
    std::vector<Entry> entries;
    size_t bytes = 0;
    absl::Time receive_time;
    Done done;
    std::vector<Appended> appended;
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

  void CommitUntilStopped();
  // By deficit round robin over bytes: a project that waits with little is not
  // behind one that waits with much.
  std::vector<Call> NextGroup() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Commit(std::vector<Call>* group) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Repair();
  void Observe(std::vector<Call>* group);

  const Options options_;
  store::KeyValueStore* const store_;
  const base::Clock* const clock_;
  Observer observer_;  // set before the first Append

  mutable absl::Mutex mutex_;
  // By project. None is ever removed, so that pointers stay valid.
  absl::node_hash_map<std::string, Queue> queues_ ABSL_GUARDED_BY(mutex_);
  std::deque<Queue*> turns_ ABSL_GUARDED_BY(mutex_);  // those with calls
  size_t pending_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Highest durable sequence; written by the committer alone.
  absl::btree_map<std::string, uint64_t> last_ ABSL_GUARDED_BY(mutex_);

  // Takes back the last commit, where it failed: the store may hold it all the
  // same. Used by the committer alone.
  WriteBatch repair_;

  std::thread committer_;  // last: it uses the others
};

absl::Status StoreTraceLog::Append(absl::string_view project,
                                   std::vector<v1::LogRecord> records,
                                   Done done) {
  // Before the work of serialising: a loaded server refuses cheaply.
  {
    absl::MutexLock lock(&mutex_);
    const Queue& queue = queues_[project];
    if (IsFull(queue)) return Overloaded(queue.pending_bytes);
  }
  Call call;
  call.project = std::string(project);
  call.done = std::move(done);
  call.entries.reserve(records.size());
  for (v1::LogRecord& record : records) {
    FAULTLINE_ASSIGN_OR_RETURN(Entry entry,
                               MakeEntry(project, std::move(record)));
    call.bytes += entry.payload.size();
    call.entries.push_back(std::move(entry));
  }
  absl::MutexLock lock(&mutex_);
  Queue& queue = queues_[project];
  queue.pending_bytes += call.bytes;
  pending_bytes_ += call.bytes;
  call.receive_time = clock_->Now();
  if (queue.calls.empty()) turns_.push_back(&queue);
  queue.calls.push_back(std::move(call));
  return absl::OkStatus();
}

void StoreTraceLog::CommitUntilStopped() {
  while (true) {
    std::vector<Call> group = NextGroup();
    if (group.empty()) break;
    const absl::Status status = Commit(&group);
    {
      absl::MutexLock lock(&mutex_);
      for (const Call& call : group) {
        queues_[call.project].pending_bytes -= call.bytes;
        pending_bytes_ -= call.bytes;
      }
    }
    if (status.ok()) Observe(&group);
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
    records += next.entries.size();
    bytes += next.bytes;
    const bool full = records > options_.max_commit_records ||
                      bytes > options_.max_commit_bytes;
    if (full && !group.empty()) break;
    queue->credit -= next.bytes;
    group.push_back(std::move(next));
    queue->calls.pop_front();
    if (queue->calls.empty()) {
      queue->credit = 0;
      turns_.pop_front();
    }
  }
  return group;
}

absl::Status StoreTraceLog::Commit(std::vector<Call>* group) {
  FAULTLINE_RETURN_IF_ERROR(Repair());

  std::vector<std::string> keys;
  for (Call& call : *group) {
    for (const Entry& entry : call.entries) {
      if (!entry.id_key.empty()) keys.push_back(entry.id_key);
    }
  }
  FAULTLINE_ASSIGN_OR_RETURN(auto stored, store_->MultiGet(Family::kIds, keys));

  WriteBatch batch;
  WriteBatch undo;
  absl::flat_hash_map<absl::string_view, Known> known;    // by id key
  absl::flat_hash_map<absl::string_view, uint64_t> last;  // by project
  std::string value;
  size_t key_index = 0;
  for (Call& call : *group) {
    auto [last_it, first_of_project] = last.try_emplace(call.project);
    if (first_of_project) last_it->second = LastSequence(call.project);
    v1::LogRecord header;
    SetTime(call.receive_time, header.mutable_receive_time());

    for (Entry& entry : call.entries) {
      Appended appended{.sequence = last_it->second + 1, .duplicate = false};
      if (!entry.id_key.empty()) {
        const std::optional<std::string>& old = stored[key_index++];
        auto [it, first_of_id] = known.try_emplace(entry.id_key);
        if (first_of_id && old.has_value()) {
          FAULTLINE_ASSIGN_OR_RETURN(it->second, Known::Decode(*old));
        }
        if (it->second.sequence != 0 && it->second.digest == entry.digest) {
          call.appended.push_back(
              {.sequence = it->second.sequence, .duplicate = true});
          continue;
        }
        if (old.has_value()) {
          undo.Put(Family::kIds, entry.id_key, *old);
        } else {
          undo.Delete(Family::kIds, entry.id_key);
        }
        it->second = {.sequence = appended.sequence, .digest = entry.digest};
        batch.Put(Family::kIds, entry.id_key, it->second.Encode());
      }
      header.set_sequence(appended.sequence);
      // Messages are concatenated to be merged: this is the whole record.
      header.SerializeToString(&value);
      value += entry.payload;
      const std::string log_key = LogKey(call.project, appended.sequence);
      batch.Put(Family::kLog, log_key, value);
      undo.Delete(Family::kLog, log_key);
      last_it->second = appended.sequence;
      entry.record.set_sequence(appended.sequence);
      *entry.record.mutable_receive_time() = header.receive_time();
      call.appended.push_back(appended);
    }
  }
  if (batch.empty()) return absl::OkStatus();

  absl::Status status = store_->Write(batch, /*sync=*/true);
  if (!status.ok()) {
    repair_ = std::move(undo);
    return status;
  }
  absl::MutexLock lock(&mutex_);
  for (const auto& [project, sequence] : last) {
    if (sequence > 0) last_[project] = sequence;
  }
  return absl::OkStatus();
}

// Until this has worked nothing else is written, so that a sequence or an id
// of a failed commit can never be taken for another record's.
absl::Status StoreTraceLog::Repair() {
  if (repair_.empty()) return absl::OkStatus();
  FAULTLINE_RETURN_IF_ERROR(store_->Write(repair_, /*sync=*/true));
  repair_.Clear();
  return absl::OkStatus();
}

void StoreTraceLog::Observe(std::vector<Call>* group) {
  if (!observer_) return;
  std::vector<std::pair<std::string, std::vector<v1::LogRecord>>> fresh;
  absl::flat_hash_map<std::string, size_t> index;
  for (Call& call : *group) {
    for (size_t i = 0; i < call.entries.size(); ++i) {
      if (call.appended[i].duplicate) continue;
      const auto [it, added] = index.try_emplace(call.project, fresh.size());
      if (added) fresh.push_back({call.project, {}});
      fresh[it->second].second.push_back(std::move(call.entries[i].record));
    }
  }
  for (auto& [project, records] : fresh) {
    observer_(project, std::move(records));
  }
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
  uint64_t expected = std::max<uint64_t>(first, 1);
  last = std::min(last, LastSequence(project));
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
        if (!store::ConsumeNumber(&key, &sequence) || sequence != expected) {
          return false;
        }
        fault = ParseRecord(project, sequence, value, &record);
        if (!fault.ok()) return false;
        ++expected;
        stopped = !visit(record);
        return !stopped;
      }));
  FAULTLINE_RETURN_IF_ERROR(fault);
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
  return record;
}

absl::StatusOr<uint64_t> StoreTraceLog::FindTrace(
    absl::string_view project, absl::string_view trace_id) const {
  // Read before the id: one beyond it belongs to a commit that is under way or
  // has failed.
  const uint64_t last = LastSequence(project);
  const auto value = store_->Get(Family::kIds, IdKey(project, 't', {trace_id}));
  if (value.ok()) {
    FAULTLINE_ASSIGN_OR_RETURN(const Known known, Known::Decode(*value));
    if (known.sequence <= last) return known.sequence;
  } else if (!absl::IsNotFound(value.status())) {
    return value.status();
  }
  return absl::NotFoundError(
      absl::StrCat("no trace ", trace_id, " in project ", project));
}

// The projects of the log with their last sequences: two seeks for each.
absl::StatusOr<absl::btree_map<std::string, uint64_t>> LastSequences(
    const store::KeyValueStore& store) {
  absl::btree_map<std::string, uint64_t> last;
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
    if (!found) return last;
    const std::string prefix = ProjectPrefix(project);
    const std::string end = store::PrefixEnd(prefix);
    FAULTLINE_RETURN_IF_ERROR(store.ScanReverse(
        Family::kLog, prefix, end,
        [&](absl::string_view key, absl::string_view) {
          key.remove_prefix(prefix.size());
          well_formed &= store::ConsumeNumber(&key, &last[project]);
          return false;
        }));
    if (!well_formed) {
      return absl::DataLossError("trace log: a key is malformed");
    }
    begin = end;
  }
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
  FAULTLINE_ASSIGN_OR_RETURN(auto last, LastSequences(*store));
  return std::unique_ptr<TraceLog>(
      std::make_unique<StoreTraceLog>(options, store, clock, std::move(last)));
}

absl::StatusOr<std::vector<TraceLog::Appended>> TraceLog::AppendAndWait(
    absl::string_view project, std::vector<v1::LogRecord> records) {
  absl::StatusOr<std::vector<Appended>> result;
  absl::Notification settled;
  FAULTLINE_RETURN_IF_ERROR(
      Append(project, std::move(records), [&](auto appended) {
        result = std::move(appended);
        settled.Notify();
      }));
  settled.WaitForNotification();
  return result;
}

}  // namespace faultline::trace
