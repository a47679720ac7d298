#include "lib/base/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace faultline::base {
namespace {

class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }

  absl::Duration SteadyNow() const override {
    return absl::FromChrono(
        std::chrono::steady_clock::now().time_since_epoch());
  }

  bool AwaitWithDeadline(absl::Mutex* mutex, const absl::Condition& condition,
                         absl::Duration deadline) const override {
    return mutex->AwaitWithTimeout(condition, deadline - SteadyNow());
  }
};

}  // namespace

const Clock* Clock::System() {
  static const auto* const clock = new SystemClock();
  return clock;
}

}  // namespace faultline::base
