#include "lib/policy/policy_matcher.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace faultline::policy {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

v1::Rule RouteRule(const std::string& id, int priority) {
  v1::Rule rule;
  rule.set_intervention_id(id);
  rule.set_kind(v1::INTERVENTION_KIND_ROUTING_POLICY);
  rule.mutable_match()->mutable_all();
  auto* const candidate =
      rule.mutable_action()->mutable_routing_policy()->add_candidates();
  candidate->set_name("large");
  candidate->set_weight(1);
  rule.set_treatment_probability(1);
  rule.set_salt("salt");
  rule.set_priority(priority);
  return rule;
}

v1::Rule PromptRule(const std::string& id, int priority) {
  v1::Rule rule = RouteRule(id, priority);
  rule.set_kind(v1::INTERVENTION_KIND_PROMPT_STRATEGY);
  rule.mutable_action()->mutable_prompt_strategy()->set_strategy("careful");
  return rule;
}

std::shared_ptr<const PolicyMatcher> MatcherOf(
    const std::vector<v1::Rule>& rules) {
  v1::Policy policy;
  policy.set_version(7);
  for (const v1::Rule& rule : rules) *policy.add_rules() = rule;
  return PolicyMatcher::Create(policy);
}

std::vector<std::string> Ids(const std::vector<RuleMatch>& matches) {
  std::vector<std::string> ids;
  ids.reserve(matches.size());
  for (const RuleMatch& match : matches) {
    ids.push_back(match.rule->intervention_id());
  }
  return ids;
}

// A key that draws `arm` for the rule.
std::string KeyInArm(const v1::Rule& rule, v1::Arm arm) {
  for (int i = 0;; ++i) {
    std::string key = absl::StrCat("run-", i);
    if (DrawArm(key, rule.intervention_id(), rule.salt(),
                rule.treatment_probability()) == arm) {
      return key;
    }
  }
}

TEST(DrawArm, IsFixedForEver) {
  // Draws by an independent xxh64: past assignments must not change.
  EXPECT_EQ(DrawArm("run-1", "iv", "s", 0.67494), v1::ARM_HOLDOUT);
  EXPECT_EQ(DrawArm("run-1", "iv", "s", 0.67495), v1::ARM_TREATMENT);
  EXPECT_EQ(DrawArm("run-4", "iv", "s", 0.15950), v1::ARM_HOLDOUT);
  EXPECT_EQ(DrawArm("run-4", "iv", "s", 0.15951), v1::ARM_TREATMENT);
}

TEST(DrawArm, TakesAnyKey) {
  for (const std::string& key : {std::string(), std::string(5000, 'x')}) {
    EXPECT_EQ(DrawArm(key, "iv", "", 1), v1::ARM_TREATMENT);
    EXPECT_EQ(DrawArm(key, "iv", "", 0.3), DrawArm(key, "iv", "", 0.3));
    EXPECT_EQ(DrawArm(key, "iv", "", 0), v1::ARM_HOLDOUT);
  }
}

TEST(DrawArm, KeepsItsProbabilityAndIsIndependentAcrossSalts) {
  int treated = 0;
  int both = 0;
  constexpr int kKeys = 20000;
  for (int i = 0; i < kKeys; ++i) {
    const std::string key = absl::StrCat("k", i);
    const bool first = DrawArm(key, "iv", "a", 0.3) == v1::ARM_TREATMENT;
    const bool second = DrawArm(key, "iv", "b", 0.3) == v1::ARM_TREATMENT;
    treated += first;
    both += first && second;
  }
  EXPECT_NEAR(treated / double{kKeys}, 0.30, 0.015);
  EXPECT_NEAR(both / double{kKeys}, 0.09, 0.01);
}

TEST(DrawArm, RaisingTheProbabilityOnlyMovesKeysIntoTreatment) {
  for (int i = 0; i < 1000; ++i) {
    const std::string key = absl::StrCat("k", i);
    if (DrawArm(key, "iv", "s", 0.5) == v1::ARM_TREATMENT) {
      EXPECT_EQ(DrawArm(key, "iv", "s", 0.9), v1::ARM_TREATMENT);
    }
  }
}

TEST(PolicyMatcher, MatchesInOrderOfPriorityThenId) {
  const auto matcher =
      MatcherOf({RouteRule("b", 1), RouteRule("c", 5), RouteRule("a", 1)});
  EXPECT_THAT(Ids(matcher->Match(v1::Trace(), "key", kNow)),
              ElementsAre("c", "a", "b"));
}

TEST(PolicyMatcher, OnlyTheFirstTreatedRuleOfAKnobApplies) {
  const auto matcher =
      MatcherOf({RouteRule("a", 3), RouteRule("b", 2), PromptRule("c", 1)});
  const auto matches = matcher->Match(v1::Trace(), "key", kNow);
  ASSERT_EQ(matches.size(), 3);
  EXPECT_TRUE(matches[0].applies);
  EXPECT_EQ(matches[1].arm, v1::ARM_TREATMENT);
  EXPECT_FALSE(matches[1].applies);
  EXPECT_TRUE(matches[2].applies);
}

