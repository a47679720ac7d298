#include "server/ingest_lane.h"

#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace faultline::server {
namespace {

using ::testing::_;
using ::testing::ElementsAre;

constexpr size_t kLarge = IngestLane::kSmallBytes + 1;

// A lane of one thread, which is held until Release.
class IngestLaneTest : public ::testing::Test {
 protected:
  IngestLaneTest() : lane_(1, 10 * kLarge) {
    absl::Notification held;
    EXPECT_OK(lane_.Run("holder", kLarge, [&] {
      held.Notify();
      release_.WaitForNotification();
    }));
    held.WaitForNotification();
  }
  ~IngestLaneTest() override {
    if (!release_.HasBeenNotified()) release_.Notify();
  }

  absl::Status Run(const std::string& project, const std::string& name,
                   size_t bytes = kLarge) {
    return lane_.Run(project, bytes, [this, name] {
      absl::MutexLock lock(&mutex_);
      ran_.push_back(name);
    });
  }

  std::vector<std::string> Finish() {
    release_.Notify();
    lane_.Stop();
    return ran_;
  }

  absl::Notification release_;
  absl::Mutex mutex_;
  std::vector<std::string> ran_;
  IngestLane lane_;
};

TEST_F(IngestLaneTest, ProjectsTakeTurns) {
  for (const char* name : {"f1", "f2", "f3"}) EXPECT_OK(Run("flood", name));
  EXPECT_OK(Run("p", "p1"));
  EXPECT_OK(Run("p", "p2"));
  EXPECT_OK(Run("q", "q1"));
  EXPECT_THAT(Finish(), ElementsAre("f1", "p1", "q1", "f2", "p2", "f3"));
}

TEST_F(IngestLaneTest, SmallBatchesRunAtOnce) {
  EXPECT_OK(Run("flood", "large"));
  EXPECT_OK(Run("flood", "small", IngestLane::kSmallBytes));
  EXPECT_THAT(ran_, ElementsAre("small"));
  EXPECT_THAT(Finish(), ElementsAre("small", "large"));
}

TEST_F(IngestLaneTest, OnlyTheProjectThatFillsItIsRefused) {
  int accepted = 0;
  while (Run("flood", "f").ok()) ++accepted;
  EXPECT_EQ(accepted, 5);
  EXPECT_THAT(Run("flood", "f"),
              testing::StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_OK(Run("p", "p"));
  EXPECT_EQ(Finish().size(), 6);
}

TEST_F(IngestLaneTest, WhatComesAfterTheStopRunsAtOnce) {
  EXPECT_OK(Run("p", "before"));
  Finish();
  EXPECT_OK(Run("p", "after"));
  EXPECT_THAT(ran_, ElementsAre("before", "after"));
}

TEST_F(IngestLaneTest, AnswersAreGivenByOtherThreads) {
  std::thread::id answered;
  absl::Notification done;
  lane_.Answer([&] {
    answered = std::this_thread::get_id();
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_NE(answered, std::this_thread::get_id());
}

TEST_F(IngestLaneTest, AnswersAfterTheEndAreGivenAtOnce) {
  absl::Notification before;
  lane_.Answer([&] { before.Notify(); });
  Finish();
  EXPECT_TRUE(before.HasBeenNotified());
  bool answered = false;
  lane_.Answer([&] { answered = true; });
  EXPECT_TRUE(answered);
}

}  // namespace
}  // namespace faultline::server
