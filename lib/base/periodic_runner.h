#ifndef FAULTLINE_LIB_BASE_PERIODIC_RUNNER_H_
#define FAULTLINE_LIB_BASE_PERIODIC_RUNNER_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "lib/base/clock.h"

namespace faultline::base {

// Calls a function on a background thread of its own, again and again: the gap
// counts from the end of a run. Does not own the clock. Thread-safe; the
// destructor stops it.
class PeriodicRunner {
 public:
  // `interval` is asked before each gap; zero or less waits for a Trigger.
  // Starts at once with a gap.
  PeriodicRunner(const Clock* clock, std::function<absl::Duration()> interval,
                 std::function<void()> run);
  ~PeriodicRunner();

  PeriodicRunner(const PeriodicRunner&) = delete;
  PeriodicRunner& operator=(const PeriodicRunner&) = delete;

  // Ends the present gap: a run starts as soon as none is in flight.
  void Trigger() ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits for a run in flight; no run starts afterwards. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  const Clock* const clock_;
  const std::function<absl::Duration()> interval_;
  const std::function<void()> run_;

  absl::Mutex mutex_;
  bool triggered_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_PERIODIC_RUNNER_H_
