#include "lib/evaluate/offline_policy.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "lib/base/random.h"
#include "tests/support/status_matchers.h"

namespace faultline::evaluate {
namespace {

using ::testing::HasSubstr;
using Response = v1::EvaluatePolicyOfflineResponse;

v1::Predicate TypeIs(const std::string& type) {
  v1::Predicate predicate;
  v1::Comparison& comparison = *predicate.mutable_comparison();
  comparison.set_field("task.type");
  comparison.set_op(v1::Comparison::OPERATOR_EQUAL);
  comparison.set_text(type);
  return predicate;
}

v1::CandidateWeights Weights(
    const std::vector<std::pair<std::string, double>>& pairs) {
  v1::CandidateWeights weights;
  for (const auto& [name, weight] : pairs) {
    weights.add_weights()->set_name(name);
    weights.mutable_weights()->rbegin()->set_weight(weight);
  }
  return weights;
}

v1::Action RouteTo(const std::string& name, double floor) {
  v1::Action action;
  auto* candidate = action.mutable_routing_policy()->add_candidates();
  candidate->set_name(name);
  candidate->set_weight(1);
  action.mutable_routing_policy()->set_exploration_floor(floor);
  return action;
}

// A router that draws `weak` with .7 and `strong` with .3, on two types of
// task: weak fails at .5 and .1, strong at .2 and .1.
class OfflinePolicyTest : public ::testing::Test {
 protected:
  void Draw(int n) {
    for (int i = 0; i < n; ++i) {
      const bool hard = random_.Bernoulli(.5);
      const bool weak = random_.Bernoulli(.7);
      v1::Trace trace;
      trace.set_trace_id(absl::StrCat("r", traces_.size()));
      trace.mutable_task()->set_type(hard ? "hard" : "easy");
      v1::Decision& route = *trace.add_decisions();
      route.set_kind(v1::Decision::KIND_ROUTE);
      route.add_candidates()->set_name("strong");
      route.add_candidates()->set_name("weak");
      route.set_chosen(weak ? "weak" : "strong");
      route.set_propensity(weak ? .7 : .3);
      const double risk = !hard ? .1 : weak ? .5 : .2;
      traces_.push_back(std::move(trace));
      outcomes_.push_back(random_.Bernoulli(risk) ? v1::OUTCOME_FAIL
                                                  : v1::OUTCOME_PASS);
    }
  }

  Response Evaluate(std::vector<RouteRule> rules) {
    auto evaluator = OfflineEvaluator::Create(request_, std::move(rules));
    EXPECT_OK(evaluator);
    if (!evaluator.ok()) return {};
    for (size_t r = 0; r < traces_.size(); ++r) {
      (*evaluator)->Add(r, traces_[r]);
    }
    return (*evaluator)->Evaluate(outcomes_);
  }
  Response Evaluate(const v1::CandidateWeights& weights) {
    const auto rule = RuleOfWeights(weights);
    EXPECT_OK(rule);
    return Evaluate(std::vector<RouteRule>{*rule});
  }

