#include "lib/cluster/agreement.h"

#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::cluster {
namespace {

using Labels = std::vector<int32_t>;

TEST(AdjustedRandIndex, IsOneForTheSamePartitionUnderOtherNames) {
  EXPECT_EQ(AdjustedRandIndex(Labels{0, 0, 1, 1, 2}, Labels{7, 7, 3, 3, 0}), 1);
}

TEST(AdjustedRandIndex, HasTheValueOfItsDefinition) {
  // 15 pairs; 3 and 3 together, 1 in both: (1 - 9/15) / (3 - 9/15).
  EXPECT_NEAR(
      AdjustedRandIndex(Labels{0, 0, 1, 1, 2, 2}, Labels{0, 0, 1, 2, 1, 2}),
      (1 - .6) / (3 - .6), 1e-12);
}

TEST(AdjustedRandIndex, IsAboutZeroByChance) {
  base::Random random(1);
  Labels a, b;
  for (int i = 0; i < 20000; ++i) {
    a.push_back(static_cast<int32_t>(random.Below(5)));
    b.push_back(static_cast<int32_t>(random.Below(7)));
  }
  EXPECT_NEAR(AdjustedRandIndex(a, b), 0, .005);
}

TEST(AdjustedRandIndex, NoiseIsOneClassWhateverItIsCalled) {
  EXPECT_EQ(AdjustedRandIndex(Labels{-1, -1, 0, 0}, Labels{-1, -2, 4, 4}), 1);
}

TEST(AdjustedRandIndex, OfOneClassOrOfNothingIsAgreement) {
  EXPECT_EQ(AdjustedRandIndex(Labels{}, Labels{}), 1);
  EXPECT_EQ(AdjustedRandIndex(Labels{3}, Labels{-1}), 1);
  EXPECT_EQ(AdjustedRandIndex(Labels{0, 0, 0}, Labels{-1, -1, -1}), 1);
}

}  // namespace
}  // namespace faultline::cluster
