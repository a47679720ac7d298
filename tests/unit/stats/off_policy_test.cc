#include "lib/stats/off_policy.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::stats {
namespace {

// Four cells and three arms; the loss rate of each, and how the log drew.
constexpr int kCells = 4;
constexpr int kArms = 3;
constexpr double kLoss[kCells][kArms] = {
    {.1, .4, .6}, {.5, .2, .4}, {.3, .3, .3}, {.7, .6, .1}};
constexpr double kDrawn[kArms] = {.6, .3, .1};

std::vector<LoggedChoice> DrawChoices(int n, base::Random* random) {
  std::vector<LoggedChoice> choices;
  for (int i = 0; i < n; ++i) {
    LoggedChoice choice;
    choice.cell = static_cast<int32_t>(random->Uniform() * kCells);
    const double u = random->Uniform();
    choice.arm = u < kDrawn[0] ? 0 : u < kDrawn[0] + kDrawn[1] ? 1 : 2;
    choice.propensity = kDrawn[choice.arm];
    choice.loss = random->Uniform() < kLoss[choice.cell][choice.arm];
    choices.push_back(choice);
  }
  return choices;
}

// The arm that is best in each cell, mostly.
ChoicePolicy BestPolicy() {
  return {kArms, {.8, .1, .1, .1, .8, .1, .4, .3, .3, .1, .1, .8}};
}

double TrueLoss(const ChoicePolicy& policy) {
  double loss = 0;
  for (int cell = 0; cell < kCells; ++cell) {
    for (int arm = 0; arm < kArms; ++arm) {
      loss +=
          policy.probability[cell * kArms + arm] * kLoss[cell][arm] / kCells;
    }
  }
  return loss;
}

bool Covers(const MeanEstimate& estimate, double truth) {
  return estimate.lower <= truth && truth <= estimate.upper;
}

TEST(EvaluateOffPolicy, IsTheDefinition) {
  // One cell, two arms, drawn evenly; the policy takes the first with .75.
  const std::vector<LoggedChoice> choices = {
      {0, 0, .5, 1}, {0, 1, .5, 0}, {0, 0, .5, 0}, {0, 1, .5, 1}};
  const OffPolicyReport report = EvaluateOffPolicy(choices, {2, {.75, .25}});
  EXPECT_NEAR(report.logged.value, .5, 1e-12);
  EXPECT_NEAR(report.mean_weight, 1, 1e-12);
  EXPECT_NEAR(report.ips.value, (1.5 + .5) / 4, 1e-12);
  EXPECT_NEAR(report.snips.value, .5, 1e-12);
  EXPECT_NEAR(report.effective_size, 16 / 5., 1e-12);
  EXPECT_NEAR(report.largest_weight_share, 1.5 / 4, 1e-12);
  // Learnt on the odd places, 0 and 1 of arm 2: .5 everywhere; on the even
  // ones, 1 and 0 of arm 1: .5 as well.
  EXPECT_NEAR(report.dr.value, (.5 + .75 + .5 - .25 + .5 - .75 + .5 + .25) / 4,
              1e-12);
  EXPECT_EQ(report.support, Support::kFewEffective);
}

TEST(EvaluateOffPolicy, CoversTheTruth) {
  const ChoicePolicy policy = BestPolicy();
  const double truth = TrueLoss(policy);
  base::Random random(21);
  int ips = 0, snips = 0, dr = 0, insufficient = 0;
  double ips_square = 0, dr_square = 0;
  constexpr int kLogs = 500;
  for (int log = 0; log < kLogs; ++log) {
    const OffPolicyReport report =
        EvaluateOffPolicy(DrawChoices(2000, &random), policy);
    // The check of the mean weight errs in some 3 of 1000.
    insufficient += report.support != Support::kSufficient;
    ips += Covers(report.ips, truth);
    snips += Covers(report.snips, truth);
    dr += Covers(report.dr, truth);
    ips_square += std::pow(report.ips.value - truth, 2);
    dr_square += std::pow(report.dr.value - truth, 2);
    EXPECT_LT(report.change.upper, 0);
  }
  EXPECT_LE(insufficient, .01 * kLogs);
  EXPECT_GE(ips, .92 * kLogs);
  EXPECT_GE(snips, .92 * kLogs);
  EXPECT_GE(dr, .92 * kLogs);
  EXPECT_LT(ips, kLogs);
  EXPECT_LT(dr, kLogs);
  EXPECT_LT(dr_square, ips_square);
}

TEST(EvaluateOffPolicy, FindsNoChangeInTheLoggingPolicyItself) {
  ChoicePolicy policy{kArms, {}};
  for (int cell = 0; cell < kCells; ++cell) {
    for (const double p : kDrawn) policy.probability.push_back(p);
  }
  base::Random random(22);
  int better = 0;
  for (int log = 0; log < 400; ++log) {
    const OffPolicyReport report =
        EvaluateOffPolicy(DrawChoices(1000, &random), policy);
    EXPECT_NEAR(report.mean_weight, 1, 1e-12);
    EXPECT_NEAR(report.ips.value, report.logged.value, 1e-12);
    better += report.change.upper < 0;
  }
  EXPECT_LE(better, 24);  // one side of 95 %, with room for chance
}

TEST(EvaluateOffPolicy, SaysWhyItCannotTell) {
  EXPECT_EQ(EvaluateOffPolicy({}, BestPolicy()).support, Support::kNoChoices);
  base::Random random(23);
  std::vector<LoggedChoice> choices = DrawChoices(2000, &random);
  // Propensities that were not drawn with.
  for (LoggedChoice& choice : choices) choice.propensity = 1.0 / kArms;
  const ChoicePolicy first{kArms, {1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0}};
  EXPECT_EQ(EvaluateOffPolicy(choices, first).support, Support::kWrongWeights);
  // Few choices of the arm that the policy wants.
  choices = DrawChoices(400, &random);
  const ChoicePolicy rare{kArms, {0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1}};
  EXPECT_EQ(EvaluateOffPolicy(choices, rare).support, Support::kFewEffective);
  // An arm that was never drawn: no weight at all.
  for (LoggedChoice& choice : choices) choice.arm = 0;
  const OffPolicyReport none = EvaluateOffPolicy(choices, rare);
  EXPECT_EQ(none.mean_weight, 0);
  EXPECT_EQ(none.support, Support::kWrongWeights);
}

}  // namespace
}  // namespace faultline::stats
