#include "lib/stats/information.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::stats {
namespace {

using ::testing::ElementsAre;
using Labels = std::vector<int32_t>;

double Adjusted(const Labels& a, const Labels& b) {
  return AdjustedMutualInformation(CrossTabulate(a, b));
}

double Bits(const Labels& a, const Labels& b) {
  return MutualInformationBits(CrossTabulate(a, b));
}

TEST(CrossTabulate, CountsWhatBothKnow) {
  const CrossTable table =
      CrossTabulate(Labels{5, 5, 2, -1, 2, 5}, Labels{0, 7, 7, 0, -1, 7});
  EXPECT_EQ(table.total, 4);
  EXPECT_THAT(table.row, ElementsAre(1, 3));     // 2, 5
  EXPECT_THAT(table.column, ElementsAre(1, 3));  // 0, 7
  EXPECT_THAT(table.cell, ElementsAre(0, 1, 1, 2));
}

TEST(MutualInformationBits, IsTheDefinitionLessTheBiasOfChance) {
  // One bit, less 1 / (2 * 8 * ln 2).
  EXPECT_NEAR(Bits({0, 0, 0, 0, 1, 1, 1, 1}, {3, 3, 3, 3, 9, 9, 9, 9}),
              1 - 1 / (16 * std::log(2.0)), 1e-12);
  EXPECT_EQ(Bits({0, 0, 1, 1}, {0, 1, 0, 1}), 0);
  EXPECT_EQ(Bits({0, 0, 0, 0}, {0, 1, 0, 1}), 0);
  EXPECT_EQ(Bits({}, {}), 0);
}

TEST(MutualInformationBits, IsAboutZeroForIndependentLabels) {
  base::Random random(3);
  double sum = 0;
  for (int world = 0; world < 200; ++world) {
    Labels a, b;
    for (int i = 0; i < 300; ++i) {
      a.push_back(static_cast<int32_t>(random.Below(2)));
      b.push_back(static_cast<int32_t>(random.Below(6)));
    }
    sum += Bits(a, b);
  }
  // Without the correction the mean is 5 / (600 ln 2) = 0.012 bits.
  EXPECT_LT(sum / 200, 0.005);
}

TEST(AdjustedMutualInformation, IsTheDefinition) {
  // Sums of 2: the cell is 0, 1 or 2 with probability 1/6, 4/6, 1/6, and the
  // information ln 2, 0, ln 2; so ln 2 / 3 is expected of an entropy of ln 2.
  EXPECT_NEAR(Adjusted({0, 0, 1, 1}, {0, 1, 0, 1}), -0.5, 1e-12);
  EXPECT_NEAR(Adjusted({0, 0, 1, 1, 2}, {4, 4, 0, 0, 1}), 1, 1e-12);
  EXPECT_EQ(Adjusted({0, 0, 0, 0}, {0, 1, 0, 1}), 0);
}

TEST(AdjustedMutualInformation, ExpectsWhatShufflingGives) {
  base::Random random(4);
  Labels a, b;
  for (int i = 0; i < 60; ++i) {
    a.push_back(static_cast<int32_t>(random.Below(4)));
    b.push_back(static_cast<int32_t>(random.Below(3)));
  }
  double sum = 0;
  for (int i = 0; i < 2000; ++i) {
    random.Shuffle(&b);
    sum += Adjusted(a, b);
  }
  EXPECT_NEAR(sum / 2000, 0, 0.003);
}

}  // namespace
}  // namespace faultline::stats
