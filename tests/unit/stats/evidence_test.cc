#include "lib/stats/evidence.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::stats {
namespace {

TEST(LogEValue, IsHalfTheInverseRootOfP) {
  EXPECT_NEAR(LogEValue(1), std::log(0.5), 1e-15);
  EXPECT_NEAR(LogEValue(0.0004), std::log(25.0), 1e-12);
  // Its mean over uniform p is 1: the integral of 0.5 p^-0.5.
  double sum = 0;
  constexpr int kSteps = 1'000'000;
  for (int i = 0; i < kSteps; ++i) {
    sum += std::exp(LogEValue((i + 0.5) / kSteps));
  }
  EXPECT_NEAR(sum / kSteps, 1, 1e-3);
}

TEST(LogEValue, ProductMayBeLookedAtAfterEveryBatch) {
  base::Random random(5);
  int crossed = 0, crossed_late = 0;
  constexpr int kReplicates = 4000;
  for (int replicate = 0; replicate < kReplicates; ++replicate) {
    double product = 0, largest = 0;
    for (int batch = 0; batch < 40; ++batch) {
      product += LogEValue(1 - random.Uniform());
      largest = std::max(largest, product);
    }
    crossed += largest >= std::log(20.0);
    crossed_late += product >= std::log(20.0);
  }
  EXPECT_LE(crossed, 0.05 * kReplicates);
  EXPECT_GT(crossed, crossed_late);  // looking often does find more
}

TEST(SpentLevel, SpendsAlphaOverTheRanksAndEarnsByConfirming) {
  constexpr double kPi = 3.14159265358979323846;
  EXPECT_NEAR(SpentLevel(0.05, 1, 0), 0.3 / (kPi * kPi), 1e-15);
  EXPECT_NEAR(SpentLevel(0.05, 10, 0), 0.003 / (kPi * kPi), 1e-15);
  EXPECT_NEAR(SpentLevel(0.05, 10, 3), 0.012 / (kPi * kPi), 1e-15);
  EXPECT_EQ(SpentLevel(0.5, 1, 1000), 1);
  double spent = 0;
  for (uint64_t rank = 1; rank <= 100000; ++rank) {
    spent += SpentLevel(0.05, rank, 0);
  }
  EXPECT_NEAR(spent, 0.05, 1e-6);
}

TEST(ChiSquareTail, AgreesWithTables) {
  EXPECT_NEAR(ChiSquareTail(3.841458820694124, 1), 0.05, 1e-12);
  EXPECT_NEAR(ChiSquareTail(5.991464547107979, 2), 0.05, 1e-12);
  EXPECT_NEAR(ChiSquareTail(7.814727903251179, 3), 0.05, 1e-12);
  EXPECT_NEAR(ChiSquareTail(9.487729036781154, 4), 0.05, 1e-12);
  EXPECT_NEAR(ChiSquareTail(23.209251158954356, 10), 0.01, 1e-12);
  EXPECT_NEAR(ChiSquareTail(19.67513757268249, 11), 0.05, 1e-12);
  EXPECT_EQ(ChiSquareTail(0, 3), 1);
  EXPECT_EQ(ChiSquareTail(5, 0), 1);
}

TEST(MeasureHeterogeneity, IsTheDefinition) {
  // Weights 4 and 1, mean 1.4: q = 4 * 0.16 + 2.56 = 3.2.
  const std::vector<Estimate> two = {{1, 0.5}, {3, 1}};
  const Heterogeneity result = MeasureHeterogeneity(two);
  EXPECT_NEAR(result.q, 3.2, 1e-12);
  EXPECT_NEAR(result.i_squared, 1 - 1 / 3.2, 1e-12);
  EXPECT_NEAR(result.p_value, ChiSquareTail(3.2, 1), 1e-15);

  const std::vector<Estimate> alike = {{2, 1}, {2, 3}, {2, 0.1}};
  EXPECT_EQ(MeasureHeterogeneity(alike).i_squared, 0);
  EXPECT_EQ(MeasureHeterogeneity(alike).p_value, 1);
  EXPECT_EQ(MeasureHeterogeneity({{2, 1}}).p_value, 1);
}

TEST(MeasureHeterogeneity, RejectsOneInTwentyOfEqualEffects) {
  base::Random random(6);
  int rejected = 0;
  for (int world = 0; world < 2000; ++world) {
    std::vector<Estimate> estimates;
    for (int i = 0; i < 5; ++i) {
      const double error = 0.2 + random.Uniform();
      estimates.push_back({1 + error * random.Normal(), error});
    }
    rejected += MeasureHeterogeneity(estimates).p_value <= 0.05;
  }
  EXPECT_NEAR(rejected, 100, 35);
}

}  // namespace
}  // namespace faultline::stats
