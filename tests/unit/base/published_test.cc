#include "lib/base/published.h"

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::base {
namespace {

TEST(PublishedTest, AReaderKeepsWhatItGotAndTheNextGetsTheNewValue) {
  Published<int> published(std::make_shared<const int>(1));
  const std::shared_ptr<const int> old = published.Get();
  EXPECT_EQ(*published.Publish(std::make_shared<const int>(2)), 1);
  EXPECT_EQ(*old, 1);
  EXPECT_EQ(*published.Get(), 2);
}

TEST(PublishedTest, TheLastReaderFreesAnOldValue) {
  Published<int> published(std::make_shared<const int>(1));
  std::shared_ptr<const int> reader = published.Get();
  const std::weak_ptr<const int> watch = reader;
  published.Publish(std::make_shared<const int>(2));
  EXPECT_FALSE(watch.expired());
  reader.reset();
  EXPECT_TRUE(watch.expired());
}

// Both halves are always written together.
TEST(PublishedTest, ReadersNeverSeeAHalfWrittenValue) {
  using Pair = std::pair<int, int>;
  Published<Pair> published(std::make_shared<const Pair>(0, 0));
  constexpr int kRounds = 2000;
  std::vector<std::thread> readers;
  readers.reserve(2);
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      int last = 0;
      while (last < kRounds) {
        const std::shared_ptr<const Pair> value = published.Get();
        EXPECT_EQ(value->first, value->second);
        EXPECT_GE(value->first, last);
        last = value->first;
      }
    });
  }
  for (int i = 1; i <= kRounds; ++i) {
    published.Publish(std::make_shared<const Pair>(i, i));
  }
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace faultline::base
