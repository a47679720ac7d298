#ifndef FAULTLINE_LIB_INGEST_REJECTION_LOG_H_
#define FAULTLINE_LIB_INGEST_REJECTION_LOG_H_

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "faultline/v1/error.pb.h"
#include "faultline/v1/rejection.pb.h"

namespace faultline::ingest {

// What was refused since the start, so that an operator can see why: a count
// for each project and reason, and the latest refused records themselves.
// Thread-safe.
class RejectionLog {
 public:
  // Records kept of a project; older ones are only counted.
  static constexpr size_t kKept = 1000;
  // Projects told apart: a caller may invent any number. What comes of
  // others later is kept under kOthers, which is no project's name.
  static constexpr size_t kKeptProjects = 1000;
  static constexpr char kOthers[] = "";

  // A refused record. Numbers count from 1 within a project.
  struct Entry {
    uint64_t number = 0;
    v1::RejectedRecord record;
  };

  // A record that was refused alone.
  void Add(absl::string_view project, v1::RecordSource source, absl::Time time,
           absl::string_view trace_id, const v1::ErrorDetail& error)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Records of a call that was refused whole.
  void Count(absl::string_view project, v1::ErrorDetail::Reason reason,
             uint64_t records) ABSL_LOCKS_EXCLUDED(mutex_);

  // Entries numbered below `before` (0: all), latest first, at most `limit`.
  std::vector<Entry> List(absl::string_view project, uint64_t before,
                          size_t limit) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Refused records by reason, of one project.
  std::map<v1::ErrorDetail::Reason, uint64_t> Counts(
      absl::string_view project) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Project {
    std::map<v1::ErrorDetail::Reason, uint64_t> counts;
    std::deque<Entry> entries;  // latest last
    uint64_t last = 0;          // number
  };

  Project& GetProject(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Project> projects_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_REJECTION_LOG_H_
