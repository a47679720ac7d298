#ifndef FAULTLINE_SERVER_PROJECTS_H_
#define FAULTLINE_SERVER_PROJECTS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/base/clock.h"
#include "lib/base/periodic_runner.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/trace/trace_log.h"

namespace faultline::server {

// The slow loop, the schedule and the settings of every project. A project
// comes into being with its first record. Ticks of different projects take
// turns: each uses every core. A tick that nobody asked for is skipped where
// the log has nothing new.
//
// Settings are records of the log. What is held here is the latest one, for
// callers and for the schedule; the slow loop reads its own from the log, so
// that a tick stays a function of it.
//
// Owns the slow loops and their threads. Does not own the log or the clock.
// Thread-safe. The destructor stops the ticks.
class Projects {
 public:
  using LoopFactory =
      std::function<absl::StatusOr<std::unique_ptr<slowloop::SlowLoop>>(
          absl::string_view project)>;
  using TickDone = std::function<void(absl::StatusOr<v1::Tick>)>;

  // Settings in force from the next tick on, every field filled in.
  struct Config {
    v1::ProjectConfig config;
    std::string etag;
  };

  // Opens every project of the log; no tick runs before StartTicks. Returns
  // the errors of the factory, and INVALID_ARGUMENT for `defaults`.
  static absl::StatusOr<std::unique_ptr<Projects>> Create(
      LoopFactory factory, const v1::ProjectConfig& defaults,
      trace::TraceLog* log, const base::Clock* clock);
  ~Projects();

  Projects(const Projects&) = delete;
  Projects& operator=(const Projects&) = delete;

  // Opens a project that has a record; cheap where it is open. NOT_FOUND where
  // it has none; else the factory's errors. The loop lives as long as this.
  absl::StatusOr<slowloop::SlowLoop*> Open(absl::string_view project)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether it is open. Never waits.
  bool IsOpen(absl::string_view project) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Last tick of a project. NOT_FOUND where it has no record.
  absl::StatusOr<std::shared_ptr<const slowloop::TickSnapshot>> Snapshot(
      absl::string_view project) ABSL_LOCKS_EXCLUDED(mutex_);
  // Names of the open projects, ascending.
  std::vector<std::string> Names() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs a tick that starts after this call; `done`, which may be null, gets
  // its result on the project's thread, or UNAVAILABLE where ticks have
  // stopped.
  void TriggerTick(absl::string_view project, TickDone done)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // What the fast path reads: the settings of a project that is open, else the
  // defaults, which are those of a project without a record. Never null, never
  // waits.
  std::shared_ptr<const v1::ProjectConfig> Settings(
      absl::string_view project) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a project that need not exist yet.
  absl::StatusOr<Config> GetConfig(absl::string_view project)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Records `fields` (names in ProjectConfig) of `config`; a field that is not
  // set there returns to its default. Waits for the log. ABORTED where `etag`
  // is neither empty nor current; INVALID_ARGUMENT names the field.
  absl::StatusOr<Config> UpdateConfig(absl::string_view project,
                                      const v1::ProjectConfig& config,
                                      const std::vector<std::string>& fields,
                                      absl::string_view etag)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Periodic ticks from now on.
  void StartTicks() ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for the tick in flight; no tick starts afterwards. Idempotent.
  void StopTicks() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Project {
    std::string name;
    std::unique_ptr<slowloop::SlowLoop> loop;

    absl::Mutex mutex;
    // As recorded last, every field filled in.
    std::shared_ptr<const v1::ProjectConfig> config ABSL_GUARDED_BY(mutex);
    bool triggered ABSL_GUARDED_BY(mutex) = false;
    // The gap before the next tick is to begin again, with the new interval.
    bool rescheduled ABSL_GUARDED_BY(mutex) = false;
    std::vector<TickDone> waiting ABSL_GUARDED_BY(mutex);

    std::unique_ptr<base::PeriodicRunner> runner;  // last: it uses the others
  };

  Projects(LoopFactory factory, const v1::ProjectConfig& defaults,
           trace::TraceLog* log, const base::Clock* clock);

  absl::StatusOr<Project*> OpenProject(absl::string_view name)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::unique_ptr<Project>> MakeProject(absl::string_view name);
  void StartRunner(Project* project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunTick(Project* project) ABSL_LOCKS_EXCLUDED(tick_mutex_);

  const LoopFactory factory_;
  const std::shared_ptr<const v1::ProjectConfig> defaults_;
  trace::TraceLog* const log_;
  const base::Clock* const clock_;

  // Each is held during a whole tick, a change of settings, the opening of a
  // project: one at a time.
  absl::Mutex tick_mutex_;
  absl::Mutex update_mutex_;
  absl::Mutex open_mutex_;
  mutable absl::Mutex mutex_;
  bool ticking_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::node_hash_map<std::string, std::unique_ptr<Project>> projects_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_PROJECTS_H_
