#include "lib/base/random.h"

#include <array>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::base {
namespace {

// The standard fixes the 10000th output of this engine.
TEST(RandomTest, IsTheEngineOfTheStandard) {
  Random random(5489);
  uint64_t last = 0;
  for (int i = 0; i < 10000; ++i) last = random.Next();
  EXPECT_EQ(last, 9981545732273789042u);
}

TEST(RandomTest, ASeedGivesTheSameNumbersEverywhere) {
  Random random(1);
  EXPECT_EQ(random.Next(), 2469588189546311528u);
  EXPECT_EQ(random.Below(1000), 462);
  EXPECT_DOUBLE_EQ(random.Uniform(), 0.45121490384453811);
  std::vector<int> items = {0, 1, 2, 3, 4, 5, 6, 7};
  random.Shuffle(&items);
  EXPECT_THAT(items, ::testing::ElementsAre(4, 0, 7, 1, 5, 3, 2, 6));
}

TEST(RandomTest, BelowReachesEveryValueAboutEquallyOften) {
  Random random(2);
  std::array<int, 5> counts{};
  for (int i = 0; i < 5000; ++i) ++counts[random.Below(5)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 120);
  EXPECT_EQ(random.Below(1), 0);
}

TEST(RandomTest, BernoulliHasItsProbability) {
  Random random(3);
  int hits = 0;
  for (int i = 0; i < 5000; ++i) hits += random.Bernoulli(0.2);
  EXPECT_NEAR(hits, 1000, 120);
  EXPECT_FALSE(random.Bernoulli(0));
  EXPECT_TRUE(random.Bernoulli(1));
}

TEST(RandomTest, NormalHasMeanZeroAndVarianceOne) {
  Random random(4);
  constexpr int kCount = 20000;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.Normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.03);
  EXPECT_NEAR(squares / kCount, 1, 0.05);
}

TEST(RandomTest, ShuffleKeepsTheItems) {
  Random random(5);
  std::vector<int> items(100);
  for (int i = 0; i < 100; ++i) items[i] = i;
  const std::vector<int> before = items;
  random.Shuffle(&items);
  EXPECT_NE(items, before);
  EXPECT_THAT(items, ::testing::UnorderedElementsAreArray(before));
  std::vector<int> none;
  random.Shuffle(&none);
}

}  // namespace
}  // namespace faultline::base
