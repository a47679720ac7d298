#include "lib/base/periodic_runner.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"

namespace faultline::base {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr absl::Duration kInterval = absl::Seconds(10);

class PeriodicRunnerTest : public ::testing::Test {
 protected:
  // Notes when it runs, in time since the start of the test.
  void Run() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    runs_.push_back(clock_.SteadyNow() - start_);
  }

  std::unique_ptr<PeriodicRunner> MakeRunner(absl::Duration interval) {
    return std::make_unique<PeriodicRunner>(
        &clock_, [interval] { return interval; }, [this] { Run(); });
  }

  std::vector<absl::Duration> WaitForRuns(size_t count)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return runs_.size() >= count;
    };
    mutex_.Await(absl::Condition(&enough));
    return runs_;
  }

  std::vector<absl::Duration> runs() ABSL_LOCKS_EXCLUDED(mutex_) {
    return WaitForRuns(0);
  }

  // Moves time while the runner waits for it.
  void AdvanceGap(absl::Duration by) {
    clock_.WaitForWaiters(1);
    clock_.Advance(by);
  }

  fakes::FakeClock clock_;
  const absl::Duration start_ = clock_.SteadyNow();
  absl::Mutex mutex_;
  std::vector<absl::Duration> runs_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(PeriodicRunnerTest, RunsAfterEachIntervalAndNotBefore) {
  const auto runner = MakeRunner(kInterval);
  AdvanceGap(kInterval - absl::Milliseconds(1));
  AdvanceGap(absl::Milliseconds(1));
  WaitForRuns(1);
  AdvanceGap(kInterval);
  EXPECT_THAT(WaitForRuns(2), ElementsAre(kInterval, 2 * kInterval));
}

TEST_F(PeriodicRunnerTest, TheGapCountsFromTheEndOfARun) {
  PeriodicRunner runner(
      &clock_, [] { return kInterval; },
      [this] {
        Run();
        clock_.Advance(absl::Seconds(7));
      });
  AdvanceGap(kInterval);
  WaitForRuns(1);
  AdvanceGap(kInterval);
  EXPECT_THAT(WaitForRuns(2),
              ElementsAre(kInterval, 2 * kInterval + absl::Seconds(7)));
}

TEST_F(PeriodicRunnerTest, ATriggerEndsTheGap) {
  const auto runner = MakeRunner(kInterval);
  AdvanceGap(absl::Seconds(1));
  runner->Trigger();
  EXPECT_THAT(WaitForRuns(1), ElementsAre(absl::Seconds(1)));
  AdvanceGap(kInterval);
  EXPECT_THAT(WaitForRuns(2), ElementsAre(absl::Seconds(1), absl::Seconds(11)));
}

TEST_F(PeriodicRunnerTest, WithoutAnIntervalOnlyATriggerRuns) {
  const auto runner = MakeRunner(absl::ZeroDuration());
  clock_.Advance(absl::Hours(1000));
  runner->Trigger();
  EXPECT_THAT(WaitForRuns(1), SizeIs(1));
}

TEST_F(PeriodicRunnerTest, ATriggerDuringARunMakesAnother) {
  absl::Notification started;
  absl::Notification release;
  std::atomic<int> count = 0;
  PeriodicRunner runner(
      &clock_, [] { return absl::ZeroDuration(); },
      [&] {
        if (count++ == 0) {
          started.Notify();
          release.WaitForNotification();
        }
        Run();
      });
  runner.Trigger();
  started.WaitForNotification();
  runner.Trigger();
  release.Notify();
  EXPECT_THAT(WaitForRuns(2), SizeIs(2));
}

TEST_F(PeriodicRunnerTest, StopWaitsForTheRunInFlight) {
  absl::Notification started;
  absl::Notification release;
  std::atomic<bool> finished = false;
  PeriodicRunner runner(
      &clock_, [] { return absl::ZeroDuration(); },
      [&] {
        started.Notify();
        release.WaitForNotification();
        finished = true;
      });
  runner.Trigger();
  started.WaitForNotification();
  std::thread stopper([&] {
    runner.Stop();
    EXPECT_TRUE(finished);
  });
  release.Notify();
  stopper.join();
}

TEST_F(PeriodicRunnerTest, NothingRunsAfterStop) {
  const auto runner = MakeRunner(kInterval);
  clock_.WaitForWaiters(1);
  runner->Stop();
  runner->Stop();
  runner->Trigger();
  clock_.Advance(2 * kInterval);
  EXPECT_THAT(runs(), SizeIs(0));
}

}  // namespace
}  // namespace faultline::base
