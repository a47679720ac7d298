#include "lib/intervene/safe_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::intervene {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

double Sum(const std::vector<double>& weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

std::vector<double> DrawWeights(size_t arms, base::Random* random) {
  std::vector<double> weights;
  for (size_t arm = 0; arm < arms; ++arm) {
    weights.push_back(std::pow(random->Uniform(), 4) + 1e-3);
  }
  const double sum = Sum(weights);
  for (double& weight : weights) weight /= sum;
  return weights;
}

TEST(BestArmSharesTest, FavoursTheArmThatSucceedsAsFarAsThatIsKnown) {
  const ArmRecord good = {90, 10};
  const ArmRecord bad = {50, 50};
  const std::vector<double> sure = BestArmShares({bad, good}, {bad, good}, 1);
  EXPECT_GT(sure[1], .99);
  EXPECT_NEAR(Sum(sure), 1, 1e-9);
  const std::vector<double> unsure =
      BestArmShares({{2, 2}, {3, 1}}, {{2, 2}, {3, 1}}, 1);
  EXPECT_GT(unsure[1], .5);
  EXPECT_LT(unsure[1], .95);
}

TEST(BestArmSharesTest, DrawsFromTheBetaPosterior) {
  // The prior of an arm that never ran adds 5 to either side: Beta(16, 6)
  // against Beta(6, 16), by numeric integration.
  const std::vector<ArmRecord> cell = {{10, 0}, {0, 10}};
  const std::vector<ArmRecord> none = {{0, 0}, {0, 0}};
  double p = 0;
  double density_sum = 0;
  constexpr int kSteps = 2000;
  std::vector<double> cumulative(kSteps + 1);
  for (int i = 0; i < kSteps; ++i) {
    const double y = (i + .5) / kSteps;
    cumulative[i + 1] = cumulative[i] + std::pow(y, 5) * std::pow(1 - y, 15);
  }
  for (int i = 0; i < kSteps; ++i) {
    const double x = (i + .5) / kSteps;
    const double density = std::pow(x, 15) * std::pow(1 - x, 5);
    density_sum += density;
    p += density * cumulative[i + 1] / cumulative[kSteps];
  }
  p /= density_sum;
  EXPECT_NEAR(BestArmShares(cell, none, 5)[0], p, .01);
}

TEST(BestArmSharesTest, SmallCellsLeanOnTheOverallRecord) {
  const std::vector<ArmRecord> overall = {{900, 100}, {100, 900}};
  EXPECT_GT(BestArmShares({{0, 0}, {0, 0}}, overall, 2)[0], .99);
  EXPECT_LT(BestArmShares({{0, 60}, {60, 0}}, overall, 2)[0], .01);
}

TEST(BestArmSharesTest, EqualSeedsGiveEqualShares) {
  const std::vector<ArmRecord> cell = {{5, 4}, {6, 4}, {4, 4}};
  EXPECT_EQ(BestArmShares(cell, cell, 7), BestArmShares(cell, cell, 7));
  EXPECT_NE(BestArmShares(cell, cell, 7), BestArmShares(cell, cell, 8));
}

TEST(BoundWeightsTest, KeepsWhatIsSafe) {
  EXPECT_THAT(BoundWeights({.6, .4}, {.5, .5}),
              ElementsAre(DoubleNear(.6, 1e-12), DoubleNear(.4, 1e-12)));
}

TEST(BoundWeightsTest, AnArmGrowsThreefoldAtMost) {
  // The step would allow .05 + .25.
  const std::vector<double> weights =
      BoundWeights({1, 0, 0}, {.05, .475, .475});
  EXPECT_NEAR(weights[0], .15, 1e-9);
  EXPECT_NEAR(weights[1], weights[2], 1e-12);
}

TEST(BoundWeightsTest, NoArmIsGivenUp) {
  const std::vector<double> weights = BoundWeights({1, 0}, {.9, .1});
  EXPECT_NEAR(weights[1], .05 / 2, 1e-12);
}

TEST(BoundWeightsTest, OneStepIsSmall) {
  const std::vector<double> weights = BoundWeights({0, 1}, {.5, .5});
  EXPECT_NEAR(weights[0], .25, 1e-12);
  EXPECT_NEAR(weights[1], .75, 1e-12);
}

TEST(BoundWeightsTest, BoundsHoldForAnyWeights) {
  base::Random random(3);
  for (int trial = 0; trial < 2000; ++trial) {
    const size_t arms = 2 + random.Below(8);
    const std::vector<double> current = DrawWeights(arms, &random);
    const std::vector<double> weights =
        BoundWeights(DrawWeights(arms, &random), current);
    EXPECT_NEAR(Sum(weights), 1, 1e-9);
    const double floor = kWeightFloor / static_cast<double>(arms);
    double step = 0;
    for (size_t arm = 0; arm < arms; ++arm) {
      step += std::abs(weights[arm] - current[arm]) / 2;
      // Only the floor, which comes after it, raises an arm above its cap.
      EXPECT_LE(weights[arm], std::max(3 * current[arm], floor) + 1e-9);
      EXPECT_GE(weights[arm], std::min(current[arm], floor) - 1e-9);
    }
    EXPECT_LE(step, kMaxWeightStep + 1e-9);
  }
}

}  // namespace
}  // namespace faultline::intervene
