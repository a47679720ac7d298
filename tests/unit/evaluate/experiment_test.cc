#include "lib/evaluate/experiment.h"

#include <cmath>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/policy/arm_assignment.h"

namespace faultline::evaluate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using v1::Effect;
using v1::Intervention;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One intervention and the runs that carry it, tick after tick.
class ExperimentTest : public ::testing::Test {
 protected:
  ExperimentTest() {
    intervention_.set_intervention_id("x");
    intervention_.set_salt("salt");
    intervention_.set_status(Intervention::STATUS_TRIAL);
    intervention_.set_treatment_probability(.5);
    intervention_.set_confirmation_level(.05);
    intervention_.mutable_scope()->mutable_all();
    config_.set_max_trial_events(300);
    config_.set_max_trial_ticks(12);
    config_.set_max_cost_increase(.1);
    config_.set_max_latency_increase(.1);
    window_.names = &names_;
    Start();
  }

  Experiment experiment() { return {&intervention_, &trial_}; }

  void Start() {
    NewRuns runs;
    runs.watermark = watermark_;
    runs.tick = tick_;
    StartTrial(window_, diagnose::RunSet(window_.runs.size()), runs, config_,
               experiment());
    NotePublished(experiment());
  }

  v1::Arm ArmOf(const std::string& key) const {
    return policy::DrawArm(key, "x", "salt",
                           intervention_.treatment_probability());
  }

  // A run as a router would stamp it; its outcome is known by the next tick.
  embedding::Run* Add(v1::Outcome outcome) {
    embedding::Run& run = runs_.emplace_back();
    run.sequence = ++watermark_;
    run.trace_id = "run-" + std::to_string(run.sequence);
    run.outcome = outcome;
    run.numeric.fill(std::nanf(""));
    if (run.known()) run.known_sequence = run.sequence;
    run.exposures = {
        {"x", ArmOf(run.trace_id), intervention_.treatment_probability()}};
    return &run;
  }

  // The next run that is drawn into `arm`.
  embedding::Run* AddTo(v1::Arm arm, v1::Outcome outcome) {
    while (ArmOf("run-" + std::to_string(watermark_ + 1)) != arm) ++watermark_;
    return Add(outcome);
  }

  // Runs that fail with the probability of their arm.
  void AddTrial(int count, double treated_risk, double held_risk) {
    for (int i = 0; i < count; ++i) {
      embedding::Run* run = Add(v1::OUTCOME_PASS);
      const bool treated = run->exposures[0].arm == v1::ARM_TREATMENT;
      if (random_.Bernoulli(treated ? treated_risk : held_risk)) {
        run->outcome = v1::OUTCOME_FAIL;
      }
    }
  }

  const Effect& Tick() {
    NewRuns runs;
    std::vector<const embedding::Run*> known;
    std::vector<const embedding::Run*> pending;
    for (const embedding::Run& run : runs_) {
      (run.known() ? known : pending).push_back(&run);
    }
    runs.known = known;
    runs.pending = pending;
    runs.previous_watermark = previous_watermark_;
    runs.watermark = watermark_;
    runs.tick = ++tick_;
    const std::vector<Experiment> experiments = {experiment()};
    MeasureEffects(runs, config_, experiments);
    previous_watermark_ = watermark_;
    return intervention_.effect();
  }

  // Ticks of `runs` runs until there is a verdict; the number of ticks.
  int TickUntilVerdict(int runs, double treated_risk, double held_risk) {
    for (int tick = 1; tick <= 200; ++tick) {
      AddTrial(runs, treated_risk, held_risk);
      if (Tick().verdict() != Effect::VERDICT_UNSPECIFIED) return tick;
    }
    return 0;
  }

  // About .1; some are dear, so that the cap of the guard cuts little.
  double UsualCost(int i) {
    return i % 50 == 0 ? .3 : .08 + .04 * random_.Uniform();
  }

  Intervention intervention_;
  v1::Trial trial_;
  v1::ProjectConfig config_;
  embedding::FeatureNames names_;
  diagnose::Window window_;
  std::deque<embedding::Run> runs_;
  uint64_t watermark_ = 100;
  uint64_t previous_watermark_ = 100;
  uint64_t tick_ = 1;
  base::Random random_{7};
};

