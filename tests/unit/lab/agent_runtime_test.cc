#include "client/lab/agent_runtime.h"

#include <google/protobuf/text_format.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/lab/lab.h"
#include "client/lab/policy_source.h"
#include "client/lab/run_recorder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/policy/policy_matcher.h"
#include "tests/support/status_matchers.h"

namespace faultline::lab {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr absl::Time kNow = absl::FromUnixSeconds(1767323045);

v1::Action ParseAction(const std::string& text) {
  v1::Action action;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &action));
  return action;
}

const v1::Action kStrictArgument = ParseAction(R"pb(
  tool_constraint {
    tool: "calculator"
    argument { pattern: "[0-9 .()+*/-]+" }
  })pb");
const v1::Action kCalculatorRequired = ParseAction(R"pb(
  guardrail {
    check: CHECK_STEP_REQUIRED
    required_step: "tool"
    required_name: "calculator"
    fallback: FALLBACK_REQUIRE_STEP
  })pb");
const v1::Action kParserOnly = ParseAction(R"pb(
  routing_policy {
    candidates { name: "parser" weight: 1 }
    exploration_floor: 0
  })pb");

// One lab for all tests: training takes half a second.
const Lab& TheLab() {
  static const Lab& lab = *[] {
    Lab::Options options;
    options.families = {Family::kReasoning, Family::kArithmetic};
    options.tasks_per_tick = 800;
    return Lab::Create(options).value().release();
  }();
  return lab;
}

Problem Sum(const std::string& question, const std::string& answer) {
  Problem problem;
  problem.id = "sum";
  problem.family = Family::kArithmetic;
  problem.question = question;
  problem.answer = answer;
  problem.seed = 1;
  return problem;
}

Problem Question(const std::string& text, const std::string& answer) {
  Problem problem;
  problem.id = "question";
  problem.question = text;
  problem.answer = answer;
  problem.seed = 1;
  return problem;
}

v1::Trace RunWith(const Problem& problem, std::vector<v1::Action> actions) {
  return TheLab().runtime(1).Run(problem, ForcedActions(std::move(actions)),
                                 kNow);
}

v1::Action RouteTo(const std::string& name) {
  v1::Action action = kParserOnly;
  action.mutable_routing_policy()->mutable_candidates(0)->set_name(name);
  return action;
}

std::vector<std::string> StepNames(const v1::Trace& trace) {
  std::vector<std::string> names;
  for (const v1::Step& step : trace.steps()) {
    names.push_back(step.error_type().empty()
                        ? step.name()
                        : step.name() + "!" + step.error_type());
  }
  return names;
}

int Failures(const TickRuns& runs, const std::string& kind) {
  int failures = 0;
  for (size_t i = 0; i < runs.problems.size(); ++i) {
    failures += runs.problems[i].kind == kind &&
                runs.traces[i].evaluation().outcome() == v1::OUTCOME_FAIL;
  }
  return failures;
}

// A policy of one rule that always treats.
MatcherPolicy PolicyOf(const v1::Action& action, const std::string& match,
                       double treatment = 1) {
  v1::Policy policy;
  policy.set_version(7);
  v1::Rule* rule = policy.add_rules();
  rule->set_intervention_id("i1");
  *rule->mutable_action() = action;
  rule->set_treatment_probability(treatment);
  rule->set_salt("s");
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      match, rule->mutable_match()));
  return MatcherPolicy(policy::PolicyMatcher::Create(policy), kNow);
}

TEST(LabTest, FailsByItselfAndLessThanItCould) {
  const TickRuns runs = TheLab().RunTick(1, NoPolicy(), kNow);
  EXPECT_EQ(runs.scores.all.problems, 800);
  EXPECT_EQ(runs.scores.all.reached, runs.scores.all.none);
  EXPECT_GT(runs.scores.all.Rate(runs.scores.all.none), .28);
  EXPECT_LT(runs.scores.all.Rate(runs.scores.all.none), .43);
  EXPECT_LT(runs.scores.all.Rate(runs.scores.all.oracle), .08);
  EXPECT_GT(runs.scores.all.oracle, 0);
  for (const Family family : TheLab().options().families) {
    const Score& score = runs.scores.by_family[static_cast<size_t>(family)];
    EXPECT_EQ(score.problems, 400);
    EXPECT_LT(score.oracle, score.none);
  }
  EXPECT_EQ(Captured(runs.scores.all, runs.scores.all.reached), 0);
}