TEST(PolicyMatcher, ARuleInItsHoldoutArmLeavesTheKnobToOthers) {
  v1::Rule first = RouteRule("a", 2);
  first.set_treatment_probability(0.5);
  const auto matcher = MatcherOf({first, RouteRule("b", 1)});
  const auto matches =
      matcher->Match(v1::Trace(), KeyInArm(first, v1::ARM_HOLDOUT), kNow);
  ASSERT_EQ(matches.size(), 2);
  EXPECT_EQ(matches[0].arm, v1::ARM_HOLDOUT);
  EXPECT_FALSE(matches[0].applies);
  EXPECT_TRUE(matches[1].applies);
}

TEST(PolicyMatcher, ARuleEndsWhenItExpires) {
  v1::Rule rule = RouteRule("a", 1);
  rule.mutable_expire_time()->set_seconds(absl::ToUnixSeconds(kNow));
  const auto matcher = MatcherOf({rule});
  EXPECT_THAT(matcher->Match(v1::Trace(), "k", kNow - absl::Nanoseconds(1)),
              ::testing::SizeIs(1));
  EXPECT_THAT(matcher->Match(v1::Trace(), "k", kNow), IsEmpty());
}

TEST(PolicyMatcher, LeavesOutAndNamesWhatItDoesNotKnow) {
  v1::Rule no_arm = RouteRule("no_arm", 1);
  no_arm.mutable_action()->Clear();
  v1::Rule no_tool_rule = RouteRule("no_tool_rule", 1);
  no_tool_rule.mutable_action()->mutable_tool_constraint()->set_tool("x");
  v1::Rule bad_check = RouteRule("bad_check", 1);
  auto* const guardrail = bad_check.mutable_action()->mutable_guardrail();
  guardrail->set_check(static_cast<v1::Guardrail::Check>(77));
  guardrail->set_fallback(v1::Guardrail::FALLBACK_ABSTAIN);
  v1::Rule bad_operator = RouteRule("bad_operator", 1);
  bad_operator.mutable_match()->mutable_comparison()->set_field("task.type");
  v1::Rule no_probability = RouteRule("no_probability", 1);
  no_probability.clear_treatment_probability();

  const auto matcher = MatcherOf({RouteRule("good", 1), no_arm, no_tool_rule,
                                  bad_check, bad_operator, no_probability});
  EXPECT_THAT(Ids(matcher->Match(v1::Trace(), "key", kNow)),
              ElementsAre("good"));
  EXPECT_THAT(matcher->unsupported(),
              ElementsAre(HasSubstr("bad_check: action"),
                          HasSubstr("bad_operator: match: comparison.op"),
                          HasSubstr("no_arm: action"),
                          HasSubstr("no_probability: treatment_probability"),
                          HasSubstr("no_tool_rule: action")));
}

TEST(PolicyMatcher, TheGlobalHoldoutGetsNothing) {
  v1::Policy policy;
  *policy.add_rules() = RouteRule("a", 1);
  policy.set_global_holdout(0.2);
  policy.set_global_holdout_salt("g");
  const auto matcher = PolicyMatcher::Create(policy);
  int untouched = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string key = absl::StrCat("k", i);
    const bool empty = matcher->Match(v1::Trace(), key, kNow).empty();
    EXPECT_EQ(empty, InGlobalHoldout(key, policy));
    untouched += empty;
  }
  EXPECT_NEAR(untouched / 5000.0, 0.2, 0.03);
}

TEST(PolicyMatcher, ExposureNamesEveryMatchWhateverItsArm) {
  v1::Rule held = RouteRule("a", 2);
  held.set_treatment_probability(0.25);
  const std::string key = KeyInArm(held, v1::ARM_HOLDOUT);
  const auto matcher = MatcherOf({held, RouteRule("b", 1)});
  const v1::Exposure exposure =
      matcher->MakeExposure(matcher->Match(v1::Trace(), key, kNow), key);
  EXPECT_EQ(exposure.policy_version(), 7);
  ASSERT_EQ(exposure.interventions_size(), 2);
  EXPECT_EQ(exposure.interventions(0).intervention_id(), "a");
  EXPECT_EQ(exposure.interventions(0).arm(), v1::ARM_HOLDOUT);
  EXPECT_EQ(exposure.interventions(0).assignment_key(), key);
  EXPECT_EQ(exposure.interventions(0).treatment_probability(), 0.25);
  EXPECT_EQ(exposure.interventions(1).arm(), v1::ARM_TREATMENT);
}

// A policy with a rule for routes and one for memory, both at one half.
v1::Policy MakeMemoryPolicy() {
  v1::Policy policy;
  policy.set_version(3);
  for (const char* id : {"memory", "route"}) {
    v1::Rule& rule = *policy.add_rules();
    rule.set_intervention_id(id);
    rule.mutable_match()->mutable_all();
    rule.set_treatment_probability(.5);
  }
  policy.mutable_rules(0)
      ->mutable_action()
      ->mutable_memory_schema()
      ->mutable_max_age()
      ->set_seconds(60);
  policy.mutable_rules(1)
      ->mutable_action()
      ->mutable_routing_policy()
      ->add_candidates();
  return policy;
}

