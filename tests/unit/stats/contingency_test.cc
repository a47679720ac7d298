#include "lib/stats/contingency.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::stats {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

double Choose(int n, int k) {
  double product = 1;
  for (int i = 1; i <= k; ++i) product = product * (n - k + i) / i;
  return product;
}

// P(sum X_s >= observed) by going through every combination.
double EnumerateTail(absl::Span<const HypergeometricStratum> strata,
                     int64_t observed) {
  if (strata.empty()) return observed <= 0 ? 1 : 0;
  const HypergeometricStratum& s = strata[0];
  const int n = static_cast<int>(s.population);
  const int f = static_cast<int>(s.successes);
  const int a = static_cast<int>(s.draws);
  double tail = 0;
  for (int x = std::max(0, a - (n - f)); x <= std::min(a, f); ++x) {
    tail += Choose(f, x) * Choose(n - f, a - x) / Choose(n, a) *
            EnumerateTail(strata.subspan(1), observed - x);
  }
  return tail;
}

TEST(MantelHaenszel, AgreesWithBerkeleyAdmissions) {
  // Admitted and rejected by sex in six departments; R's mantelhaen.test.
  const std::vector<Table> departments = {
      {512, 313, 89, 19},   {353, 207, 17, 8},  {120, 205, 202, 391},
      {138, 279, 131, 244}, {53, 138, 94, 299}, {22, 351, 24, 317}};
  const OddsRatio result = MantelHaenszel(departments);
  EXPECT_NEAR(result.ratio, 0.9046968, 1e-7);
  EXPECT_NEAR(result.lower, 0.7719074, 1e-7);
  EXPECT_NEAR(result.upper, 1.0603298, 1e-7);
  EXPECT_NEAR(result.p_value, 0.2323, 5e-5);
}

TEST(MantelHaenszel, AgreesWithPenicillinInRabbits) {
  // Two of the five strata say nothing; R's mantelhaen.test.
  const std::vector<Table> doses = {
      {0, 0, 6, 5}, {3, 0, 3, 6}, {6, 2, 0, 4}, {5, 6, 1, 0}, {2, 5, 0, 0}};
  const OddsRatio result = MantelHaenszel(doses);
  EXPECT_NEAR(result.ratio, 7, 1e-9);
  EXPECT_NEAR(result.lower, 1.026713, 1e-6);
  EXPECT_NEAR(result.upper, 47.725133, 1e-5);
  EXPECT_NEAR(result.p_value, 0.04747, 5e-6);
}

TEST(MantelHaenszel, StratificationRemovesConfounding) {
  // Within each stratum the odds ratio is 1; pooled it is not.
  const Table mild = {90, 10, 900, 100};
  const Table severe = {10, 90, 1, 9};
  EXPECT_NEAR(MantelHaenszel({mild, severe}).ratio, 1, 1e-12);
  const Table pooled = {100, 100, 901, 109};
  EXPECT_LT(MantelHaenszel({pooled}).upper, 0.2);
}

TEST(MantelHaenszel, WithoutInformationClaimsNothing) {
  for (const std::vector<Table>& strata :
       {std::vector<Table>{}, {{0, 0, 5, 5}}, {{5, 5, 0, 0}}, {{3, 0, 4, 0}}}) {
    const OddsRatio result = MantelHaenszel(strata);
    EXPECT_EQ(result.ratio, 1);
    EXPECT_EQ(result.lower, 0);
    EXPECT_EQ(result.upper, std::numeric_limits<double>::infinity());
    EXPECT_EQ(result.p_value, 1);
  }
}

TEST(MantelHaenszel, PerfectSeparationIsBoundedOnOneSide) {
  const OddsRatio result = MantelHaenszel({{20, 0, 0, 20}});
  EXPECT_EQ(result.ratio, std::numeric_limits<double>::infinity());
  // ln(20.5^2 / 0.5^2) less 1.96 sqrt(2 / 20.5 + 2 / 0.5).
  EXPECT_NEAR(std::log(result.lower), 7.427 - 1.96 * 2.0242, 0.01);
  EXPECT_EQ(result.upper, std::numeric_limits<double>::infinity());
  EXPECT_LT(result.p_value, 1e-6);

  const OddsRatio inverse = MantelHaenszel({{0, 20, 20, 0}});
  EXPECT_EQ(inverse.ratio, 0);
  EXPECT_EQ(inverse.lower, 0);
  EXPECT_NEAR(inverse.upper * result.lower, 1, 1e-9);
}

