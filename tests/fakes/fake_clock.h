#ifndef FAULTLINE_TESTS_FAKES_FAKE_CLOCK_H_
#define FAULTLINE_TESTS_FAKES_FAKE_CLOCK_H_

#include <set>

#include "absl/base/thread_annotations.h"
#include "lib/base/clock.h"

namespace faultline::fakes {

// A clock that moves only when told. Wall and steady time move together;
// SetWallTime moves wall time alone. Thread-safe.
class FakeClock : public base::Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'800'000'000));

  absl::Time Now() const override;
  absl::Duration SteadyNow() const override;
  bool AwaitWithDeadline(absl::Mutex* mutex, const absl::Condition& condition,
                         absl::Duration deadline) const override;

  // Moves time and wakes who waits.
  void Advance(absl::Duration by);
  void SetWallTime(absl::Time time);

  // Blocks until `count` threads wait for a finite deadline.
  void WaitForWaiters(int count) const;
  // Blocks until a thread waits for a deadline that is just so far from now.
  void WaitForDeadline(absl::Duration ahead) const;

 private:
  mutable absl::Mutex mutex_;
  absl::Time wall_ ABSL_GUARDED_BY(mutex_);
  absl::Duration steady_ ABSL_GUARDED_BY(mutex_);
  // Finite ones that threads wait for.
  mutable std::multiset<absl::Duration> deadlines_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::fakes

#endif  // FAULTLINE_TESTS_FAKES_FAKE_CLOCK_H_
