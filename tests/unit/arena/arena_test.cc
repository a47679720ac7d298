#include "client/arena/arena.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/arena/early_warning.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "lib/policy/policy_matcher.h"
#include "tests/fakes/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/arena/recorded_world.h"

namespace faultline::arena {
namespace {

using ::faultline::testing::MakeRuns;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::Policy ParsePolicy(const std::string& text) {
  v1::Policy policy;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &policy));
  return policy;
}

// Sends x to b in nine runs of ten, keeps a tenth for the floor.
v1::Policy RouteX() {
  return ParsePolicy(R"pb(
    version: 5
    global_holdout: 0.1
    rules {
      intervention_id: "i"
      salt: "s"
      priority: 2
      treatment_probability: 0.9
      match { comparison { field: "task.type" op: OPERATOR_EQUAL text: "x" } }
      action {
        routing_policy {
          candidates { name: "b" weight: 1 }
          exploration_floor: 0.05
        }
      }
    })pb");
}

// Keeps what is sent; after the first tick its policy is in force.
class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(v1::Policy policy)
      : policy_(std::move(policy)),
        matcher_(policy::PolicyMatcher::Create(v1::Policy())) {}

  absl::Status Send(std::vector<v1::Trace> traces) override {
    for (v1::Trace& trace : traces) sent.push_back(std::move(trace));
    batches.push_back(sent.size());
    return absl::OkStatus();
  }
  absl::StatusOr<v1::Tick> Tick() override {
    matcher_ = policy::PolicyMatcher::Create(policy_);
    v1::Tick tick;
    tick.set_tick(batches.size());
    return tick;
  }
  sdk::Decision Decide(const v1::Trace& context,
                       absl::string_view assignment_key) override {
    EXPECT_THAT(context.system().model(), IsEmpty());
    EXPECT_FALSE(context.has_evaluation());
    sdk::Decision decision;
    decision.matcher = matcher_;
    decision.policy_version = matcher_->policy().version();
    decision.matches = matcher_->Match(context, assignment_key, clock.Now());
    decision.exposure =
        matcher_->MakeExposure(decision.matches, assignment_key);
    return decision;
  }
  // The share of a's in the model's name: right about type x.
  absl::StatusOr<v1::RecommendResponse> Recommend(
      const v1::Trace& partial) override {
    EXPECT_FALSE(partial.has_evaluation());
    v1::RecommendResponse response;
    response.set_risk(partial.system().model() == "a" ? 0.9 : 0.1);
    return response;
  }

  fakes::FakeClock clock;
  std::vector<v1::Trace> sent;
  std::vector<size_t> batches;

 private:
  const v1::Policy policy_;
  std::shared_ptr<const policy::PolicyMatcher> matcher_;
};

TEST(ViewPolicyTest, ServingPaysForHoldoutsAndTheFloor) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(2)));
  fakes::FakeClock clock;
  v1::Trace context;
  context.mutable_task()->set_type("x");
  const PolicyView x =
      ViewPolicy(RouteX(), context, recorded.models(), clock.Now());
  // .1 of the keys are held out; of the rest .9 are treated, and of these .05
  // go to a.
  const double a = 0.1 / 2 + 0.9 * (0.9 * 0.05 + 0.1 / 2);
  EXPECT_THAT(x.served,
              ElementsAre(DoubleNear(a, 1e-12), DoubleNear(1 - a, 1e-12)));
  EXPECT_THAT(x.recommended, ElementsAre(0, 1));

  context.mutable_task()->set_type("y");
  const PolicyView y =
      ViewPolicy(RouteX(), context, recorded.models(), clock.Now());
  EXPECT_THAT(y.served,
              ElementsAre(DoubleNear(0.5, 1e-12), DoubleNear(0.5, 1e-12)));
  EXPECT_THAT(y.recommended, ElementsAre(0.5, 0.5));
}

TEST(ViewPolicyTest, AHeldOutRunFallsToTheNextRule) {
  v1::Policy policy = RouteX();
  policy.set_global_holdout(0);
  v1::Rule& next = *policy.add_rules();
  next = policy.rules(0);
  next.set_intervention_id("j");
  next.set_priority(1);
  next.set_treatment_probability(0.5);
  next.mutable_action()
      ->mutable_routing_policy()
      ->mutable_candidates(0)
      ->set_name("a");
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(2)));
  fakes::FakeClock clock;
  v1::Trace context;
  context.mutable_task()->set_type("x");
  const PolicyView view =
      ViewPolicy(policy, context, recorded.models(), clock.Now());
  const double a = 0.9 * 0.05 + 0.1 * 0.5 * 0.95 + 0.1 * 0.5 * 0.5;
  EXPECT_THAT(view.served,
              ElementsAre(DoubleNear(a, 1e-12), DoubleNear(1 - a, 1e-12)));
  EXPECT_THAT(view.recommended, ElementsAre(0, 1));
}

