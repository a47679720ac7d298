#ifndef FAULTLINE_LIB_BASE_CLOCK_H_
#define FAULTLINE_LIB_BASE_CLOCK_H_

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace faultline::base {

// Time as a dependency. Wall time is for what is shown or persisted, steady
// time for intervals. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Wall time.
  virtual absl::Time Now() const = 0;

  // Time since an arbitrary origin; never goes back.
  virtual absl::Duration SteadyNow() const = 0;

  // Waits until `condition` holds or the steady time reaches `deadline`.
  // `mutex` must be held and is held on return. Returns whether the condition
  // holds.
  virtual bool AwaitWithDeadline(absl::Mutex* mutex,
                                 const absl::Condition& condition,
                                 absl::Duration deadline) const = 0;

  // The machine's clock; lives for ever. For main() and benchmarks only:
  // everything else takes a Clock.
  static const Clock* System();
};

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_CLOCK_H_
