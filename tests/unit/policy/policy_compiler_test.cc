#include "lib/policy/policy_compiler.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::policy {
namespace {

using ::testing::ElementsAre;

const absl::Time kNow = absl::FromUnixMillis(1'800'000'000'250);

v1::ProjectConfig Config() {
  v1::ProjectConfig config;
  config.mutable_policy_ttl()->set_seconds(600);
  config.set_global_holdout(0.05);
  return config;
}

v1::Intervention MakeIntervention(const std::string& id, double reduction,
                                  uint64_t create_tick) {
  v1::Intervention intervention;
  intervention.set_intervention_id(id);
  intervention.set_kind(v1::INTERVENTION_KIND_PROMPT_STRATEGY);
  intervention.mutable_action()->mutable_prompt_strategy()->set_strategy("s");
  intervention.mutable_scope()->mutable_all();
  intervention.set_treatment_probability(0.5);
  intervention.set_salt("salt-" + id);
  intervention.set_expected_reduction(reduction);
  intervention.set_create_tick(create_tick);
  intervention.mutable_expire_time()->set_seconds(1'900'000'000);
  return intervention;
}

v1::Policy Compile(const std::vector<v1::Intervention>& interventions,
                   const v1::Policy& previous = {}, uint64_t tick = 3) {
  std::vector<const v1::Intervention*> active;
  active.reserve(interventions.size());
  for (const v1::Intervention& one : interventions) active.push_back(&one);
  return CompilePolicy(active, previous, Config(), "shop", tick, kNow);
}

std::vector<std::string> Ids(const v1::Policy& policy) {
  std::vector<std::string> ids;
  for (const v1::Rule& rule : policy.rules()) {
    ids.push_back(rule.intervention_id());
  }
  return ids;
}

TEST(CompilePolicy, FirstVersionHasNoParentAndCarriesTheSettings) {
  const v1::Policy policy = Compile({});
  EXPECT_EQ(policy.version(), 1);
  EXPECT_EQ(policy.name(), "projects/shop/policies/1");
  EXPECT_EQ(policy.parent_digest(), "");
  EXPECT_EQ(policy.tick(), 3);
  EXPECT_EQ(policy.ttl().seconds(), 600);
  EXPECT_EQ(policy.global_holdout(), 0.05);
  EXPECT_FALSE(policy.global_holdout_salt().empty());
  EXPECT_EQ(policy.create_time().seconds(), 1'800'000'000);
  EXPECT_EQ(policy.create_time().nanos(), 250'000'000);
  EXPECT_EQ(policy.digest(), PolicyDigest(policy));
}

TEST(CompilePolicy, ARuleSaysWhatItsInterventionSays) {
  const v1::Intervention intervention = MakeIntervention("a", 0.1, 1);
  const v1::Policy policy = Compile({intervention});
  ASSERT_EQ(policy.rules_size(), 1);
  const v1::Rule& rule = policy.rules(0);
  EXPECT_EQ(rule.intervention_id(), "a");
  EXPECT_EQ(rule.kind(), intervention.kind());
  EXPECT_TRUE(rule.match().has_all());
  EXPECT_EQ(rule.action().prompt_strategy().strategy(), "s");
  EXPECT_EQ(rule.treatment_probability(), 0.5);
  EXPECT_EQ(rule.salt(), "salt-a");
  EXPECT_EQ(rule.expire_time().seconds(), 1'900'000'000);
}

TEST(CompilePolicy, PriorityGoesByReductionThenAgeThenId) {
  const v1::Policy policy = Compile(
      {MakeIntervention("young", 0.1, 9), MakeIntervention("b", 0.1, 2),
       MakeIntervention("best", 0.3, 5), MakeIntervention("a", 0.1, 2)});
  EXPECT_THAT(Ids(policy), ElementsAre("best", "a", "b", "young"));
  for (int i = 1; i < policy.rules_size(); ++i) {
    EXPECT_GT(policy.rules(i - 1).priority(), policy.rules(i).priority());
  }
}

TEST(CompilePolicy, TheOrderOfTheInputDoesNotMatter) {
  const v1::Intervention a = MakeIntervention("a", 0.1, 1);
  const v1::Intervention b = MakeIntervention("b", 0.1, 1);
  EXPECT_EQ(Compile({a, b}).digest(), Compile({b, a}).digest());
}

TEST(CompilePolicy, ReturnsThePreviousVersionWhereRoutersWouldSeeNoChange) {
  v1::Intervention intervention = MakeIntervention("a", 0.1, 1);
  const v1::Policy first = Compile({intervention});
  intervention.mutable_effect()->set_watermark(77);  // not for routers
  const v1::Policy second = Compile({intervention}, first, 4);
  EXPECT_EQ(second.SerializeAsString(), first.SerializeAsString());
}

TEST(CompilePolicy, AChangeMakesTheNextLinkOfTheChain) {
  v1::Intervention intervention = MakeIntervention("a", 0.1, 1);
  const v1::Policy first = Compile({intervention});
  intervention.set_treatment_probability(0.9);
  const v1::Policy second = Compile({intervention}, first, 4);
  EXPECT_EQ(second.version(), 2);
  EXPECT_EQ(second.tick(), 4);
  EXPECT_EQ(second.parent_digest(), first.digest());
  EXPECT_EQ(second.global_holdout_salt(), first.global_holdout_salt());
}

TEST(CompilePolicy, KeepsAsManyRulesAsAnExposureHolds) {
  std::vector<v1::Intervention> interventions;
  interventions.reserve(130);
  for (int i = 0; i < 130; ++i) {
    interventions.push_back(
        MakeIntervention(absl::StrCat("i", i), 0.001 * i, 1));
  }
  const v1::Policy policy = Compile(interventions);
  EXPECT_EQ(policy.rules_size(), 128);
  EXPECT_EQ(policy.rules(0).intervention_id(), "i129");
}

TEST(PolicyDigest, DependsOnEveryFieldButItself) {
  v1::Policy policy = Compile({MakeIntervention("a", 0.1, 1)});
  const std::string digest = PolicyDigest(policy);
  EXPECT_EQ(digest.size(), 64);
  policy.set_digest("other");
  EXPECT_EQ(PolicyDigest(policy), digest);
  policy.mutable_rules(0)->set_salt("other");
  EXPECT_NE(PolicyDigest(policy), digest);
}

}  // namespace
}  // namespace faultline::policy