TEST_F(ExperimentTest, CountsEachArmByOutcome) {
  for (int i = 0; i < 8; ++i) AddTo(v1::ARM_TREATMENT, v1::OUTCOME_PASS);
  for (int i = 0; i < 2; ++i) AddTo(v1::ARM_TREATMENT, v1::OUTCOME_ERROR);
  AddTo(v1::ARM_TREATMENT, v1::OUTCOME_UNSPECIFIED);
  for (int i = 0; i < 6; ++i) AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_PASS);
  for (int i = 0; i < 4; ++i) AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL);
  Add(v1::OUTCOME_FAIL)->exposures.clear();  // not in scope
  const Effect& effect = Tick();
  EXPECT_EQ(effect.treatment().runs(), 10u);
  EXPECT_EQ(effect.treatment().failures(), 2u);
  EXPECT_EQ(effect.treatment().mode_failures(), 2u);
  EXPECT_EQ(effect.treatment().pending(), 1u);
  EXPECT_EQ(effect.holdout().runs(), 10u);
  EXPECT_EQ(effect.holdout().failures(), 4u);
  EXPECT_EQ(effect.holdout().pending(), 0u);
  EXPECT_EQ(effect.watermark(), watermark_);
  EXPECT_EQ(effect.ticks(), 1u);
  EXPECT_EQ(effect.tallies_size(), 1);
  EXPECT_TRUE(effect.mode_failure().defined());
  EXPECT_NEAR(effect.mode_failure().ratio(), .5, 1e-9);
  EXPECT_LT(effect.mode_failure().lower(), .5);
  EXPECT_GT(effect.mode_failure().upper(), 1);
  EXPECT_EQ(effect.mode_failure().level(), .95);
  EXPECT_EQ(effect.verdict(), Effect::VERDICT_UNSPECIFIED);
}

TEST_F(ExperimentTest, ARunCountsOnceWhenItsOutcomeIsKnown) {
  embedding::Run* late = AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_UNSPECIFIED);
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL);
  EXPECT_EQ(Tick().holdout().runs(), 1u);
  EXPECT_EQ(Tick().holdout().runs(), 1u);
  EXPECT_EQ(intervention_.effect().ticks(), 1u);
  late->outcome = v1::OUTCOME_FAIL;
  late->known_sequence = ++watermark_;
  EXPECT_EQ(Tick().holdout().runs(), 2u);
  EXPECT_EQ(Tick().holdout().runs(), 2u);
  EXPECT_EQ(intervention_.effect().holdout().pending(), 0u);
}

TEST_F(ExperimentTest, RunsFromBeforeTheTrialDoNotCount) {
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL)->known_sequence = 100;
  EXPECT_EQ(Tick().holdout().runs(), 0u);
}

TEST_F(ExperimentTest, RefusesProbabilitiesThatWereNeverPublished) {
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL)->exposures[0].treatment_probability =
      .4;
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL)->exposures[0].treatment_probability =
      .5 + 1e-9;
  // Not given: that of the rule, as long as there was only one.
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL)->exposures[0].treatment_probability =
      0;
  EXPECT_EQ(Tick().holdout().runs(), 2u);
  EXPECT_EQ(intervention_.effect().refused().unpublished_probability(), 1u);

  intervention_.set_treatment_probability(.9);
  NotePublished(experiment());
  EXPECT_THAT(trial_.probabilities(), ElementsAre(.5, .9));
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL);
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL)->exposures[0].treatment_probability =
      0;
  EXPECT_EQ(Tick().holdout().runs(), 3u);
  EXPECT_EQ(intervention_.effect().refused().unpublished_probability(), 2u);
  EXPECT_EQ(intervention_.effect().tallies_size(), 2);
}

TEST_F(ExperimentTest, RefusesAnArmThatTheKeyDoesNotDraw) {
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_PASS)->exposures[0].arm =
      v1::ARM_TREATMENT;
  EXPECT_EQ(Tick().treatment().runs(), 0u);
  EXPECT_EQ(intervention_.effect().refused().other_arm(), 1u);
}

TEST_F(ExperimentTest, OfASharedKeyTheFirstRunCounts) {
  for (int tick = 0; tick < 2; ++tick) {
    for (int i = 0; i < 3; ++i) {
      embedding::RunExposure& exposure =
          Add(v1::OUTCOME_FAIL)->exposures.front();
      exposure.assignment_key = "customer";
      exposure.arm = ArmOf("customer");
    }
    Tick();
  }
  const Effect& effect = intervention_.effect();
  EXPECT_EQ(effect.treatment().runs() + effect.holdout().runs(), 1u);
  EXPECT_EQ(effect.refused().repeated_key(), 5u);
  EXPECT_EQ(trial_.counted_keys_size(), 1);
}

