#ifndef FAULTLINE_SERVER_RETENTION_RUNNER_H_
#define FAULTLINE_SERVER_RETENTION_RUNNER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "lib/base/clock.h"
#include "lib/base/periodic_runner.h"
#include "lib/ingest/ingestor.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"

namespace faultline::server {

// Removes the runs that a project keeps no longer, trims its log, and gives the
// space back where enough of it was freed; every minute, one project after the
// other. What goes is decided by ingest/retention.h.
//
// Does not own what it is given; all of it must outlive this. Thread-safe. The
// destructor stops it.
class RetentionRunner {
 public:
  RetentionRunner(ingest::Ingestor* ingestor, trace::TraceLog* log,
                  Projects* projects, const base::Clock* clock);
  ~RetentionRunner() { Stop(); }

  RetentionRunner(const RetentionRunner&) = delete;
  RetentionRunner& operator=(const RetentionRunner&) = delete;

  // Runs periodically from now on.
  void Start();
  // Waits for the run in flight; none starts afterwards. Idempotent.
  void Stop();

  // Every project once, on the caller's thread. What fails is logged and tried
  // again by the next run.
  void RunOnce() ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs of a project were removed on request: their space is given back at
  // the next run, which starts at once.
  void NoteDeleted(absl::string_view project) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // What a project's removals leave to be done.
  struct Debt {
    uint64_t freed = 0;    // bytes removed since the last compaction
    uint64_t trim_to = 0;  // last sequence when something was removed

    void Add(const Debt& other);
  };

  absl::Status RunProject(const std::string& project)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Returns the bytes removed.
  absl::StatusOr<uint64_t> Expire(const std::string& project);
  // Trims and compacts as far as is due; leaves the rest in `debt`.
  absl::Status Settle(const std::string& project, Debt* debt);
  void Note(absl::string_view project, uint64_t freed)
      ABSL_LOCKS_EXCLUDED(mutex_);

  ingest::Ingestor* const ingestor_;
  trace::TraceLog* const log_;
  Projects* const projects_;
  const base::Clock* const clock_;

  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Debt> debts_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<base::PeriodicRunner> runner_;
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_RETENTION_RUNNER_H_
