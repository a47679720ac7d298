#include "lib/evaluate/effects.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::evaluate {
namespace {

using ::testing::IsEmpty;

embedding::Run MakeRun(v1::Outcome outcome,
                       std::vector<embedding::RunExposure> exposures,
                       bool in_mode = false) {
  embedding::Run run;
  run.outcome = outcome;
  run.exposures = std::move(exposures);
  run.confidence = in_mode ? 1 : 0;  // what the test's mode reads
  return run;
}

embedding::RunExposure Exposure(const std::string& id, v1::Arm arm) {
  return {id, arm, 0.5};
}

absl::flat_hash_map<std::string, v1::Effect> Measure(
    const std::vector<embedding::Run>& runs) {
  std::vector<const embedding::Run*> pointers;
  pointers.reserve(runs.size());
  for (const embedding::Run& run : runs) pointers.push_back(&run);
  return MeasureEffects(
      pointers,
      [](const embedding::Run& run, const std::string&) {
        return run.confidence > 0;
      },
      99);
}

void Add(int count, const embedding::Run& run,
         std::vector<embedding::Run>* runs) {
  runs->insert(runs->end(), count, run);
}

TEST(MeasureEffects, CountsEachArmByOutcome) {
  const auto treatment = Exposure("a", v1::ARM_TREATMENT);
  const auto holdout = Exposure("a", v1::ARM_HOLDOUT);
  std::vector<embedding::Run> runs;
  Add(80, MakeRun(v1::OUTCOME_PASS, {treatment}), &runs);
  Add(5, MakeRun(v1::OUTCOME_FAIL, {treatment}, true), &runs);
  Add(15, MakeRun(v1::OUTCOME_ERROR, {treatment}), &runs);
  Add(3, MakeRun(v1::OUTCOME_UNSPECIFIED, {treatment}), &runs);
  Add(75, MakeRun(v1::OUTCOME_PASS, {holdout}), &runs);
  Add(10, MakeRun(v1::OUTCOME_FAIL, {holdout}, true), &runs);
  Add(15, MakeRun(v1::OUTCOME_FAIL, {holdout}), &runs);
  Add(50, MakeRun(v1::OUTCOME_FAIL, {}), &runs);  // not in scope

  const auto effects = Measure(runs);
  ASSERT_EQ(effects.size(), 1);
  const v1::Effect& effect = effects.at("a");
  EXPECT_EQ(effect.treatment().runs(), 100);
  EXPECT_EQ(effect.treatment().failures(), 20);
  EXPECT_EQ(effect.treatment().mode_failures(), 5);
  EXPECT_EQ(effect.treatment().pending(), 3);
  EXPECT_EQ(effect.holdout().runs(), 100);
  EXPECT_EQ(effect.holdout().failures(), 25);
  EXPECT_EQ(effect.holdout().mode_failures(), 10);
  EXPECT_EQ(effect.holdout().pending(), 0);
  EXPECT_EQ(effect.watermark(), 99);

  EXPECT_TRUE(effect.mode_failure().defined());
  EXPECT_DOUBLE_EQ(effect.mode_failure().ratio(), 0.5);
  // exp(ln .5 -+ 1.96 sqrt(1/5 - 1/100 + 1/10 - 1/100))
  EXPECT_NEAR(effect.mode_failure().lower(), 0.1771, 0.001);
  EXPECT_NEAR(effect.mode_failure().upper(), 1.4113, 0.005);
  EXPECT_EQ(effect.mode_failure().level(), 0.95);
  EXPECT_DOUBLE_EQ(effect.any_failure().ratio(), 0.8);
}

TEST(MeasureEffects, ARunCountsForEachOfItsInterventions) {
  const auto effects =
      Measure({MakeRun(v1::OUTCOME_FAIL, {Exposure("a", v1::ARM_TREATMENT),
                                          Exposure("b", v1::ARM_HOLDOUT)})});
  EXPECT_EQ(effects.at("a").treatment().failures(), 1);
  EXPECT_EQ(effects.at("a").holdout().runs(), 0);
  EXPECT_EQ(effects.at("b").holdout().failures(), 1);
}

TEST(MeasureEffects, AnEmptyArmOrNoHeldOutEventLeavesTheRatioUndefined) {
  const auto effects =
      Measure({MakeRun(v1::OUTCOME_FAIL, {Exposure("a", v1::ARM_TREATMENT)}),
               MakeRun(v1::OUTCOME_FAIL, {Exposure("b", v1::ARM_TREATMENT)}),
               MakeRun(v1::OUTCOME_PASS, {Exposure("b", v1::ARM_HOLDOUT)})});
  for (const std::string id : {"a", "b"}) {
    EXPECT_FALSE(effects.at(id).any_failure().defined());
    EXPECT_EQ(effects.at(id).any_failure().ratio(), 0);
    EXPECT_TRUE(effects.at(id).has_holdout());
  }
}

TEST(MeasureEffects, ARepeatedOrUnspecifiedExposureDoesNotCount) {
  const auto effects = Measure(
      {MakeRun(v1::OUTCOME_FAIL, {Exposure("a", v1::ARM_TREATMENT),
                                  Exposure("a", v1::ARM_HOLDOUT),
                                  Exposure("b", v1::ARM_UNSPECIFIED)})});
  EXPECT_EQ(effects.size(), 1);
  EXPECT_EQ(effects.at("a").treatment().runs(), 1);
  EXPECT_EQ(effects.at("a").holdout().runs(), 0);
}

TEST(MeasureEffects, NothingFromNothing) {
  EXPECT_THAT(Measure({}), IsEmpty());
}

}  // namespace
}  // namespace faultline::evaluate