TEST(MantelHaenszel, StrataDoNotWidenAOneSidedBound) {
  const OddsRatio whole = MantelHaenszel({{40, 0, 0, 40}});
  const OddsRatio parted =
      MantelHaenszel({{10, 0, 0, 10}, {10, 0, 0, 10}, {20, 0, 0, 20}});
  EXPECT_NEAR(std::log(parted.lower), std::log(whole.lower), 0.1);
}

TEST(StratifiedEnrichment, AgreesWithFishersTeaTasting) {
  // Four of four right: 1/70; three or more: 17/70 (Fisher 1935).
  EXPECT_NEAR(StratifiedEnrichmentPValue({{8, 4, 4, 4}}), 1.0 / 70, 1e-15);
  EXPECT_NEAR(StratifiedEnrichmentPValue({{8, 4, 4, 3}}), 17.0 / 70, 1e-15);
}

TEST(StratifiedEnrichment, AgreesWithEnumeration) {
  base::Random random(7);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<HypergeometricStratum> strata(1 + random.Below(3));
    int64_t observed = 0;
    for (HypergeometricStratum& s : strata) {
      s.population = static_cast<int64_t>(1 + random.Below(20));
      s.successes = static_cast<int64_t>(random.Below(s.population + 1));
      s.draws = static_cast<int64_t>(random.Below(s.population + 1));
      const int64_t low =
          std::max<int64_t>(0, s.draws - (s.population - s.successes));
      const int64_t high = std::min(s.draws, s.successes);
      s.observed = low + static_cast<int64_t>(random.Below(high - low + 1));
      observed += s.observed;
    }
    EXPECT_NEAR(StratifiedEnrichmentPValue(strata),
                EnumerateTail(strata, observed), 1e-12);
  }
}

TEST(StratifiedEnrichment, KeepsRelativePrecisionFarOut) {
  // All of 100 draws out of 100 successes in 1000: 1 / C(1000, 100).
  double log_choose = 0;
  for (int i = 1; i <= 100; ++i) log_choose += std::log((900.0 + i) / i);
  EXPECT_NEAR(std::log(StratifiedEnrichmentPValue({{1000, 100, 100, 100}})),
              -log_choose, 1e-9);
  // What no double can hold is not 0.
  const HypergeometricStratum sure = {100000, 2000, 2000, 2000};
  EXPECT_GT(StratifiedEnrichmentPValue({sure, sure}), 0);
}

TEST(StratifiedEnrichment, NormalTailMeetsExactTail) {
  // 5000 draws are exact, 5001 are not; they must not differ visibly.
  const double exact = StratifiedEnrichmentPValue({{20000, 6000, 5000, 1560}});
  const double normal =
      StratifiedEnrichmentPValue({{20000, 6000, 5000, 1560}, {2, 1, 1, 0}});
  EXPECT_NEAR(exact, 0.0171620173, 1e-9);
  EXPECT_NEAR(normal / exact, 1, 0.05);
}

TEST(StratifiedEnrichment, NothingToTestIsOne) {
  EXPECT_EQ(StratifiedEnrichmentPValue({}), 1);
  EXPECT_EQ(StratifiedEnrichmentPValue({{10, 5, 0, 0}}), 1);
  EXPECT_EQ(StratifiedEnrichmentPValue({{10, 10, 4, 4}}), 1);
  EXPECT_EQ(StratifiedEnrichmentPValue({{10, 0, 4, 0}}), 1);
  EXPECT_EQ(StratifiedEnrichmentPValue({{10000, 10000, 6000, 6000}}), 1);
}

