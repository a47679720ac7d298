#include <google/protobuf/text_format.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/lab/agent_runtime.h"
#include "client/lab/baselines.h"
#include "client/lab/lab.h"
#include "client/lab/memory_world.h"
#include "client/lab/policy_source.h"
#include "client/lab/truth.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/policy/policy_matcher.h"
#include "tests/support/status_matchers.h"

namespace faultline::lab {
namespace {

using ::testing::SizeIs;

constexpr absl::Time kNow = absl::FromUnixSeconds(1767323045);

v1::Action ParseAction(const std::string& text) {
  v1::Action action;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &action));
  return action;
}

v1::Action Schema(const std::string& text) {
  return ParseAction("memory_schema { " + text + " }");
}

v1::Action Strategy(const std::string& name) {
  return ParseAction("prompt_strategy { strategy: '" + name + "' }");
}

// One lab for each world: training takes half a second.
const Lab& LabOf(World world) {
  static auto& labs = *new std::map<World, std::unique_ptr<const Lab>>;
  std::unique_ptr<const Lab>& lab = labs[world];
  if (lab == nullptr) {
    Lab::Options options;
    options.world = world;
    options.tasks_per_tick = 800;
    options.drift_tick = 3;
    lab = Lab::Create(options).value();
  }
  return *lab;
}

// Failures of one family, by kind, where `actions` always apply.
std::map<std::string, double> FailureRates(const Lab& lab, Family family,
                                           std::vector<v1::Action> actions,
                                           int tick = 1) {
  std::map<std::string, double> failed;
  std::map<std::string, double> count;
  const ForcedActions policy(std::move(actions));
  for (const Problem& problem : lab.MakeProblems(tick, 3000)) {
    if (problem.family != family) continue;
    ++count[problem.kind];
    failed[problem.kind] +=
        Failed(lab.runtime(tick).Run(problem, policy, kNow)) ? 1 : 0;
  }
  for (auto& [kind, failures] : failed) failures /= count[kind];
  return failed;
}

TEST(NormalWorldTest, EachSchemaMendsItsOwnKind) {
  const Lab& lab = LabOf(World::kNormal);
  auto none = FailureRates(lab, Family::kMemory, {});
  EXPECT_EQ(none["absent"], 0);
  for (const char* kind : {"aged", "conflict", "rumour"}) {
    EXPECT_GT(none[kind], .4) << kind;
  }
  auto young = FailureRates(lab, Family::kMemory,
                            {Schema("max_age { seconds: 86400 }")});
  EXPECT_EQ(young["aged"], 0);
  EXPECT_EQ(young["rumour"], none["rumour"]);
  auto guarded = FailureRates(lab, Family::kMemory,
                              {Schema("refuse_conflicting_writes: true")});
  EXPECT_LT(guarded["conflict"], .2);
  EXPECT_EQ(guarded["aged"], none["aged"]);
  auto sourced =
      FailureRates(lab, Family::kMemory, {Schema("required_field: 'source'")});
  EXPECT_EQ(sourced["rumour"], 0);
  // Of one class only.
  auto places = FailureRates(
      lab, Family::kMemory,
      {Schema("record_class: 'place' max_age { seconds: 86400 }")});
  EXPECT_LT(places["aged"], none["aged"]);
  EXPECT_GT(places["aged"], 0);
}