TEST_F(ExperimentTest, ARepeatedOrUnspecifiedExposureDoesNotCount) {
  embedding::Run* run = AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL);
  run->exposures.push_back(run->exposures.front());
  AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_FAIL)->exposures[0].arm =
      v1::ARM_UNSPECIFIED;
  EXPECT_EQ(Tick().holdout().runs(), 1u);
}

TEST_F(ExperimentTest, AHalvedModeIsConfirmed) {
  const int ticks = TickUntilVerdict(100, .1, .2);
  EXPECT_GT(ticks, 0);
  EXPECT_LT(ticks, 12);
  const Effect& effect = intervention_.effect();
  EXPECT_EQ(effect.verdict(), Effect::VERDICT_HELPS);
  EXPECT_GE(effect.log_benefit(), std::log(20));
  EXPECT_THAT(effect.verdict_reason(), HasSubstr("relative risk"));
}

TEST_F(ExperimentTest, ADoubledModeHarms) {
  EXPECT_GT(TickUntilVerdict(100, .4, .2), 0);
  EXPECT_EQ(intervention_.effect().verdict(), Effect::VERDICT_HARMS);
}

TEST_F(ExperimentTest, NothingShownEndsWithTheBudgetOfTicks) {
  EXPECT_EQ(TickUntilVerdict(40, .2, .2), 12);
  EXPECT_EQ(intervention_.effect().verdict(), Effect::VERDICT_INCONCLUSIVE);
}

TEST_F(ExperimentTest, NothingShownEndsWithTheBudgetOfEvents) {
  config_.set_max_trial_ticks(1000);
  EXPECT_GT(TickUntilVerdict(100, .3, .3), 0);
  const Effect& effect = intervention_.effect();
  EXPECT_NE(effect.verdict(), Effect::VERDICT_HELPS);
  EXPECT_GE(effect.treatment().failures() + effect.holdout().failures(), 200u);
}

TEST_F(ExperimentTest, TicksWithoutRunsAreNotSpent) {
  for (int tick = 0; tick < 50; ++tick) {
    EXPECT_EQ(Tick().verdict(), Effect::VERDICT_UNSPECIFIED);
  }
}

TEST_F(ExperimentTest, NoBenefitIsADisconfirmation) {
  config_.set_max_trial_ticks(1000);
  config_.set_max_trial_events(100000);
  EXPECT_GT(TickUntilVerdict(500, .325, .3), 0);
  EXPECT_EQ(intervention_.effect().verdict(), Effect::VERDICT_NO_BENEFIT);
  EXPECT_GT(intervention_.effect().mode_failure().lower(), .8);
}