TEST(BenjaminiHochberg, AgreesWithTheirExample) {
  // The 15 p-values of Benjamini and Hochberg (1995), section 3.2: the first
  // four are rejected at 0.05.
  const std::vector<double> p = {0.0001, 0.0004, 0.0019, 0.0095, 0.0201,
                                 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
                                 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
  const std::vector<double> adjusted = AdjustBenjaminiHochberg(p);
  EXPECT_EQ(std::count_if(adjusted.begin(), adjusted.end(),
                          [](double value) { return value <= 0.05; }),
            4);
  EXPECT_NEAR(adjusted[0], 0.0015, 1e-12);
  EXPECT_NEAR(adjusted[3], 0.035625, 1e-12);
  EXPECT_NEAR(adjusted[4], 0.0603, 1e-12);
}

TEST(BenjaminiHochberg, KeepsTheOrderOfItsInput) {
  EXPECT_THAT(AdjustBenjaminiHochberg({0.9, 0.01, 0.02}),
              ElementsAre(DoubleNear(0.9, 1e-12), DoubleNear(0.03, 1e-12),
                          DoubleNear(0.03, 1e-12)));
  EXPECT_THAT(AdjustBenjaminiHochberg({}), IsEmpty());
}

TEST(WilsonInterval, AgreesWithNewcombe) {
  // Newcombe (1998), table I, method 3.
  const struct {
    double events, n, lower, upper;
  } rows[] = {{81, 263, 0.2553, 0.3662},
              {15, 148, 0.0624, 0.1605},
              {0, 20, 0.0000, 0.1611},
              {1, 29, 0.0061, 0.1718}};
  for (const auto& row : rows) {
    const Interval interval = WilsonInterval(row.events, row.n);
    EXPECT_NEAR(interval.lower, row.lower, 5e-5) << row.events;
    EXPECT_NEAR(interval.upper, row.upper, 5e-5) << row.events;
  }
  EXPECT_EQ(WilsonInterval(20, 20).upper, 1);
  EXPECT_EQ(WilsonInterval(0, 0).lower, 0);
  EXPECT_EQ(WilsonInterval(0, 0).upper, 1);
}

TEST(RelativeRisk, AgreesWithAspirinTrial) {
  // Physicians' Health Study: myocardial infarction on placebo and aspirin.
  const Ratio ratio = RelativeRisk(189, 11034, 104, 11037);
  ASSERT_TRUE(ratio.defined);
  EXPECT_NEAR(ratio.ratio, 1.818, 5e-4);
  EXPECT_NEAR(ratio.lower, 1.433, 5e-4);
  EXPECT_NEAR(ratio.upper, 2.306, 5e-4);
}

TEST(RelativeRisk, IsUndefinedWithoutBasis) {
  EXPECT_FALSE(RelativeRisk(0, 0, 3, 10).defined);
  EXPECT_FALSE(RelativeRisk(3, 10, 0, 0).defined);
  EXPECT_FALSE(RelativeRisk(3, 10, 0, 10).defined);
}

TEST(RelativeRisk, NoEventIsBoundedFromAbove) {
  const Ratio few = RelativeRisk(0, 10, 5, 10);
  EXPECT_TRUE(few.defined);
  EXPECT_EQ(few.ratio, 0);
  EXPECT_EQ(few.lower, 0);
  EXPECT_GT(few.upper, 1);  // ten runs do not prove it
  EXPECT_LT(RelativeRisk(0, 1000, 500, 1000).upper, 0.05);
}

TEST(ProportionDifference, AgreesWithNewcombesExamples) {
  // Newcombe 1998, table II, cases (a), (e) and (h), method 10.
  const Difference large = ProportionDifference(56, 70, 48, 80);
  ASSERT_TRUE(large.defined);
  EXPECT_NEAR(large.value, 0.2, 1e-12);
  EXPECT_NEAR(large.lower, 0.0524, 5e-5);
  EXPECT_NEAR(large.upper, 0.3339, 5e-5);
  const Difference small = ProportionDifference(5, 56, 0, 29);
  EXPECT_NEAR(small.lower, -0.0381, 5e-5);
  EXPECT_NEAR(small.upper, 0.1926, 5e-5);
  const Difference extreme = ProportionDifference(10, 10, 0, 10);
  EXPECT_NEAR(extreme.lower, 0.6075, 5e-5);
  EXPECT_NEAR(extreme.upper, 1, 1e-12);
}

TEST(ProportionDifference, IsUndefinedWithoutBasis) {
  EXPECT_FALSE(ProportionDifference(0, 0, 3, 10).defined);
  EXPECT_FALSE(ProportionDifference(3, 10, 0, 0).defined);
}

TEST(BinomialTail, AgreesWithSum) {
  for (const double p : {0.01, 0.3, 0.5, 0.97}) {
    double tail = 0;
    for (int k = 30; k >= 0; --k) {
      tail += Choose(30, k) * std::pow(p, k) * std::pow(1 - p, 30 - k);
      EXPECT_NEAR(BinomialTail(30, p, k) / tail, 1, 1e-12) << p << " " << k;
    }
  }
}

TEST(BinomialTail, HandlesTheEnds) {
  EXPECT_EQ(BinomialTail(10, 0.3, 0), 1);
  EXPECT_EQ(BinomialTail(10, 0.3, 11), 0);
  EXPECT_EQ(BinomialTail(10, 0, 1), 0);
  EXPECT_EQ(BinomialTail(10, 1, 10), 1);
  EXPECT_EQ(BinomialTail(0, 0.5, 0), 1);
  EXPECT_NEAR(std::log10(BinomialTail(1000, 0.5, 1000)), -1000 * std::log10(2),
              1e-6);
}

}  // namespace
}  // namespace faultline::stats
