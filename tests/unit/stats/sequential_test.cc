#include "lib/stats/sequential.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(LogBenefitEValue, IsTheMeanOfTheLikelihoodRatios) {
  EXPECT_EQ(LogBenefitEValue({}), 0);
  // Held at p = .5: 1 / (.5 rho + .5), by hand over the nine rho.
  double held = 0, treated = 0;
  for (int i = 1; i <= 9; ++i) {
    const double rho = i / 10.0;
    held += 1 / (.5 * rho + .5) / 9;
    treated += rho / (.9 * rho + .1) / 9;
  }
  EXPECT_NEAR(LogBenefitEValue({{.5, 0, 1}}), std::log(held), 1e-12);
  EXPECT_NEAR(LogBenefitEValue({{.9, 1, 0}}), std::log(treated), 1e-12);
}

TEST(LogBenefitEValue, HasMeanOneWhereTreatmentDoesNothing) {
  for (const double p : {.5, .9}) {
    // One event more, after any counts: the mean factor is 1.
    const std::vector<ArmTally> before = {{p, 7, 9}};
    const std::vector<ArmTally> treated = {{p, 8, 9}}, held = {{p, 7, 10}};
    // Relative to the value before, which need not be near 1.
    for (const auto log_e_value : {LogBenefitEValue, LogHarmEValue}) {
      const double start = log_e_value(before);
      EXPECT_NEAR(p * std::exp(log_e_value(treated) - start) +
                      (1 - p) * std::exp(log_e_value(held) - start),
                  1, 1e-12);
    }
  }
}

TEST(LogBenefitEValue, AddsUpOverTheProbabilities) {
  const std::vector<ArmTally> whole = {{.5, 30, 70}};
  const std::vector<ArmTally> parts = {{.5, 10, 40}, {.5, 20, 30}};
  EXPECT_NEAR(LogBenefitEValue(whole), LogBenefitEValue(parts), 1e-9);
  // Counts that neither arm explains are evidence of both kinds never.
  EXPECT_GT(LogBenefitEValue(whole), std::log(20));
  EXPECT_LT(LogHarmEValue(whole), 0);
  EXPECT_GT(LogHarmEValue({{.5, 70, 30}}), std::log(20));
}

TEST(LogBenefitEValue, StaysFiniteOverManyEvents) {
  const std::vector<ArmTally> events = {{.5, 1'000'000'000, 3'000'000'000}};
  EXPECT_TRUE(std::isfinite(LogBenefitEValue(events)));
  EXPECT_TRUE(std::isfinite(LogHarmEValue(events)));
  const Interval interval = RelativeRiskSequence(events, .05);
  EXPECT_NEAR(interval.lower, 1.0 / 3, .03);
  EXPECT_NEAR(interval.upper, 1.0 / 3, .03);
  EXPECT_LT(interval.lower, 1.0 / 3);
  EXPECT_GT(interval.upper, 1.0 / 3);
}

TEST(RelativeRiskSequence, HoldsTheEstimate) {
  // At p = .9 and rho = .5, 4.5 of 5.5 events are treated.
  const std::vector<ArmTally> events = {{.9, 4500, 1000}, {.5, 500, 1000}};
  EXPECT_NEAR(RelativeRiskEstimate(events), .5, 1e-9);
  const Interval interval = RelativeRiskSequence(events, .05);
  EXPECT_GT(interval.lower, .4);
  EXPECT_LT(interval.lower, .5);
  EXPECT_GT(interval.upper, .5);
  EXPECT_LT(interval.upper, .6);
  // A smaller alpha is a wider interval.
  const Interval wider = RelativeRiskSequence(events, .001);
  EXPECT_LT(wider.lower, interval.lower);
  EXPECT_GT(wider.upper, interval.upper);
}

TEST(RelativeRiskSequence, SaysNothingWithoutEvents) {
  const Interval none = RelativeRiskSequence({}, .05);
  EXPECT_EQ(none.lower, 0);
  EXPECT_EQ(none.upper, kInfinity);
  EXPECT_EQ(RelativeRiskEstimate({}), 1);
}