TEST_F(ExperimentTest, FailuresThatOnlyChangeTheirKindAreDisplaced) {
  // The mode's mark disappears under treatment, the failure stays.
  v1::ModeDetector& detector = *intervention_.mutable_detector();
  detector.clear_every_failure();
  detector.set_threshold(1);
  detector.add_tokens()->set_key(5);
  detector.mutable_tokens(0)->set_weight(3);
  Effect::Verdict verdict = Effect::VERDICT_UNSPECIFIED;
  while (verdict == Effect::VERDICT_UNSPECIFIED) {
    for (int i = 0; i < 100; ++i) {
      embedding::Run* run =
          Add(i % 4 == 0 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
      const bool treated = run->exposures[0].arm == v1::ARM_TREATMENT;
      if (!treated || i % 8 == 0) {
        run->tokens.push_back({5, 1, embedding::Channel::kTool});
      }
    }
    verdict = Tick().verdict();
  }
  EXPECT_EQ(verdict, Effect::VERDICT_DISPLACES);
}

TEST_F(ExperimentTest, LostRunsOfOneArmAllowNoConclusion) {
  for (int i = 0; i < 400; ++i) {
    embedding::Run* run = Add(v1::OUTCOME_PASS);
    if (run->exposures[0].arm == v1::ARM_TREATMENT && i % 2 == 0) {
      runs_.pop_back();
    }
  }
  EXPECT_EQ(Tick().verdict(), Effect::VERDICT_UNSOUND);
}

TEST_F(ExperimentTest, LostOutcomesOfOneArmAllowNoConclusion) {
  for (int i = 0; i < 100; ++i) {
    AddTo(v1::ARM_TREATMENT, v1::OUTCOME_UNSPECIFIED);
    AddTo(v1::ARM_TREATMENT, v1::OUTCOME_PASS);
    AddTo(v1::ARM_HOLDOUT, v1::OUTCOME_PASS);
  }
  // They may be late.
  EXPECT_EQ(Tick().verdict(), Effect::VERDICT_UNSPECIFIED);
  EXPECT_EQ(intervention_.effect().treatment().overdue(), 0u);
  EXPECT_EQ(Tick().verdict(), Effect::VERDICT_UNSOUND);
  EXPECT_EQ(intervention_.effect().treatment().overdue(), 100u);
  EXPECT_EQ(Tick().treatment().overdue(), 100u);
}

TEST_F(ExperimentTest, CostThatRisesByMoreThanATenthHarms) {
  std::deque<embedding::Run> before;
  for (int i = 0; i < 400; ++i) {
    embedding::Run& run = before.emplace_back();
    run.outcome = v1::OUTCOME_PASS;
    run.numeric.fill(std::nanf(""));
    run.cost = UsualCost(i);
    window_.runs.push_back(&run);
    window_.discovery.push_back(true);
  }
  Start();
  ASSERT_EQ(trial_.guards_size(), 1);  // latency is not known
  EXPECT_NEAR(trial_.guards(0).baseline(), .1, .01);
  for (int tick = 0; tick < 4; ++tick) {
    for (int i = 0; i < 100; ++i) {
      embedding::Run* run = Add(v1::OUTCOME_PASS);
      const bool treated = run->exposures[0].arm == v1::ARM_TREATMENT;
      run->cost = UsualCost(i) * (treated ? 1.3 : 1);
    }
    Tick();
    if (tick == 0) {
      EXPECT_EQ(intervention_.effect().verdict(), Effect::VERDICT_UNSPECIFIED);
      EXPECT_EQ(intervention_.effect().guards(0).lower(), -kInfinity);
    }
  }
  const Effect& effect = intervention_.effect();
  EXPECT_EQ(effect.verdict(), Effect::VERDICT_HARMS);
  EXPECT_THAT(effect.verdict_reason(), HasSubstr("cost"));
  EXPECT_NEAR(effect.guards(0).change(), .03, .01);
}

TEST_F(ExperimentTest, ADearRouteIsSeenWhereEveryRunCostTheSameBefore) {
  std::deque<embedding::Run> before;
  for (int i = 0; i < 400; ++i) {
    embedding::Run& run = before.emplace_back();
    run.outcome = v1::OUTCOME_PASS;
    run.numeric.fill(std::nanf(""));
    run.cost = .1;
    window_.runs.push_back(&run);
    window_.discovery.push_back(true);
  }
  Start();
  for (int tick = 0; tick < 4; ++tick) {
    for (int i = 0; i < 100; ++i) {
      embedding::Run* run = Add(v1::OUTCOME_PASS);
      run->cost = run->exposures[0].arm == v1::ARM_TREATMENT ? 1 : .1;
    }
    Tick();
  }
  EXPECT_EQ(intervention_.effect().verdict(), Effect::VERDICT_HARMS);
}

TEST_F(ExperimentTest, AConfirmedOneThatStopsHelpingDecays) {
  intervention_.set_status(Intervention::STATUS_CONFIRMED);
  intervention_.set_treatment_probability(.9);
  NotePublished(experiment());
  StartWindow(tick_, experiment());
  int windows = 0;
  while (Tick().verdict() == Effect::VERDICT_UNSPECIFIED && windows < 40) {
    AddTrial(300, .5, .5);
    if (intervention_.effect().treatment().runs() == 0) ++windows;
  }
  EXPECT_EQ(intervention_.effect().verdict(), Effect::VERDICT_DECAYED);
  EXPECT_TRUE(intervention_.has_decided_effect());
}

TEST_F(ExperimentTest, AConfirmedOneThatHelpsGoesOnInParts) {
  intervention_.set_status(Intervention::STATUS_CONFIRMED);
  intervention_.set_treatment_probability(.9);
  NotePublished(experiment());
  StartWindow(tick_, experiment());
  for (int tick = 0; tick < 40; ++tick) {
    AddTrial(300, .2, .5);
    ASSERT_EQ(Tick().verdict(), Effect::VERDICT_UNSPECIFIED);
  }
  EXPECT_TRUE(intervention_.has_decided_effect());
  EXPECT_LT(intervention_.effect().treatment().mode_failures(), 600u);
  EXPECT_EQ(trial_.idle_windows(), 0u);
}

TEST_F(ExperimentTest, NothingWithoutExperiments) {
  NewRuns runs;
  MeasureEffects(runs, config_, {});
}

}  // namespace
}  // namespace faultline::evaluate
