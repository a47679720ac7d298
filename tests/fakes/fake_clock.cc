#include "tests/fakes/fake_clock.h"

namespace faultline::fakes {

FakeClock::FakeClock(absl::Time start)
    : wall_(start), steady_(absl::Seconds(1000)) {}

absl::Time FakeClock::Now() const {
  absl::MutexLock lock(&mutex_);
  return wall_;
}

absl::Duration FakeClock::SteadyNow() const {
  absl::MutexLock lock(&mutex_);
  return steady_;
}

bool FakeClock::AwaitWithDeadline(absl::Mutex* mutex,
                                  const absl::Condition& condition,
                                  absl::Duration deadline) const {
  const bool finite = deadline < absl::InfiniteDuration();
  if (finite) {
    absl::MutexLock lock(&mutex_);
    deadlines_.insert(deadline);
  }
  // The caller's mutex is not ours, so a step of time cannot wake a waiter on
  // it: look again every real millisecond.
  while (!condition.Eval()) {
    if (SteadyNow() >= deadline) break;
    mutex->AwaitWithTimeout(condition, absl::Milliseconds(1));
  }
  if (finite) {
    absl::MutexLock lock(&mutex_);
    deadlines_.erase(deadlines_.find(deadline));
  }
  return condition.Eval();
}

void FakeClock::Advance(absl::Duration by) {
  absl::MutexLock lock(&mutex_);
  wall_ += by;
  steady_ += by;
}

void FakeClock::SetWallTime(absl::Time time) {
  absl::MutexLock lock(&mutex_);
  wall_ = time;
}

void FakeClock::WaitForWaiters(int count) const {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int>(deadlines_.size()) >= count;
  };
  mutex_.Await(absl::Condition(&enough));
}

void FakeClock::WaitForDeadline(absl::Duration ahead) const {
  absl::MutexLock lock(&mutex_);
  const auto there = [this, ahead]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return deadlines_.count(steady_ + ahead) > 0;
  };
  mutex_.Await(absl::Condition(&there));
}

}  // namespace faultline::fakes
