#include "lib/evaluate/explanation.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace faultline::evaluate {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

v1::TickState State() {
  return Parse<v1::TickState>(R"pb(
    clusters {
      name: "projects/p/clusters/c"
      cluster_id: "c"
      status: STATUS_STABLE
      status_reason: "it holds"
      medoid: "m"
      exemplars: "e1"
      exemplars: "e2"
      boundary_exemplars: "b"
      enrichment { assigned: 40 assigned_failed: 30 expected_failed: 9.5 }
      diagnosis {
        failure_mode: FAILURE_MODE_ROUTING_FAILURE
        confidence: 0.9
        summary: "the weak model"
        causes {
          text: "system.model = weak"
          against_successes { odds_ratio: 5 odds_ratio_lower: 2 }
        }
      }
    }
    interventions {
      intervention_id: "iv"
      name: "projects/p/interventions/iv"
      cluster: "projects/p/clusters/c"
      create_tick: 4
      summary: "route to strong"
      history { to: STATUS_PROPOSED tick: 4 }
      history {
        from: STATUS_PROPOSED
        to: STATUS_APPROVED
        tick: 5
        actor: "ann"
        reason: "looks right"
      }
    })pb");
}

v1::Policy Current() {
  return Parse<v1::Policy>(R"pb(
    version: 6
    rules {
      intervention_id: "iv"
      treatment_probability: 0.5
      match { comparison { field: "task.type" op: OPERATOR_EQUAL text: "qa" } }
    }
    rules {
      intervention_id: "other"
      match { comparison { field: "task.type" op: OPERATOR_EQUAL text: "sum" } }
    })pb");
}

TEST(ExplainRule, GoesFromTheRuleBackToTheRuns) {
  const v1::RuleExplanation explanation =
      ExplainRule(State(), Current(), "p", "iv", 5);
  EXPECT_EQ(explanation.rule().intervention_id(), "iv");
  EXPECT_EQ(explanation.first_policy_version(), 5);
  EXPECT_EQ(explanation.intervention().summary(), "route to strong");
  EXPECT_EQ(explanation.cluster().cluster_id(), "c");
  EXPECT_EQ(explanation.medoid(), "projects/p/traces/m");
  EXPECT_THAT(explanation.exemplars(),
              ElementsAre("projects/p/traces/e1", "projects/p/traces/e2"));
  EXPECT_THAT(explanation.boundary(), ElementsAre("projects/p/traces/b"));
  const std::string because = absl::StrJoin(explanation.because(), "\n");
  EXPECT_THAT(
      because,
      AllOf(HasSubstr("version 6 has the rule since version 5"),
            HasSubstr("task.type = \"qa\""),
            HasSubstr("approved in tick 5, by ann"),
            HasSubstr("routing failure"), HasSubstr("system.model = weak")));
  EXPECT_THAT(because,
              HasSubstr("Of 40 held-out runs in its region 30 failed"));
}

TEST(ExplainRule, SaysWhatIsForgotten) {
  v1::TickState state = State();
  state.clear_clusters();
  v1::RuleExplanation explanation = ExplainRule(state, {}, "p", "iv", 5);
  EXPECT_FALSE(explanation.has_rule());
  EXPECT_FALSE(explanation.has_cluster());
  EXPECT_THAT(absl::StrJoin(explanation.because(), "\n"),
              AllOf(HasSubstr("does not have it"), HasSubstr("forgotten")));
  explanation = ExplainRule(state, {}, "p", "unknown", 0);
  EXPECT_FALSE(explanation.has_intervention());
  EXPECT_THAT(explanation.because(), SizeIs(1));
}

TEST(MatchRules, TellsCarriedFromMatching) {
  v1::Trace trace;
  trace.mutable_task()->set_type("qa");
  const auto carry = [&trace](const std::string& id, v1::Arm arm) {
    auto* exposure = trace.mutable_exposure()->add_interventions();
    exposure->set_intervention_id(id);
    exposure->set_arm(arm);
  };
  std::vector<v1::MatchedRule> rules = MatchRules(Current(), "p", trace);
  ASSERT_THAT(rules, SizeIs(1));
  EXPECT_EQ(rules[0].intervention(), "projects/p/interventions/iv");
  EXPECT_TRUE(rules[0].matches());
  EXPECT_FALSE(rules[0].carried());

  carry("iv", v1::ARM_HOLDOUT);
  carry("other", v1::ARM_TREATMENT);  // though it does not match
  carry("gone", v1::ARM_TREATMENT);   // of no rule
  rules = MatchRules(Current(), "p", trace);
  ASSERT_THAT(rules, SizeIs(3));
  EXPECT_TRUE(rules[0].carried() && rules[0].matches());
  EXPECT_EQ(rules[0].arm(), v1::ARM_HOLDOUT);
  EXPECT_TRUE(rules[1].carried());
  EXPECT_TRUE(rules[1].has_rule());
  EXPECT_FALSE(rules[1].matches());
  EXPECT_EQ(rules[2].intervention(), "projects/p/interventions/gone");
  EXPECT_FALSE(rules[2].has_rule());
}

}  // namespace
}  // namespace faultline::evaluate