TEST(RunStreamTest, StampsWhatTheRouterDid) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(10)));
  FakeBackend backend(RouteX());
  StreamOptions options;
  options.epochs = 3;
  options.runs_per_tick = 20;
  ASSERT_OK_AND_ASSIGN(
      const StreamResult result,
      RunStream(recorded, options, backend.clock, &backend, [](double) {}));
  EXPECT_EQ(result.runs, 48);
  EXPECT_EQ(result.learning_tasks, 16);
  EXPECT_EQ(result.unseen_tasks, 4);
  EXPECT_THAT(backend.batches, ElementsAre(20, 40, 48));
  EXPECT_THAT(result.ticks, SizeIs(3));

  std::set<std::string> ids;
  int by_policy = 0;
  for (size_t i = 0; i < backend.sent.size(); ++i) {
    const v1::Trace& run = backend.sent[i];
    ids.insert(run.trace_id());
    EXPECT_TRUE(run.has_start_time());
    ASSERT_THAT(run.decisions(), SizeIs(1));
    const v1::Decision& route = run.decisions(0);
    EXPECT_THAT(route.candidates(), SizeIs(2));
    EXPECT_EQ(route.chosen(), run.system().model());
    EXPECT_EQ(run.exposure().policy_version(), i < 20 ? 0u : 5u);
    if (route.reason() == "policy") {
      ++by_policy;
      EXPECT_EQ(run.task().type(), "x");
      EXPECT_EQ(route.policy_version(), 5u);
      EXPECT_NEAR(route.propensity(), route.chosen() == "b" ? 0.95 : 0.05,
                  1e-12);
      ASSERT_THAT(run.exposure().interventions(), SizeIs(1));
      EXPECT_EQ(run.exposure().interventions(0).arm(), v1::ARM_TREATMENT);
    } else {
      EXPECT_DOUBLE_EQ(route.propensity(), 0.5);
    }
  }
  EXPECT_THAT(ids, SizeIs(48));
  EXPECT_GT(by_policy, 5);
}

TEST(RunStreamTest, ARecordedRunComesAgainOnlyWhenNoOtherIsLeft) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(10)));
  StreamOptions options;
  options.epochs = 1;
  FakeBackend once(RouteX());
  ASSERT_OK_AND_ASSIGN(
      StreamResult result,
      RunStream(recorded, options, once.clock, &once, [](double) {}));
  EXPECT_EQ(result.repeated_runs, 0);
  // Four recorded runs of each task cannot make twenty visits.
  options.epochs = 20;
  FakeBackend often(RouteX());
  ASSERT_OK_AND_ASSIGN(
      result, RunStream(recorded, options, often.clock, &often, [](double) {}));
  EXPECT_GE(result.repeated_runs, 16 * (20 - 4));
}

TEST(RunStreamTest, JudgesTheLastPolicyOnTasksThatTheStreamNeverHad) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(20)));
  FakeBackend backend(RouteX());
  StreamOptions options;
  options.epochs = 4;
  options.runs_per_tick = 32;
  ASSERT_OK_AND_ASSIGN(
      const StreamResult result,
      RunStream(recorded, options, backend.clock, &backend, [](double) {}));
  double expected = 0;
  const TaskSplit split = SplitTasks(recorded, options.unseen_share, 1);
  for (const int task : split.unseen) {
    const bool x = recorded.tasks()[task].type == "x";
    expected += x ? recorded.FailureRate(task, size_t{1})
                  : (recorded.FailureRate(task, size_t{0}) +
                     recorded.FailureRate(task, size_t{1})) /
                        2;
  }
  EXPECT_NEAR(result.unseen_recommended,
              expected / static_cast<double>(split.unseen.size()), 1e-12);
  EXPECT_GT(result.unseen_served, result.unseen_recommended);
  EXPECT_LE(result.unseen.best_per_type, result.unseen_recommended);
  EXPECT_LT(result.last_third, result.first_third);
}

TEST(EarlyWarningTest, ARunIsCutWithoutItsEnd) {
  v1::Trace run = MakeRuns(1).front();
  for (int i = 0; i < 10; ++i) run.add_steps();
  EXPECT_THAT(CutRun(run, 0.25).steps(), SizeIs(3));
  EXPECT_THAT(CutRun(run, 0.5).steps(), SizeIs(5));
  EXPECT_THAT(CutRun(run, 0.01).steps(), SizeIs(1));
  EXPECT_THAT(CutRun(run, 1).steps(), SizeIs(10));
  EXPECT_FALSE(CutRun(run, 1).has_evaluation());
}

TEST(EarlyWarningTest, ComparesTheRiskWithTheOutcomesOfUnseenTasks) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(20)));
  FakeBackend backend((v1::Policy()));
  ASSERT_OK_AND_ASSIGN(
      const WarningResult result,
      MeasureWarnings(recorded, {}, backend.clock, &backend, [](double) {}));
  EXPECT_EQ(result.learning_runs, 32 * 4);
  EXPECT_EQ(result.unseen_runs, 8 * 4);
  EXPECT_THAT(backend.sent, SizeIs(32 * 4));
  EXPECT_GT(result.baseline.auc, 0.9);
  ASSERT_THAT(result.at, SizeIs(4));
  // The fake's risk is by model alone, which says nothing over both types
  // where there are as many of each.
  EXPECT_LT(result.at[1].risk.auc, result.baseline.auc);
  EXPECT_DOUBLE_EQ(result.at[1].share, 0.5);
}

}  // namespace
}  // namespace faultline::arena