TEST(RelativeRiskSequence, IsOpenWhereOneArmHasNoEvent) {
  const std::vector<ArmTally> held = {{.5, 0, 40}};
  EXPECT_EQ(RelativeRiskEstimate(held), 0);
  EXPECT_EQ(RelativeRiskSequence(held, .05).lower, 0);
  EXPECT_LT(RelativeRiskSequence(held, .05).upper, .3);
  const std::vector<ArmTally> treated = {{.5, 40, 0}};
  EXPECT_EQ(RelativeRiskEstimate(treated), kInfinity);
  EXPECT_GT(RelativeRiskSequence(treated, .05).lower, 3);
  EXPECT_EQ(RelativeRiskSequence(treated, .05).upper, kInfinity);
}

TEST(LogImbalanceEValue, SeesALostArm) {
  EXPECT_EQ(LogImbalanceEValue({}), 0);
  EXPECT_LT(LogImbalanceEValue({{.5, 500, 500}}), 0);
  EXPECT_LT(LogImbalanceEValue({{.9, 900, 100}}), 0);
  EXPECT_GT(LogImbalanceEValue({{.9, 800, 200}}), std::log(1000));
  EXPECT_GT(LogImbalanceEValue({{.5, 400, 600}}), std::log(1000));
  // Mean 1 under the assignment.
  const double before = std::exp(LogImbalanceEValue({{.9, 20, 3}}));
  EXPECT_NEAR(.9 * std::exp(LogImbalanceEValue({{.9, 21, 3}})) +
                  .1 * std::exp(LogImbalanceEValue({{.9, 20, 4}})),
              before, 1e-12);
}

TEST(LogUnitBenefitEValue, HasMeanOneWhereTheOutcomeIsFixed) {
  EXPECT_EQ(LogUnitBenefitEValue({}, 10), 0);
  for (const double p : {.5, .8}) {
    for (const double outcome : {0., 3., 10.}) {
      const std::vector<UnitTally> treated = {{p, true, outcome, 1}};
      const std::vector<UnitTally> held = {{p, false, outcome, 1}};
      EXPECT_NEAR(p * std::exp(LogUnitBenefitEValue(treated, 10)) +
                      (1 - p) * std::exp(LogUnitBenefitEValue(held, 10)),
                  1, 1e-12);
    }
  }
  EXPECT_GT(LogUnitBenefitEValue({{.5, true, 1, 40}, {.5, false, 4, 40}}, 10),
            std::log(20));
  EXPECT_LT(LogUnitBenefitEValue({{.5, true, 4, 40}, {.5, false, 1, 40}}, 10),
            0);
}

TEST(AsymptoticSequence, CoversTheMeanAtEveryLook) {
  EXPECT_EQ(AsymptoticSequence({}, .05).upper, kInfinity);
  base::Random random(11);
  int missed = 0;
  constexpr int kSeries = 1000;
  for (int series = 0; series < kSeries; ++series) {
    Moments moments;
    bool miss = false;
    for (int i = 1; i <= 2000; ++i) {
      moments.Add(3 + 2 * random.Normal());
      if (i < 200 || i % 20 != 0) continue;
      const Interval interval = AsymptoticSequence(moments, .05);
      miss = miss || interval.lower > 3 || interval.upper < 3;
    }
    missed += miss;
  }
  EXPECT_LE(missed, .05 * kSeries);
  EXPECT_GT(missed, 0);
}

// The claim itself, on more streams and settings:
// tests/show/loop/sequential.sh.
TEST(Sequential, MayBeLookedAtAfterEveryEvent) {
  base::Random random(12);
  int false_benefit = 0, false_harm = 0, missed = 0;
  constexpr int kStreams = 500;
  for (int stream = 0; stream < kStreams; ++stream) {
    ArmTally events{.5, 0, 0};
    bool benefit = false, harm = false, miss = false;
    for (int event = 0; event < 300; ++event) {
      (random.Uniform() < .5 ? events.treated : events.held) += 1;
      benefit = benefit || LogBenefitEValue({events}) >= std::log(20);
      harm = harm || LogHarmEValue({events}) >= std::log(20);
      const Interval interval = RelativeRiskSequence({events}, .05);
      miss = miss || interval.lower > 1 || interval.upper < 1;
    }
    false_benefit += benefit;
    false_harm += harm;
    missed += miss;
  }
  EXPECT_LE(false_benefit, .05 * kStreams);
  EXPECT_LE(false_harm, .05 * kStreams);
  EXPECT_LE(missed, .05 * kStreams);
  EXPECT_GT(false_benefit, 0);
}

}  // namespace
}  // namespace faultline::stats
