#include "lib/ingest/rejection_log.h"

#include <utility>

#include "google/protobuf/util/time_util.h"
#include "lib/base/error_detail.h"

namespace faultline::ingest {
namespace {

constexpr size_t kMaxIdBytes = 128;

}  // namespace

RejectionLog::Project& RejectionLog::GetProject(absl::string_view name) {
  const auto it = projects_.find(name);
  if (it != projects_.end()) return it->second;
  return projects_[projects_.size() < kKeptProjects ? name : kOthers];
}

void RejectionLog::Add(absl::string_view project, v1::RecordSource source,
                       absl::Time time, absl::string_view trace_id,
                       const v1::ErrorDetail& error) {
  Entry entry;
  *entry.record.mutable_time() =
      google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
          absl::ToUnixNanos(time));
  entry.record.set_source(source);
  entry.record.set_trace_id(base::CutText(trace_id, kMaxIdBytes));
  *entry.record.mutable_error() = error;
  absl::MutexLock lock(&mutex_);
  Project& kept = GetProject(project);
  ++kept.counts[error.reason()];
  entry.number = ++kept.last;
  kept.entries.push_back(std::move(entry));
  if (kept.entries.size() > kKept) kept.entries.pop_front();
}

void RejectionLog::Count(absl::string_view project,
                         v1::ErrorDetail::Reason reason, uint64_t records) {
  absl::MutexLock lock(&mutex_);
  GetProject(project).counts[reason] += records;
}

std::vector<RejectionLog::Entry> RejectionLog::List(absl::string_view project,
                                                    uint64_t before,
                                                    size_t limit) const {
  std::vector<Entry> entries;
  absl::ReaderMutexLock lock(&mutex_);
  const auto it = projects_.find(project);
  if (it == projects_.end()) return entries;
  const std::deque<Entry>& kept = it->second.entries;
  for (auto entry = kept.rbegin();
       entry != kept.rend() && entries.size() < limit; ++entry) {
    if (before == 0 || entry->number < before) entries.push_back(*entry);
  }
  return entries;
}

std::map<v1::ErrorDetail::Reason, uint64_t> RejectionLog::Counts(
    absl::string_view project) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto it = projects_.find(project);
  return it == projects_.end() ? std::map<v1::ErrorDetail::Reason, uint64_t>()
                               : it->second.counts;
}

}  // namespace faultline::ingest
