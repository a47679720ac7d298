#include "lib/base/clock.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"

namespace faultline::base {
namespace {

absl::Duration Steady() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

// Ends waits when their deadlines are reached, by steady time. Abseil's own
// timeouts are points of wall time: where that jumps back by an hour, they take
// an hour longer. Lives for ever, with a thread. Thread-safe.
class Alarms {
 public:
  Alarms() : wake_(eventfd(0, EFD_CLOEXEC)) {
    if (wake_ < 0) std::abort();
    std::thread([this] { Run(); }).detach();
  }

  // A wait of a thread that has `mutex`: `expired` is set, with the mutex held,
  // when the deadline is reached.
  struct Wait {
    absl::Mutex* mutex;
    bool expired = false;
  };
  using Waits = std::multimap<absl::Duration, Wait*>;

  Waits::iterator Add(absl::Duration deadline, Wait* wait)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto added = waits_.emplace(deadline, wait);
    if (deadline < next_) {
      next_ = deadline;
      Wake();
    }
    return added;
  }

  // Nothing touches the wait or its mutex from then on.
  void Remove(Waits::iterator added) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    waits_.erase(added);
  }

 private:
  // How soon a mutex that is held by somebody is tried again.
  static constexpr absl::Duration kAgain = absl::Milliseconds(1);

  void Wake() const {
    const uint64_t one = 1;
    while (write(wake_, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
  }

  void Run() {
    while (true) {
      const absl::Duration next = RingDue();
      const timespec timeout =
          absl::ToTimespec(std::max(next - Steady(), absl::ZeroDuration()));
      pollfd woken = {.fd = wake_, .events = POLLIN, .revents = 0};
      if (ppoll(&woken, 1,
                next == absl::InfiniteDuration() ? nullptr : &timeout,
                nullptr) > 0) {
        uint64_t count;
        [[maybe_unused]] const ssize_t got = read(wake_, &count, sizeof(count));
      }
    }
  }

  // Returns when to look again.
  absl::Duration RingDue() ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::Duration now = Steady();
    absl::MutexLock lock(&mutex_);
    next_ = absl::InfiniteDuration();
    for (const auto& [deadline, wait] : waits_) {
      if (deadline > now) {
        next_ = std::min(next_, deadline);
        break;
      }
      if (!Ring(wait)) next_ = now + kAgain;
    }
    return next_;
  }

  // Whoever waits holds the mutex when it comes to Remove: never wait for it.
  static bool Ring(Wait* wait) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!wait->mutex->TryLock()) return false;
    wait->expired = true;
    wait->mutex->Unlock();
    return true;
  }

  const int wake_;
  absl::Mutex mutex_;
  Waits waits_ ABSL_GUARDED_BY(mutex_);  // by deadline
  // When they are looked at next.
  absl::Duration next_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
};

class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }

  absl::Duration SteadyNow() const override { return Steady(); }

  bool AwaitWithDeadline(absl::Mutex* mutex, const absl::Condition& condition,
                         absl::Duration deadline) const override {
    mutex->AssertHeld();
    if (deadline == absl::InfiniteDuration()) {
      mutex->Await(condition);
      return true;
    }
    if (condition.Eval()) return true;
    if (deadline <= Steady()) return false;
    // Made at the first wait, not before a program has forked.
    static auto* const alarms = new Alarms();
    Alarms::Wait wait = {.mutex = mutex};
    const auto over = [&] { return wait.expired || condition.Eval(); };
    const auto added = alarms->Add(deadline, &wait);
    mutex->Await(absl::Condition(&over));
    alarms->Remove(added);
    return condition.Eval();
  }
};

}  // namespace

const Clock* Clock::System() {
  static const auto* const clock = new SystemClock();
  return clock;
}

}  // namespace faultline::base