TEST(LabTest, EveryWayToFailHasItsFix) {
  const TickRuns none = TheLab().RunTick(1, NoPolicy(), kNow);
  const TickRuns routed =
      TheLab().RunTick(1, ForcedActions({kParserOnly}), kNow);
  for (const char* kind : {"negation", "compositional", "transitive"}) {
    EXPECT_LT(4 * Failures(routed, kind), Failures(none, kind)) << kind;
  }
  EXPECT_EQ(Failures(routed, "format"), Failures(none, "format"));
  const TickRuns repaired =
      TheLab().RunTick(1, ForcedActions({kStrictArgument}), kNow);
  EXPECT_LT(Failures(repaired, "format"), .75 * Failures(none, "format"));
  EXPECT_EQ(Failures(repaired, "long"), Failures(none, "long"));
  const TickRuns guarded =
      TheLab().RunTick(1, ForcedActions({kCalculatorRequired}), kNow);
  EXPECT_LT(4 * Failures(guarded, "long"), Failures(none, "long"));
  EXPECT_EQ(Failures(guarded, "format"), Failures(none, "format"));
  const TickRuns all = TheLab().RunTick(
      1, ForcedActions({kParserOnly, kStrictArgument, kCalculatorRequired}),
      kNow);
  EXPECT_EQ(Failures(all, "format"), 0);
  EXPECT_EQ(Failures(all, "wording"), Failures(none, "wording"));
  EXPECT_GT(Captured(all.scores.all, all.scores.all.reached), .85);
}

TEST(LabTest, IsTheSameForTheSameSeedWhateverTheRunIsCalled) {
  Lab::Options options = TheLab().options();
  options.run_id = "b";
  ASSERT_OK_AND_ASSIGN(const auto again, Lab::Create(options));
  TickRuns first = TheLab().RunTick(3, NoPolicy(), kNow);
  TickRuns second = again->RunTick(3, NoPolicy(), kNow);
  for (size_t i = 0; i < first.traces.size(); ++i) {
    EXPECT_NE(first.traces[i].trace_id(), second.traces[i].trace_id());
    for (TickRuns* runs : {&first, &second}) {
      runs->traces[i].clear_trace_id();
      runs->traces[i].mutable_task()->clear_id();
    }
    EXPECT_EQ(first.traces[i].ShortDebugString(),
              second.traces[i].ShortDebugString());
  }
  EXPECT_NE(first.problems[0].question,
            again->RunTick(4, NoPolicy(), kNow).problems[0].question);
}

TEST(LabTest, NamesTheOptionAtFault) {
  Lab::Options options;
  options.tasks_per_tick = 0;
  EXPECT_THAT(Lab::Create(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("tasks_per_tick")));
  options = Lab::Options();
  options.families = {Family::kMemory, Family::kMemory};
  EXPECT_THAT(Lab::Create(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("families")));
  options = Lab::Options();
  options.drift_tick = 0;
  EXPECT_THAT(Lab::Create(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("drift_tick")));
  options = Lab::Options();
  options.run_id = "a b";
  EXPECT_THAT(Lab::Create(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("run_id")));
}

TEST(LabTest, KeepsHiddenCausesAndAnswersOutOfTraces) {
  const TickRuns runs = TheLab().RunTick(1, NoPolicy(), kNow);
  for (size_t i = 0; i < runs.traces.size(); ++i) {
    v1::Trace trace = runs.traces[i];
    EXPECT_EQ(trace.task().id(), trace.trace_id());
    EXPECT_THAT(trace.annotations(), IsEmpty());
    const std::string text = trace.ShortDebugString();
    EXPECT_THAT(text, Not(HasSubstr(runs.problems[i].kind + "\"")));
    // A failed run holds the answer nowhere but in its question.
    if (trace.evaluation().outcome() == v1::OUTCOME_FAIL &&
        runs.problems[i].family == Family::kArithmetic &&
        runs.problems[i].answer.size() > 3) {
      EXPECT_THAT(text, Not(HasSubstr("\"" + runs.problems[i].answer + "\"")));
    }
    EXPECT_THAT(LabelLine(runs.problems[i], trace),
                HasSubstr("\"kind\":\"" + runs.problems[i].kind + "\""));
  }
}