  base::Random random_{11};
  v1::EvaluatePolicyOfflineRequest request_;
  std::vector<v1::Trace> traces_;
  std::vector<v1::Outcome> outcomes_;
};

bool Covers(const v1::OfflineEstimate& estimate, double truth) {
  return estimate.lower() <= truth && truth <= estimate.upper();
}

TEST_F(OfflinePolicyTest, EveryEstimatorFindsTheTruth) {
  Draw(4000);
  const Response response = Evaluate(Weights({{"strong", .9}, {"weak", .1}}));
  EXPECT_EQ(response.verdict(), Response::VERDICT_SUPPORTED)
      << response.reason();
  // Of hard tasks .9 * .2 + .1 * .5, of easy ones .1.
  const double truth = .5 * (.9 * .2 + .1 * .5) + .5 * .1;
  const double logged = .5 * (.3 * .2 + .7 * .5) + .5 * .1;
  EXPECT_TRUE(Covers(response.ips(), truth));
  EXPECT_TRUE(Covers(response.snips(), truth));
  EXPECT_TRUE(Covers(response.dr(), truth));
  EXPECT_TRUE(Covers(response.logged(), logged));
  EXPECT_TRUE(Covers(response.change(), truth - logged));
  EXPECT_LT(response.change().upper(), 0);
  EXPECT_LT(response.change_at_every_look().lower(), response.change().lower());
  EXPECT_NEAR(response.overlap().mean_weight(), 1, .1);
  EXPECT_EQ(response.overlap().choices(), 4000);
  ASSERT_EQ(response.overlap().candidates_size(), 2);
  EXPECT_EQ(response.overlap().candidates(0).name(), "weak");
  EXPECT_NEAR(response.overlap().candidates(0).mean_propensity(), .7, 1e-9);
  EXPECT_NEAR(response.overlap().candidates(0).policy_probability(), .1, 1e-9);
}

TEST_F(OfflinePolicyTest, MissingPropensitiesAreNotIdentified) {
  Draw(1000);
  for (int i = 0; i < 150; ++i) {
    traces_[i].mutable_decisions(0)->clear_propensity();
  }
  const Response response = Evaluate(Weights({{"strong", 1}}));
  EXPECT_EQ(response.verdict(), Response::VERDICT_NOT_IDENTIFIED);
  EXPECT_THAT(response.reason(), HasSubstr("150 of 1000"));
  EXPECT_FALSE(response.has_dr());
  EXPECT_EQ(response.overlap().without_propensity(), 150);
  EXPECT_EQ(response.overlap().choices(), 850);
}

TEST_F(OfflinePolicyTest, RunsWithoutADecisionAreNotIdentified) {
  Draw(10);
  for (v1::Trace& trace : traces_) trace.clear_decisions();
  const Response response = Evaluate(Weights({{"strong", 1}}));
  EXPECT_EQ(response.verdict(), Response::VERDICT_NOT_IDENTIFIED);
  EXPECT_EQ(response.overlap().without_choice(), 10);
  traces_.clear();
  outcomes_.clear();
  EXPECT_THAT(Evaluate(Weights({{"strong", 1}})).reason(),
              HasSubstr("no run in scope"));
}

TEST_F(OfflinePolicyTest, APolicyThatTheLogNeverFollowedHasNoSupport) {
  Draw(150);  // 45 choices of strong
  const Response few = Evaluate(Weights({{"strong", 1}}));
  EXPECT_EQ(few.verdict(), Response::VERDICT_INSUFFICIENT_SUPPORT);
  EXPECT_TRUE(few.has_dr());  // to look at
  EXPECT_THAT(few.reason(), HasSubstr("100"));

  Draw(2000);
  for (v1::Trace& trace : traces_) {
    trace.mutable_decisions(0)->add_candidates()->set_name("new");
  }
  const Response unseen = Evaluate(Weights({{"new", .5}, {"weak", .5}}));
  EXPECT_EQ(unseen.verdict(), Response::VERDICT_INSUFFICIENT_SUPPORT);
  EXPECT_NEAR(unseen.overlap().probability_unseen(), .5, 1e-9);
  EXPECT_THAT(unseen.reason(), HasSubstr("50.0 %"));
}

TEST_F(OfflinePolicyTest, WrongPropensitiesAreSeen) {
  Draw(4000);
  for (v1::Trace& trace : traces_) {
    trace.mutable_decisions(0)->set_propensity(.5);
  }
  const Response response = Evaluate(Weights({{"strong", .9}, {"weak", .1}}));
  EXPECT_EQ(response.verdict(), Response::VERDICT_INSUFFICIENT_SUPPORT);
  EXPECT_THAT(response.reason(), HasSubstr("mean weight"));
}

TEST_F(OfflinePolicyTest, AnActionActsInItsScopeAndExplores) {
  Draw(4000);
  const auto rule = RuleOfAction(RouteTo("strong", .05), TypeIs("hard"));
  ASSERT_OK(rule);
  const Response response = Evaluate({*rule});
  EXPECT_EQ(response.verdict(), Response::VERDICT_SUPPORTED)
      << response.reason();
  EXPECT_NEAR(response.overlap().choices(), 2000, 150);
  EXPECT_TRUE(Covers(response.dr(), .95 * .2 + .05 * .5));
  EXPECT_TRUE(Covers(response.logged(), .3 * .2 + .7 * .5));
  EXPECT_EQ(response.scope().comparison().text(), "hard");
  EXPECT_EQ(response.stretch().runs(), 4000);
}

TEST_F(OfflinePolicyTest, TheRulesOfAVersionActOnTheirOwnRuns) {
  Draw(4000);
  // On easy tasks other candidates were open.
  for (v1::Trace& trace : traces_) {
    if (trace.task().type() != "easy") continue;
    v1::Decision& route = *trace.mutable_decisions(0);
    route.mutable_candidates(0)->set_name("fast");
    route.mutable_candidates(1)->set_name("slow");
    route.set_chosen(route.chosen() == "weak" ? "slow" : "fast");
  }
  v1::Policy policy;
  const auto add = [&policy](const std::string& id, int priority,
                             const v1::Action& action,
                             const v1::Predicate& match) {
    v1::Rule& rule = *policy.add_rules();
    rule.set_intervention_id(id);
    rule.set_priority(priority);
    *rule.mutable_action() = action;
    *rule.mutable_match() = match;
  };
  v1::Predicate everything;
  everything.mutable_all();
  add("low", 1, RouteTo("fast", 0), everything);
  add("high", 2, RouteTo("strong", 0), TypeIs("hard"));
  v1::Action other;
  other.mutable_prompt_strategy()->set_strategy("s");
  add("other", 3, other, everything);
  const auto rules = RulesOfPolicy(policy);
  ASSERT_OK(rules);
  ASSERT_EQ(rules->size(), 2);
  const Response response = Evaluate(*rules);
  EXPECT_EQ(response.verdict(), Response::VERDICT_SUPPORTED)
      << response.reason();
  EXPECT_EQ(response.overlap().choices(), 4000);
  EXPECT_TRUE(Covers(response.dr(), .5 * .2 + .5 * .1));
}

TEST_F(OfflinePolicyTest, ARouterThatTakesTurnsIsEvaluatedAsWell) {
  Draw(4000);
  for (size_t i = 0; i < traces_.size(); ++i) {
    const bool weak = i % 2 == 0;
    v1::Decision& route = *traces_[i].mutable_decisions(0);
    route.set_chosen(weak ? "weak" : "strong");
    route.set_propensity(.5);
    outcomes_[i] =
        random_.Bernoulli(weak ? .5 : .2) ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS;
  }
  const Response response = Evaluate(Weights({{"strong", 1}}));
  EXPECT_EQ(response.verdict(), Response::VERDICT_SUPPORTED)
      << response.reason();
  EXPECT_NEAR(response.dr().value(), .2, .03);
}

TEST_F(OfflinePolicyTest, ScopeAndTimesChooseTheRuns) {
  Draw(100);
  for (size_t i = 0; i < traces_.size(); ++i) {
    traces_[i].mutable_start_time()->set_seconds(static_cast<int64_t>(i));
  }
  *request_.mutable_scope() = TypeIs("hard");
  request_.mutable_start_time()->set_seconds(50);
  const Response response = Evaluate(Weights({{"weak", 1}}));
  EXPECT_EQ(response.stretch().runs(), 50);
  EXPECT_LT(response.overlap().runs(), 50);
  EXPECT_GT(response.overlap().runs(), 0);
}

TEST_F(OfflinePolicyTest, RefusalsNameTheField) {
  const auto field = [](const absl::Status& status) {
    const auto detail = base::GetErrorDetail(status);
    return detail.has_value() ? detail->field() : "";
  };
  EXPECT_EQ(field(RuleOfWeights({}).status()), "weights.weights");
  EXPECT_EQ(field(RuleOfWeights(Weights({{"a", .5}, {"b", .4}})).status()),
            "weights.weights");
  EXPECT_EQ(field(RuleOfWeights(Weights({{"a", .5}, {"a", .5}})).status()),
            "weights.weights[1].name");
  EXPECT_EQ(field(RuleOfWeights(Weights({{"a", 1.5}})).status()),
            "weights.weights[0].weight");
  EXPECT_EQ(field(RuleOfWeights(Weights({{"", 1}})).status()),
            "weights.weights[0].name");
  v1::Action prompt;
  prompt.mutable_prompt_strategy()->set_strategy("s");
  EXPECT_EQ(RuleOfAction(prompt, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(RulesOfPolicy({}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  *request_.mutable_scope() = TypeIs("hard");
  request_.mutable_scope()->mutable_comparison()->set_field("task.typo");
  const auto evaluator =
      OfflineEvaluator::Create(request_, {*RuleOfWeights(Weights({{"a", 1}}))});
  EXPECT_THAT(field(evaluator.status()), HasSubstr("scope."));
}

}  // namespace
}  // namespace faultline::evaluate
