#include "lib/base/thread_priority.h"

#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "gtest/gtest.h"

namespace faultline::base {
namespace {

int Niceness() { return getpriority(PRIO_PROCESS, gettid()); }

// Niceness of a new thread that sets its priority.
int NicenessAfter(ThreadPriority priority) {
  int niceness = 0;
  std::thread([&] {
    SetThreadPriority(priority);
    niceness = Niceness();
  }).join();
  return niceness;
}

TEST(SetThreadPriority, BackgroundStandsBehindBatchesBehindAnswers) {
  if (Niceness() > 9) GTEST_SKIP() << "this process is too nice already";
  EXPECT_EQ(NicenessAfter(ThreadPriority::kPrompt), Niceness());
  EXPECT_GT(NicenessAfter(ThreadPriority::kBatch), Niceness());
  EXPECT_GT(NicenessAfter(ThreadPriority::kBackground),
            NicenessAfter(ThreadPriority::kBatch));
}

TEST(SetThreadPriority, CountsFromTheProcessHoweverOftenItIsCalled) {
  const int once = NicenessAfter(ThreadPriority::kBatch);
  std::thread([once] {
    SetThreadPriority(ThreadPriority::kBatch);
    SetThreadPriority(ThreadPriority::kBatch);
    EXPECT_EQ(Niceness(), once);
  }).join();
}

TEST(SetThreadPriority, IsInherited) {
  const int once = NicenessAfter(ThreadPriority::kBackground);
  std::thread([once] {
    SetThreadPriority(ThreadPriority::kBackground);
    std::thread([once] { EXPECT_EQ(Niceness(), once); }).join();
  }).join();
}

}  // namespace
}  // namespace faultline::base