TEST(LabTest, ReportsFailuresOfEachRouteByKind) {
  std::map<std::string, KindReport> reports;
  for (const KindReport& report : TheLab().MeasureKinds(500)) {
    reports[report.kind] = report;
    EXPECT_EQ(report.route_failures.size(),
              AgentRuntime::RoutesOf(report.family).size());
    EXPECT_LE(report.oracle, report.none);
  }
  ASSERT_EQ(reports.size(), 8u);
  const KindReport& negation = reports["negation"];
  EXPECT_GT(negation.route_failures[0], .4 * negation.problems);
  EXPECT_LT(negation.route_failures[2], .15 * negation.problems);
}

TEST(AgentRuntimeTest, LogsTheRouteWithItsPropensity) {
  const std::map<std::string, double> own = {{"bag_of_words", .45},
                                             {"bigram", .45},
                                             {"parser", .1},
                                             {"calc_a", .5},
                                             {"calc_b", .5}};
  std::map<std::string, int> chosen;
  const TickRuns runs = TheLab().RunTick(1, NoPolicy(), kNow);
  for (const v1::Trace& trace : runs.traces) {
    const v1::Decision& route = trace.decisions(0);
    EXPECT_EQ(route.kind(), v1::Decision::KIND_ROUTE);
    EXPECT_EQ(route.chosen(), trace.system().model());
    EXPECT_DOUBLE_EQ(route.propensity(), own.at(route.chosen()));
    ++chosen[route.chosen()];
  }
  EXPECT_NEAR(chosen["parser"], 40, 25);
}

TEST(AgentRuntimeTest, KeepsTheExplorationFloorOfARoutingPolicy) {
  v1::Action action = kParserOnly;
  action.mutable_routing_policy()->set_exploration_floor(.05);
  const TickRuns runs = TheLab().RunTick(1, ForcedActions({action}), kNow);
  std::map<std::string, int> chosen;
  for (const v1::Trace& trace : runs.traces) {
    const v1::Decision& route = trace.decisions(0);
    ++chosen[route.chosen()];
    if (route.chosen() == "parser") {
      EXPECT_NEAR(route.propensity(), .9, 1e-9);
    }
    if (route.chosen() == "bigram") {
      EXPECT_NEAR(route.propensity(), .05, 1e-9);
    }
  }
  EXPECT_NEAR(chosen["parser"], 360, 25);
  EXPECT_GT(chosen["bag_of_words"], 5);
}

TEST(AgentRuntimeTest, CountsBothDrawsWhereARuleLooksAtTheRoute) {
  // Away from bag_of_words, were it drawn: parser by .1 + .45.
  const MatcherPolicy policy =
      PolicyOf(kParserOnly, R"pb(
        comparison {
          field: "system.model"
          op: OPERATOR_EQUAL
          text: "bag_of_words"
        })pb");
  for (const v1::Trace& trace : TheLab().RunTick(1, policy, kNow).traces) {
    const v1::Decision& route = trace.decisions(0);
    EXPECT_NE(route.chosen(), "bag_of_words");
    if (route.chosen() == "parser") {
      EXPECT_NEAR(route.propensity(), .55, 1e-9);
    }
    if (route.chosen() == "bigram") {
      EXPECT_NEAR(route.propensity(), .45, 1e-9);
      EXPECT_THAT(trace.exposure().interventions(), IsEmpty());
    }
  }
}

TEST(AgentRuntimeTest, StampsBothArmsAndActsInOne) {
  const MatcherPolicy policy =
      PolicyOf(kParserOnly,
               "comparison { field: 'task.type' op: OPERATOR_EQUAL text: "
               "'binary_reasoning' }",
               .5);
  int treated = 0;
  const TickRuns runs = TheLab().RunTick(1, policy, kNow);
  for (const v1::Trace& trace : runs.traces) {
    EXPECT_EQ(trace.exposure().policy_version(), 7u);
    if (trace.task().type() == "arithmetic") {
      EXPECT_THAT(trace.exposure().interventions(), IsEmpty());
      continue;
    }
    ASSERT_EQ(trace.exposure().interventions_size(), 1);
    const auto& exposure = trace.exposure().interventions(0);
    EXPECT_EQ(exposure.intervention_id(), "i1");
    if (exposure.arm() == v1::ARM_TREATMENT) {
      ++treated;
      EXPECT_EQ(trace.system().model(), "parser");
      EXPECT_EQ(trace.decisions(0).policy_version(), 7u);
    } else {
      EXPECT_LT(trace.decisions(0).propensity(), .5);
    }
  }
  EXPECT_NEAR(treated, 200, 45);
  EXPECT_LT(runs.scores.all.reached, runs.scores.all.none);
}

