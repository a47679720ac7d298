#include "lib/base/periodic_runner.h"

#include <utility>

#include "lib/base/thread_priority.h"

namespace faultline::base {

PeriodicRunner::PeriodicRunner(const Clock* clock,
                               std::function<absl::Duration()> interval,
                               std::function<void()> run)
    : clock_(clock),
      interval_(std::move(interval)),
      run_(std::move(run)),
      thread_([this] { Loop(); }) {}

PeriodicRunner::~PeriodicRunner() { Stop(); }

void PeriodicRunner::Trigger() {
  absl::MutexLock lock(&mutex_);
  triggered_ = true;
}

void PeriodicRunner::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void PeriodicRunner::Loop() {
  SetThreadPriority(ThreadPriority::kBackground);
  const auto due = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return triggered_ || stopping_;
  };
  while (true) {
    const absl::Duration interval = interval_();
    {
      absl::MutexLock lock(&mutex_);
      const absl::Duration deadline = interval > absl::ZeroDuration()
                                          ? clock_->SteadyNow() + interval
                                          : absl::InfiniteDuration();
      clock_->AwaitWithDeadline(&mutex_, absl::Condition(&due), deadline);
      if (stopping_) return;
      triggered_ = false;
    }
    run_();
  }
}

}  // namespace faultline::base