TEST(PolicyMatcher, RunsOfOneMemoryShareTheArmOfItsChanges) {
  const auto matcher = PolicyMatcher::Create(MakeMemoryPolicy());
  for (const std::string memory : {"shop", "travel", "bank"}) {
    std::set<v1::Arm> memory_arms;
    std::set<v1::Arm> route_arms;
    for (int i = 0; i < 50; ++i) {
      const std::string run = absl::StrCat("run-", i);
      const AssignmentKeys keys{run, memory};
      const auto matches = matcher->Match(v1::Trace(), keys, kNow);
      ASSERT_THAT(Ids(matches), ElementsAre("memory", "route"));
      memory_arms.insert(matches[0].arm);
      route_arms.insert(matches[1].arm);
      const v1::Exposure exposure = matcher->MakeExposure(matches, keys);
      EXPECT_EQ(exposure.interventions(0).assignment_key(), memory);
      EXPECT_EQ(exposure.interventions(1).assignment_key(), run);
      // What the server checks the arm by.
      EXPECT_EQ(exposure.interventions(0).arm(),
                DrawArm(memory, "memory", "", .5));
      EXPECT_EQ(exposure.interventions(1).arm(), DrawArm(run, "route", "", .5));
    }
    EXPECT_EQ(memory_arms.size(), 1u);
    EXPECT_EQ(route_arms.size(), 2u);
  }
}

TEST(PolicyMatcher, WithoutAMemoryOfItsOwnTheRunDraws) {
  const auto matcher = PolicyMatcher::Create(MakeMemoryPolicy());
  const auto matches = matcher->Match(v1::Trace(), "run-1", kNow);
  EXPECT_EQ(matches[0].arm, DrawArm("run-1", "memory", "", .5));
  EXPECT_EQ(
      matcher->MakeExposure(matches, "run-1").interventions(0).assignment_key(),
      "run-1");
}

TEST(PolicyMatcher, MemoriesInTheGlobalHoldoutAreLeftAlone) {
  v1::Policy policy = MakeMemoryPolicy();
  policy.set_global_holdout(.2);
  policy.set_global_holdout_salt("g");
  const auto matcher = PolicyMatcher::Create(policy);
  int left_alone = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string memory = absl::StrCat("memory-", i);
    const auto ids =
        Ids(matcher->Match(v1::Trace(), AssignmentKeys{"run-1", memory}, kNow));
    ASSERT_FALSE(InGlobalHoldout("run-1", policy));
    EXPECT_THAT(ids, Contains("route"));
    const bool held = InGlobalHoldout(memory, policy);
    EXPECT_EQ(ids.size(), held ? 1u : 2u);
    left_alone += held ? 1 : 0;
  }
  EXPECT_GT(left_alone, 5);
}

TEST(ActionKnob, TellsApartWhatRulesSet) {
  const auto knob = [](const std::string& text) {
    v1::Action action;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &action));
    return ActionKnob(action);
  };
  EXPECT_EQ(knob("routing_policy {}"), knob("bandit_weights {}"));
  const std::vector<std::string> actions = {
      "routing_policy {}",
      "prompt_strategy {}",
      "memory_schema {}",
      "memory_schema { record_class: 'fact' }",
      "tool_constraint { tool: 'x' disable {} }",
      "tool_constraint { tool: 'y' disable {} }",
      "tool_constraint { tool: 'x' call_limit {} }",
      "tool_constraint { tool: 'x' order { after_tool: 'z' } }",
      "tool_constraint { tool: 'x' argument { argument: 'q' } }",
      "guardrail { check: CHECK_SIGNAL_AT_LEAST signal: 'c' fallback: 3 }",
      "guardrail { check: CHECK_STEP_REQUIRED required_step: 'x' fallback: 2 }",
      "guardrail { check: CHECK_MAX_REPEATS fallback: FALLBACK_ABSTAIN }",
      "guardrail { check: CHECK_MAX_STEPS fallback: FALLBACK_ABSTAIN }"};
  std::vector<std::string> knobs;
  knobs.reserve(actions.size());
  for (const std::string& action : actions) knobs.push_back(knob(action));
  std::sort(knobs.begin(), knobs.end());
  EXPECT_EQ(std::unique(knobs.begin(), knobs.end()), knobs.end());
  EXPECT_EQ(std::count(knobs.begin(), knobs.end(), ""), 0);
  EXPECT_EQ(knob(""), "");
  EXPECT_EQ(knob("tool_constraint { tool: 'x' }"), "");
  EXPECT_EQ(knob("guardrail { check: CHECK_MAX_STEPS }"), "");
}

}  // namespace
}  // namespace faultline::policy