TEST(AgentRuntimeTest, ShowsAToolErrorAndFallsBackToMentalArithmetic) {
  const v1::Trace trace =
      RunWith(Sum("What is 4812 × 31 + 1577?", "150749"), {RouteTo("calc_b")});
  EXPECT_THAT(
      StepNames(trace),
      ElementsAre("extract", "calculator!bad_argument", "mental", "answer"));
  EXPECT_EQ(trace.steps(1).input(), "4812 × 31 + 1577");
  EXPECT_THAT(trace.steps(1).error_message(), HasSubstr("character 6"));
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_FAIL);
  EXPECT_EQ(trace.decisions(1).kind(), v1::Decision::KIND_TOOL);
  EXPECT_EQ(trace.decisions(1).step(), 1);
}

TEST(AgentRuntimeTest, RepairsAnArgumentThatBreaksAConstraint) {
  const v1::Trace trace = RunWith(Sum("What is 4812 × 31 + 1577?", "150749"),
                                  {RouteTo("calc_b"), kStrictArgument});
  EXPECT_THAT(StepNames(trace),
              ElementsAre("extract", "normalizer", "calculator", "answer"));
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_PASS);
}

TEST(AgentRuntimeTest, RefusesACallThatCannotBeRepaired) {
  const v1::Trace trace =
      RunWith(Sum("What is half of 4812 + 31 + 1577 - 12?", "4002"),
              {RouteTo("calc_b"), kStrictArgument});
  EXPECT_THAT(StepNames(trace),
              ElementsAre("extract", "normalizer!unknown_word",
                          "tool_constraint!call_refused", "mental", "answer"));
}

TEST(AgentRuntimeTest, ObeysTheOtherToolConstraints) {
  const Problem problem = Sum("What is 4812 + 31 * 15?", "5277");
  const auto with = [&](const char* rule) {
    return StepNames(
        RunWith(problem, {RouteTo("calc_b"),
                          ParseAction("tool_constraint { tool: 'calculator' " +
                                      std::string(rule) + " }")}));
  };
  EXPECT_THAT(with("disable {}"),
              ElementsAre("extract", "tool_constraint!call_refused", "mental",
                          "answer"));
  EXPECT_THAT(with("call_limit { max_calls: 1 }"),
              ElementsAre("extract", "calculator", "answer"));
  EXPECT_THAT(with("order { after_tool: 'normalizer' }"),
              ElementsAre("extract", "normalizer", "calculator", "answer"));
  EXPECT_THAT(with("order { after_tool: 'search' }"),
              ElementsAre("extract", "tool_constraint!call_refused", "mental",
                          "answer"));
  EXPECT_THAT(with("argument { pattern: '(' }"),
              ElementsAre("extract", "calculator", "answer"));
  EXPECT_THAT(
      StepNames(
          RunWith(problem, {RouteTo("calc_a"), kCalculatorRequired,
                            ParseAction("tool_constraint { tool: 'calculator' "
                                        "call_limit { max_calls: 0 } }")})),
      ElementsAre("extract", "mental", "answer", "step_required!check_failed",
                  "tool_constraint!call_refused"));
}

TEST(AgentRuntimeTest, CarriesOutARequiredStepAndAnswersAgain) {
  const Problem problem = Sum("What is 12 + 7 * 3?", "33");
  EXPECT_EQ(RunWith(problem, {RouteTo("calc_a")}).evaluation().outcome(),
            v1::OUTCOME_FAIL);
  const v1::Trace trace =
      RunWith(problem, {RouteTo("calc_a"), kCalculatorRequired});
  EXPECT_THAT(StepNames(trace), ElementsAre("extract", "mental", "answer",
                                            "step_required!check_failed",
                                            "calculator", "answer"));
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_PASS);
}

