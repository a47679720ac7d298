#include "lib/base/clock.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstdarg>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace {
// Waits of this program for a point of wall time.
std::atomic<int> wall_time_waits = 0;
}  // namespace

// Every system call that Abseil makes for a mutex comes by here. Takes as many
// arguments as a call may have, as the real one does; there may be fewer.
extern "C" __attribute__((no_sanitize_address)) long syscall(long number, ...) {
  static const auto real =
      reinterpret_cast<long (*)(long, ...)>(dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex && (arguments[1] & FUTEX_CLOCK_REALTIME) != 0 &&
      arguments[3] != 0) {
    ++wall_time_waits;
  }
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3],
              arguments[4], arguments[5]);
}

namespace faultline::base {
namespace {

TEST(ClockTest, AWaitEndsAtItsDeadlineWhateverWallTimeDoes) {
  const Clock& clock = *Clock::System();
  absl::Mutex mutex;
  absl::MutexLock lock(&mutex);
  const bool never = false;
  const absl::Duration deadline = clock.SteadyNow() + absl::Milliseconds(20);
  EXPECT_FALSE(
      clock.AwaitWithDeadline(&mutex, absl::Condition(&never), deadline));
  EXPECT_GE(clock.SteadyNow(), deadline);
  EXPECT_EQ(wall_time_waits, 0);
}

TEST(ClockTest, AWaitEndsWhenItsConditionHolds) {
  const Clock& clock = *Clock::System();
  absl::Mutex mutex;
  bool ready = false;
  std::thread other([&] {
    absl::MutexLock lock(&mutex);
    ready = true;
  });
  {
    absl::MutexLock lock(&mutex);
    EXPECT_TRUE(clock.AwaitWithDeadline(&mutex, absl::Condition(&ready),
                                        clock.SteadyNow() + absl::Hours(1)));
    EXPECT_TRUE(clock.AwaitWithDeadline(&mutex, absl::Condition(&ready),
                                        absl::ZeroDuration()));
  }
  other.join();
}

TEST(ClockTest, WaitsWithSeveralDeadlinesEndInTheirOrder) {
  const Clock& clock = *Clock::System();
  const absl::Duration begin = clock.SteadyNow();
  std::atomic<int> ended = 0;
  const auto wait = [&](int milliseconds, int* place) {
    absl::Mutex mutex;
    absl::MutexLock lock(&mutex);
    const bool never = false;
    EXPECT_FALSE(
        clock.AwaitWithDeadline(&mutex, absl::Condition(&never),
                                begin + absl::Milliseconds(milliseconds)));
    *place = ++ended;
  };
  int late = 0;
  int early = 0;
  std::thread first([&] { wait(300, &late); });
  std::thread second([&] { wait(10, &early); });
  first.join();
  second.join();
  EXPECT_LT(early, late);
}

TEST(ClockTest, ManyShortWaitsOfSeveralThreadsAllEnd) {
  const Clock& clock = *Clock::System();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&clock, i] {
      absl::Mutex mutex;
      absl::MutexLock lock(&mutex);
      const bool never = false;
      for (int round = 0; round < 100; ++round) {
        EXPECT_FALSE(clock.AwaitWithDeadline(
            &mutex, absl::Condition(&never),
            clock.SteadyNow() + absl::Microseconds(100 * (i + 1))));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace faultline::base
