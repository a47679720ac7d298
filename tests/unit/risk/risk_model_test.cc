#include "lib/risk/risk_model.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace faultline::risk {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

void AddStep(const std::string& tool, v1::Trace* run) {
  v1::Step& step = *run->add_steps();
  step.set_kind(v1::Step::KIND_TOOL);
  step.set_name(tool);
  step.set_status(v1::Step::STATUS_OK);
}

// Eight steps. Runs of type `hard` fail in 70 %, others in 20 %; a run that
// tries `undo` in its second half fails 25 points more.
class RunMaker {
 public:
  explicit RunMaker(uint64_t seed) : random_(seed) {}

  v1::Trace Make() {
    v1::Trace run;
    run.set_trace_id(absl::StrCat("r", count_++));
    const bool hard = random_.Bernoulli(0.5);
    run.mutable_task()->set_type(hard ? "hard" : "easy");
    run.mutable_system()->set_model("m");
    undo = random_.Bernoulli(0.5);
    for (int i = 0; i < 8; ++i) {
      AddStep(undo && i >= 4 ? "undo" : "look", &run);
    }
    probability = (hard ? 0.7 : 0.2) + (undo ? 0.25 : 0);
    failed = random_.Bernoulli(probability);
    run.mutable_evaluation()->set_outcome(failed ? v1::OUTCOME_FAIL
                                                 : v1::OUTCOME_PASS);
    return run;
  }

  bool undo = false;
  bool failed = false;
  double probability = 0;

 private:
  base::Random random_;
  int count_ = 0;
};

std::vector<Example> MakeExamples(int count, uint64_t seed) {
  RunMaker maker(seed);
  std::vector<Example> examples;
  for (int i = 0; i < count; ++i) {
    const v1::Trace run = maker.Make();
    Example& example = examples.emplace_back();
    example.failed = maker.failed;
    example.hash = base::Hash64(run.trace_id());
    example.prefixes = ReadPrefixes(run);
  }
  return examples;
}

TEST(CutRunTest, KeepsWhatWasKnownThen) {
  v1::Trace run = RunMaker(1).Make();
  (*run.mutable_evaluation()->mutable_signals())["confidence"] = 0.9;
  run.mutable_memory()->add_writes();
  run.mutable_memory()->set_size(7);
  run.add_decisions()->set_step(-1);
  run.add_decisions()->set_step(3);
  run.add_decisions()->set_step(4);
  const v1::Trace half = CutRun(run, 0.5);
  EXPECT_THAT(half.steps(), SizeIs(4));
  EXPECT_THAT(half.decisions(), SizeIs(2));
  EXPECT_THAT(half.memory().writes(), IsEmpty());
  EXPECT_EQ(half.memory().size(), 7);
  EXPECT_THAT(half.evaluation().signals(), IsEmpty());
  EXPECT_THAT(CutRun(run, 0.01).steps(), SizeIs(1));
  EXPECT_EQ(CutRun(run, 1).SerializeAsString(), run.SerializeAsString());
}

TEST(CutRunTest, PrefixesAreTheCutRuns) {
  const v1::Trace run = RunMaker(1).Make();
  const std::vector<Features> prefixes = ReadPrefixes(run);
  ASSERT_THAT(prefixes, SizeIs(std::size(kCuts)));
  for (size_t i = 0; i < prefixes.size(); ++i) {
    EXPECT_EQ(prefixes[i].values, ReadFeatures(CutRun(run, kCuts[i])).values);
  }
  EXPECT_NE(prefixes[0].values, prefixes[1].values);
}

TEST(RiskModelTest, ReadsNoAnswer) {
  v1::Trace run = RunMaker(1).Make();
  const Features features = ReadFeatures(run);
  run.mutable_evaluation()->set_outcome(v1::OUTCOME_ERROR);
  run.mutable_evaluation()->set_score(0.1);
  run.mutable_evaluation()->set_cost(9);
  run.add_annotations()->set_failure_mode("answer");
  run.mutable_task()->set_id("break_everything");
  const Features same = ReadFeatures(run);
  EXPECT_EQ(features.slice, same.slice);
  EXPECT_EQ(features.values, same.values);
}

TEST(RiskModelTest, KnowsTheSliceAtOnceAndTheRestAsTheRunGoesOn) {
  const v1::RiskModel model = Train(MakeExamples(4000, 1), 17);
  EXPECT_EQ(model.watermark(), 17u);
  EXPECT_EQ(model.runs(), 4000u);
  RunMaker maker(2);
  double early_miss = 0;
  double late_miss = 0;
  int covered = 0;
  constexpr int kRuns = 400;
  for (int i = 0; i < kRuns; ++i) {
    const v1::Trace run = maker.Make();
    const double slice_rate =
        run.task().type() == "hard" ? 0.825 : 0.325;  // over both behaviours
    const Risk early = Assess(model, ReadFeatures(CutRun(run, 0.25)));
    const Risk late = Assess(model, ReadFeatures(run));
    early_miss += std::abs(early.risk - slice_rate) / kRuns;
    late_miss += std::abs(late.risk - maker.probability) / kRuns;
    EXPECT_LE(late.lower, late.risk);
    EXPECT_GE(late.upper, late.risk);
    EXPECT_GT(late.runs, 100u);
    covered +=
        late.lower <= maker.probability && maker.probability <= late.upper ? 1
                                                                           : 0;
  }
  EXPECT_LT(early_miss, 0.05);
  EXPECT_LT(late_miss, 0.05);
  EXPECT_GT(covered, kRuns / 2);
}

TEST(RiskModelTest, WhereNothingBearsOnTheOutcomeTheRiskIsTheRate) {
  std::vector<Example> examples = MakeExamples(2000, 3);
  base::Random random(4);
  for (Example& example : examples) example.failed = random.Bernoulli(0.3);
  const v1::RiskModel model = Train(examples, 1);
  for (int i = 0; i < 50; ++i) {
    EXPECT_NEAR(Assess(model, examples[i].prefixes[1]).risk, 0.3, 0.06);
  }
}

TEST(RiskModelTest, AnUnknownSliceGetsTheRateOfAll) {
  const v1::RiskModel model = Train(MakeExamples(2000, 5), 1);
  v1::Trace run;
  run.mutable_task()->set_type("never seen");
  AddStep("never seen", &run);
  EXPECT_NEAR(Assess(model, ReadFeatures(run)).risk, 0.575, 0.1);
}

TEST(RiskModelTest, FewOutcomesMakeNoModel) {
  EXPECT_EQ(Train(MakeExamples(80, 6), 1).runs(), 0u);
  EXPECT_EQ(Train({}, 1).runs(), 0u);
  std::vector<Example> examples = MakeExamples(1000, 7);
  for (Example& example : examples) example.failed = false;
  EXPECT_EQ(Train(examples, 1).runs(), 0u);
}

TEST(RiskModelTest, TheSameExamplesMakeTheSameModel) {
  const std::vector<Example> examples = MakeExamples(1000, 8);
  EXPECT_EQ(Train(examples, 1).SerializeAsString(),
            Train(examples, 1).SerializeAsString());
}

}  // namespace
}  // namespace faultline::risk