TEST(AgentRuntimeTest, DoesNotCountWhatAPolicyAddsAgainstAStepLimit) {
  const v1::Action limit =
      ParseAction(R"pb(
        guardrail {
          check: CHECK_MAX_STEPS
          threshold: 3
          fallback: FALLBACK_ABSTAIN
        })pb");
  const Problem written = Sum("What is 4812 × 31 + 1577?", "150749");
  const v1::Trace repaired =
      RunWith(written, {RouteTo("calc_b"), kStrictArgument, limit});
  EXPECT_EQ(repaired.steps_size(), 4);
  EXPECT_EQ(repaired.evaluation().outcome(), v1::OUTCOME_PASS);
  // Four steps of its own: the failed call and mental arithmetic.
  const v1::Trace failed = RunWith(written, {RouteTo("calc_b"), limit});
  EXPECT_THAT(StepNames(failed),
              ElementsAre("extract", "calculator!bad_argument", "mental",
                          "answer", "max_steps!check_failed"));
}

TEST(AgentRuntimeTest, AsksAnotherRouteWhereASignalIsLow) {
  const Problem problem =
      Question("Ada likes tea. Ben owns maps. Does Ada not like tea?", "no");
  const v1::Action guardrail = ParseAction(R"pb(
    guardrail {
      check: CHECK_SIGNAL_AT_LEAST
      signal: "confidence"
      threshold: 1.1
      fallback: FALLBACK_ROUTE
      fallback_route: "parser"
    })pb");
  const v1::Trace trace = RunWith(problem, {RouteTo("bigram"), guardrail});
  EXPECT_THAT(
      StepNames(trace),
      ElementsAre("answer", "signal_at_least!check_failed", "parse", "answer"));
  EXPECT_EQ(trace.system().model(), "bigram");
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_PASS);
  EXPECT_LT(trace.evaluation().signals().at("confidence"), 1);
}

TEST(AgentRuntimeTest, LetsARuleWaitForTheSignal) {
  v1::Action abstain =
      ParseAction(R"pb(
        guardrail {
          check: CHECK_MAX_STEPS
          threshold: 0
          fallback: FALLBACK_ABSTAIN
        })pb");
  const MatcherPolicy policy = PolicyOf(
      abstain,
      "comparison { field: 'signals.confidence' op: OPERATOR_AT_LEAST number: "
      "0 }");
  const v1::Trace trace = TheLab().runtime(1).Run(
      Question("Ada likes tea. Does Ada like tea?", "yes"), policy, kNow);
  EXPECT_EQ(trace.steps(trace.steps_size() - 1).error_type(), "check_failed");
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_FAIL);
  EXPECT_EQ(trace.exposure().interventions_size(), 1);
}

TEST(AgentRuntimeTest, IgnoresActionsThatItDoesNotHave) {
  const Problem problem = Sum("What is 12 + 7?", "19");
  const v1::Trace plain = RunWith(problem, {});
  for (const char* action :
       {"prompt_strategy { strategy: 'careful' }",
        "memory_schema { record_class: 'x' }",
        "routing_policy { candidates { name: 'nobody' weight: 1 } }",
        "guardrail { check: CHECK_STEP_REQUIRED required_step: 'dance' "
        "fallback: FALLBACK_REQUIRE_STEP }"}) {
    const v1::Trace trace = RunWith(problem, {ParseAction(action)});
    EXPECT_EQ(trace.evaluation().outcome(), plain.evaluation().outcome());
    EXPECT_EQ(trace.system().model(), plain.system().model()) << action;
  }
}

TEST(AgentRuntimeTest, GivesStepsTimesThatFollowEachOther) {
  const v1::Trace trace = RunWith(Sum("What is 12 + 7 * 3?", "33"), {});
  // The prompt is read before the first step.
  int64_t end = trace.steps(0).start_offset().nanos();
  EXPECT_GT(end, 0);
  double cost = kPromptPrice.dollars;
  for (const v1::Step& step : trace.steps()) {
    EXPECT_EQ(step.start_offset().nanos(), end);
    EXPECT_GT(step.duration().nanos(), 0);
    end += step.duration().nanos();
    cost += step.cost();
  }
  EXPECT_EQ(trace.evaluation().latency().nanos(), end);
  EXPECT_DOUBLE_EQ(trace.evaluation().cost(), cost);
}

}  // namespace
}  // namespace faultline::lab