TEST(NormalWorldTest, EachStrategyMendsItsOwnKindAndCosts) {
  const Lab& lab = LabOf(World::kNormal);
  auto direct = FailureRates(lab, Family::kCorpus, {Strategy("direct")});
  auto decompose = FailureRates(lab, Family::kCorpus, {Strategy("decompose")});
  auto cite = FailureRates(lab, Family::kCorpus, {Strategy("cite_first")});
  EXPECT_GT(direct["two_hop"], .9);
  EXPECT_LT(decompose["two_hop"], .2);
  EXPECT_EQ(decompose["unsupported"], direct["unsupported"]);
  EXPECT_GT(direct["unsupported"], .9);
  EXPECT_LT(cite["unsupported"], .1);
  EXPECT_GT(cite["synonym"], direct["synonym"]);
  auto required = FailureRates(lab, Family::kCorpus, {ParseAction(R"pb(
                                 guardrail {
                                   check: CHECK_STEP_REQUIRED
                                   required_step: "retrieval"
                                   fallback: FALLBACK_REQUIRE_STEP
                                 })pb")});
  EXPECT_GT(direct["recalled"], .3);
  EXPECT_EQ(required["recalled"], 0);

  double costs[2] = {};
  for (const Problem& problem : lab.MakeProblems(1, 400)) {
    if (problem.kind != "two_hop") continue;
    int i = 0;
    for (const char* strategy : {"direct", "decompose"}) {
      costs[i++] += lab.runtime(1)
                        .Run(problem, ForcedActions({Strategy(strategy)}), kNow)
                        .evaluation()
                        .cost();
    }
  }
  EXPECT_GT(costs[1], costs[0]);
  // Less than the tenth at which a trial is rolled back.
  EXPECT_LT(costs[1], 1.1 * costs[0]);
}

TEST(NormalWorldTest, LogsStrategiesWithTheirPropensity) {
  std::map<std::string, int> chosen;
  for (const v1::Trace& trace :
       LabOf(World::kNormal).RunTick(1, NoPolicy(), kNow).traces) {
    if (trace.task().type() != "corpus_question") {
      EXPECT_EQ(trace.system().prompt_strategy(), "direct");
      continue;
    }
    const v1::Decision& decision = trace.decisions(1);
    EXPECT_EQ(decision.kind(), v1::Decision::KIND_PROMPT_STRATEGY);
    EXPECT_EQ(decision.chosen(), trace.system().prompt_strategy());
    EXPECT_DOUBLE_EQ(decision.propensity(),
                     decision.chosen() == "direct" ? .7 : .15);
    ++chosen[decision.chosen()];
  }
  EXPECT_THAT(chosen, SizeIs(3));
}

TEST(NormalWorldTest, SaysWhatMemoryHeldReturnedAndSkipped) {
  const Lab& lab = LabOf(World::kNormal);
  int skipped = 0;
  int looked_up = 0;
  for (const Problem& problem : lab.MakeProblems(1, 800)) {
    if (problem.kind != "aged") continue;
    const v1::Trace plain = lab.runtime(1).Run(problem, NoPolicy(), kNow);
    const v1::MemoryState& memory = plain.memory();
    EXPECT_GE(memory.size(), problem.notebook->held.size() / 2);
    EXPECT_EQ(memory.stats().at("has_answer"), 1);
    EXPECT_GE(memory.stats().at("answer_age_days"), 2 - 1e-3);
    const v1::Trace young = lab.runtime(1).Run(
        problem, ForcedActions({Schema("max_age { seconds: 86400 }")}), kNow);
    for (const auto& read : young.memory().reads()) {
      EXPECT_LE(read.age().seconds(), 86400);
      EXPECT_FALSE(read.used());
    }
    skipped += young.memory().skipped_size() > 0 ? 1 : 0;
    for (const v1::Step& step : young.steps()) {
      looked_up += step.name() == "directory" ? 1 : 0;
    }
    EXPECT_GT(young.evaluation().cost(), .001);
  }
  EXPECT_GT(skipped, 20);
  EXPECT_GE(looked_up, skipped);
}

TEST(NormalWorldTest, DrawsTheArmOfMemoryByItsNamespace) {
  const Lab& lab = LabOf(World::kNormal);
  v1::Policy policy;
  policy.set_version(7);
  v1::Rule* rule = policy.add_rules();
  rule->set_intervention_id("m");
  *rule->mutable_action() = Schema("max_age { seconds: 86400 }");
  rule->mutable_match()->mutable_all();
  rule->set_treatment_probability(.5);
  rule->set_salt("s");
  const MatcherPolicy half(policy::PolicyMatcher::Create(policy), kNow);
  std::map<std::string, v1::Arm> arms;
  std::map<v1::Arm, int> count;
  for (const Problem& problem : lab.MakeProblems(1, 800)) {
    if (problem.family != Family::kMemory) continue;
    const v1::Trace trace = lab.runtime(1).Run(problem, half, kNow);
    ASSERT_EQ(trace.exposure().interventions_size(), 1);
    const auto& exposure = trace.exposure().interventions(0);
    EXPECT_EQ(exposure.assignment_key(), problem.notebook->name);
    EXPECT_EQ(trace.session_id(), problem.notebook->name);
    const auto [entry, fresh] =
        arms.emplace(exposure.assignment_key(), exposure.arm());
    EXPECT_EQ(entry->second, exposure.arm());
    if (fresh) ++count[exposure.arm()];
  }
  EXPECT_NEAR(count[v1::ARM_TREATMENT], count[v1::ARM_HOLDOUT], 30);
}

TEST(NullWorldTest, NoActionChangesAnyOutcome) {
  const Lab& lab = LabOf(World::kNull);
  std::vector<v1::Action> others = {
      ParseAction("tool_constraint { tool: 'calculator' disable {} }"),
      ParseAction("tool_constraint { tool: 'calculator' order { after_tool: "
                  "'normalizer' } }"),
      ParseAction("guardrail { check: CHECK_SIGNAL_AT_LEAST signal: "
                  "'confidence' threshold: 2 fallback: FALLBACK_ABSTAIN }"),
      ParseAction("guardrail { check: CHECK_SIGNAL_AT_LEAST signal: "
                  "'confidence' threshold: 2 fallback: FALLBACK_ROUTE "
                  "fallback_route: 'parser' }"),
      ParseAction("guardrail { check: CHECK_STEP_REQUIRED required_step: "
                  "'memory' fallback: FALLBACK_REQUIRE_STEP }"),
      ParseAction("guardrail { check: CHECK_STEP_REQUIRED required_step: "
                  "'tool' fallback: FALLBACK_REQUIRE_STEP }")};
  int failures = 0;
  for (const Problem& problem : lab.MakeProblems(1, 800)) {
    std::vector<v1::Action> actions = AgentRuntime::ActionsOf(problem.family);
    actions.insert(actions.end(), others.begin(), others.end());
    const bool failed = Failed(lab.runtime(1).Run(problem, NoPolicy(), kNow));
    failures += failed ? 1 : 0;
    for (const v1::Action& action : actions) {
      EXPECT_EQ(
          Failed(lab.runtime(1).Run(problem, ForcedActions({action}), kNow)),
          failed)
          << problem.question << action.ShortDebugString();
    }
  }
  EXPECT_GT(failures, 200);
}

TEST(HarmfulWorldTest, SomeActionsHurtAndLookBetter) {
  const Lab& lab = LabOf(World::kHarmful);
  double failed[2] = {};
  double count[2] = {};
  for (const v1::Trace& trace : lab.RunTick(1, NoPolicy(), kNow).traces) {
    if (trace.task().type() != "binary_reasoning") continue;
    const bool parsed = trace.system().model() == "parser";
    ++count[parsed];
    failed[parsed] += Failed(trace) ? 1 : 0;
  }
  // Whoever looks at the routes alone takes the worst one for the best.
  EXPECT_LT(failed[1] / count[1] + .1, failed[0] / count[0]);
  v1::Intervention intervention;
  v1::Comparison* type = intervention.mutable_scope()->mutable_comparison();
  type->set_field("task.type");
  type->set_op(v1::Comparison::OPERATOR_EQUAL);
  type->set_text("binary_reasoning");
  intervention.set_intervention_id("i");
  *intervention.mutable_action() =
      ParseAction("routing_policy { candidates { name: 'parser' weight: 1 } }");
  EXPECT_EQ(MeasureTruth(lab, intervention, 1, 2000).effect(),
            Truth::Effect::kHurts);

  // The directory is behind the notebooks.
  type->set_text("changing_facts");
  *intervention.mutable_action() = Schema("max_age { seconds: 3600 }");
  EXPECT_EQ(MeasureTruth(lab, intervention, 1, 2000).effect(),
            Truth::Effect::kHurts);
}

TEST(DriftWorldTest, PartsGetWorseAtTheTickAndNotBefore) {
  const Lab& lab = LabOf(World::kDrift);
  const v1::Action parser =
      ParseAction("routing_policy { candidates { name: 'parser' weight: 1 } }");
  const v1::Action aware =
      ParseAction("routing_policy { candidates { name: 'calc_b' weight: 1 } }");
  EXPECT_EQ(&lab.runtime(1), &lab.runtime(2));
  EXPECT_EQ(&lab.runtime(3), &lab.runtime(9));
  EXPECT_LT(FailureRates(lab, Family::kReasoning, {parser}, 2)["negation"], .1);
  EXPECT_GT(FailureRates(lab, Family::kReasoning, {parser}, 3)["negation"], .3);
  EXPECT_LT(FailureRates(lab, Family::kArithmetic, {aware}, 2)["long"], .1);
  EXPECT_GT(FailureRates(lab, Family::kArithmetic, {aware}, 3)["long"], .2);
}

TEST(BaselinesTest, TheBanditFindsTheBestRouteWithoutContext) {
  GlobalBandit bandit(1);
  base::Random random(2);
  const std::vector<Choice> routes = {{"a", .5}, {"b", .5}};
  int chosen = 0;
  for (int i = 0; i < 600; ++i) {
    const std::string route = bandit.Choose(routes);
    bandit.Learn(route, random.Bernoulli(route == "a" ? .4 : .2));
    chosen += i >= 300 && route == "b" ? 1 : 0;
  }
  EXPECT_GT(chosen, 270);
}

TEST(BaselinesTest, AreTheSameForTheSameSeed) {
  const Lab& lab = LabOf(World::kNormal);
  Scores scores[2];
  for (Scores& it : scores) {
    Baselines baselines(lab);
    for (int tick = 1; tick < 3; ++tick) {
      baselines.RunTick(tick, lab.MakeProblems(tick, 400), &it);
    }
  }
  EXPECT_EQ(scores[0].all.random, scores[1].all.random);
  EXPECT_EQ(scores[0].all.bandit, scores[1].all.bandit);
  EXPECT_GT(scores[0].all.bandit, 0);
}

}  // namespace
}  // namespace faultline::lab
