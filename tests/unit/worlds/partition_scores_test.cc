#include "tests/worlds/partition_scores.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::worlds {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

using Labels = std::vector<int32_t>;

// Expected values: computed by scikit-learn 1.9.
TEST(PartitionScoresTest, AgreeWithScikitLearn) {
  EXPECT_NEAR(AdjustedRandIndex({0, 0, 1, 2}, {0, 0, 1, 1}), 4.0 / 7, 1e-12);
  EXPECT_NEAR(AdjustedRandIndex({0, 0, 1, 1}, {0, 0, 1, 2}), 4.0 / 7, 1e-12);
  Labels truth = {0, 0, 0, 1, 1, 1};
  Labels found = {0, 0, 1, 1, 2, 2};
  EXPECT_NEAR(AdjustedRandIndex(truth, found), 0.24242424242424243, 1e-12);
  EXPECT_NEAR(AdjustedMutualInformation(truth, found), 0.2987924581708901,
              1e-10);
  EXPECT_NEAR(VMeasure(truth, found), 0.5158037429793889, 1e-12);
  EXPECT_NEAR(Purity(truth, found), 5.0 / 6, 1e-12);

  truth.clear();
  found.clear();
  const auto add = [&](int32_t label, int32_t group, int count) {
    truth.insert(truth.end(), count, label);
    found.insert(found.end(), count, group);
  };
  add(0, 0, 25);
  add(0, 1, 5);
  add(1, 1, 5);
  add(1, 0, 5);
  add(1, 1, 10);
  add(2, 1, 2);
  add(2, 2, 8);
  EXPECT_NEAR(AdjustedRandIndex(truth, found), 0.4562358521073623, 1e-12);
  EXPECT_NEAR(AdjustedMutualInformation(truth, found), 0.4686303327575822,
              1e-10);
  EXPECT_NEAR(VMeasure(truth, found), 0.48831938300941957, 1e-12);
}

TEST(PartitionScoresTest, AreOneForTheSamePartitionUnderOtherNames) {
  const Labels truth = {0, 0, 1, 1, -1, -1, 7};
  const Labels found = {5, 5, -1, -1, 3, 3, 0};
  EXPECT_DOUBLE_EQ(AdjustedRandIndex(truth, found), 1);
  EXPECT_NEAR(AdjustedMutualInformation(truth, found), 1, 1e-12);
  EXPECT_NEAR(VMeasure(truth, found), 1, 1e-12);
  EXPECT_DOUBLE_EQ(Purity(truth, found), 1);
}

TEST(PartitionScoresTest, AreBelowZeroWhereGroupsDisagreeMoreThanByChance) {
  const Labels truth = {0, 0, 1, 1};
  const Labels found = {0, 1, 0, 1};
  EXPECT_DOUBLE_EQ(AdjustedRandIndex(truth, found), -0.5);
  EXPECT_NEAR(AdjustedMutualInformation(truth, found), -0.5, 1e-9);
  EXPECT_NEAR(VMeasure(truth, found), 0, 1e-12);
}

TEST(PartitionScoresTest, SayNothingIsKnownFromOneGroup) {
  const Labels truth = {0, 0, 1, 1};
  const Labels one = {3, 3, 3, 3};
  EXPECT_DOUBLE_EQ(AdjustedRandIndex(truth, one), 0);
  EXPECT_NEAR(AdjustedMutualInformation(truth, one), 0, 1e-12);
  EXPECT_DOUBLE_EQ(AdjustedRandIndex(one, one), 1);
  EXPECT_DOUBLE_EQ(AdjustedMutualInformation(one, one), 1);
  EXPECT_DOUBLE_EQ(Purity(truth, one), 0.5);
}

TEST(PartitionScoresTest, AdjustForChanceInLargePartitions) {
  // Two labellings that know nothing of each other.
  Labels truth;
  Labels found;
  for (int i = 0; i < 5000; ++i) {
    truth.push_back(i % 8);
    found.push_back((i * 2654435761u >> 7) % 50);
  }
  EXPECT_THAT(AdjustedRandIndex(truth, found), DoubleNear(0, 0.01));
  EXPECT_THAT(AdjustedMutualInformation(truth, found), DoubleNear(0, 0.01));
}

TEST(PartitionScoresTest, BestF1LooksForOneGroupAClass) {
  // Class 0: half in group 4, which has one stranger. Class 1: in the noise.
  // Class 2: nowhere.
  const Labels truth = {0, 0, 0, 0, 1, 1, -1};
  const Labels found = {4, 4, 9, -1, -1, -1, 4};
  EXPECT_THAT(BestF1(truth, found, 3),
              ElementsAre(DoubleNear(4.0 / 7, 1e-12), 0, 0));
}

}  // namespace
}  // namespace faultline::worlds
