#ifndef FAULTLINE_TESTS_BENCH_PAUSE_H_
#define FAULTLINE_TESTS_BENCH_PAUSE_H_

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "lib/base/clock.h"

namespace faultline::bench {

// Waits without looking at anything.
inline void Pause(absl::Duration length) {
  const base::Clock& clock = *base::Clock::System();
  absl::Mutex mutex;
  absl::MutexLock lock(&mutex);
  const bool never = false;
  clock.AwaitWithDeadline(&mutex, absl::Condition(&never),
                          clock.SteadyNow() + length);
}

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_PAUSE_H_
