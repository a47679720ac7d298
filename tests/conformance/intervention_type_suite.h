#ifndef FAULTLINE_TESTS_CONFORMANCE_INTERVENTION_TYPE_SUITE_H_
#define FAULTLINE_TESTS_CONFORMANCE_INTERVENTION_TYPE_SUITE_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/sdk/router_client.h"
#include "gmock/gmock.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "lib/intervene/planner.h"
#include "lib/intervene/type_list.h"
#include "lib/policy/policy_compiler.h"
#include "lib/policy/policy_matcher.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/intervene/proposal_world.h"

namespace faultline::intervene {

// How a type is tried: actions that it takes and that it refuses, how a router
// reads it, and a world with a cluster that it should answer.
struct InterventionTypeCase {
  std::string name;
  v1::InterventionKind kind;
  v1::Action valid;
  // Text of an action, and the field that is out of bounds.
  std::vector<std::pair<std::string, std::string>> out_of_bounds;
  // The message within the action that applies, as the SDK gives it; null where
  // there is none.
  std::function<const google::protobuf::Message*(const sdk::Decision&)> read;
  std::function<void(testing::RunWorld* world)> fill;
  testing::RunWorld::Choice members;
};

// An intervention with the action, in scope where the task is of type `qa`.
inline v1::Intervention MakeIntervention(const std::string& id,
                                         const v1::Action& action) {
  v1::Intervention intervention;
  intervention.set_intervention_id(id);
  intervention.set_kind(KindOf(action));
  *intervention.mutable_action() = action;
  v1::Comparison& scope = *intervention.mutable_scope()->mutable_comparison();
  scope.set_field("task.type");
  scope.set_op(v1::Comparison::OPERATOR_EQUAL);
  scope.set_text("qa");
  intervention.set_treatment_probability(.5);
  intervention.set_salt("salt");
  intervention.set_expected_reduction(.1);
  return intervention;
}

// What a router that got the policy decides about a run of type `type`.
inline sdk::Decision Decide(const v1::Policy& policy, const std::string& type,
                            const std::string& key, absl::Time now) {
  v1::Trace context;
  context.mutable_task()->set_type(type);
  sdk::Decision decision;
  decision.matcher = policy::PolicyMatcher::Create(policy);
  decision.matches = decision.matcher->Match(context, key, now);
  return decision;
}

// What every InterventionType does, from the proposal to the router. Include in
// one file only and instantiate with the types.
class InterventionTypeSuite
    : public ::testing::TestWithParam<InterventionTypeCase> {
 protected:
  InterventionTypeSuite()
      : type_(*FindInterventionType(GetParam().kind)), world_(1) {
    GetParam().fill(&world_);
  }

  const InterventionType& type_;
  testing::RunWorld world_;
};

TEST_P(InterventionTypeSuite, IsOfItsKind) {
  EXPECT_EQ(type_.kind(), GetParam().kind);
  EXPECT_EQ(KindOf(GetParam().valid), GetParam().kind);
}

TEST_P(InterventionTypeSuite, TakesItsOwnArmAndNoOther) {
  EXPECT_OK(type_.Validate(GetParam().valid));
  EXPECT_OK(ValidateAction(GetParam().valid));
  const google::protobuf::OneofDescriptor* arms =
      v1::Action::descriptor()->FindOneofByName("kind");
  for (int i = 0; i < arms->field_count(); ++i) {
    v1::Action action;
    action.GetReflection()->MutableMessage(&action, arms->field(i));
    // Empty: wrong for its own type, foreign to the others.
    const absl::Status status = type_.Validate(action);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    const auto detail = base::GetErrorDetail(status);
    ASSERT_TRUE(detail.has_value());
    EXPECT_THAT(detail->field(), ::testing::StartsWith("action."));
    EXPECT_NE(detail->limit(), "");
  }
  EXPECT_FALSE(type_.Validate(v1::Action()).ok());
}

TEST_P(InterventionTypeSuite, NamesTheFieldThatIsOutOfBounds) {
  ASSERT_FALSE(GetParam().out_of_bounds.empty());
  for (const auto& [text, field] : GetParam().out_of_bounds) {
    v1::Action action;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &action))
        << text;
    const absl::Status status = ValidateAction(action);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    const auto detail = base::GetErrorDetail(status);
    ASSERT_TRUE(detail.has_value()) << text;
    EXPECT_EQ(detail->field(), field) << text;
    EXPECT_NE(detail->limit(), "") << text;
  }
}

TEST_P(InterventionTypeSuite, TurnsAKnobThatRoutersKnow) {
  EXPECT_NE(policy::ActionKnob(GetParam().valid), "");
}

TEST_P(InterventionTypeSuite, RoutersReadWhatWasProposedInItsScopeAndArm) {
  const v1::Intervention intervention = MakeIntervention("i", GetParam().valid);
  const v1::Policy policy =
      policy::CompilePolicy({&intervention}, v1::Policy(), v1::ProjectConfig(),
                            "p", 1, absl::UnixEpoch());
  int treated = 0;
  for (int run = 0; run < 40; ++run) {
    const std::string key = absl::StrCat("run-", run);
    const sdk::Decision decision = Decide(policy, "qa", key, absl::UnixEpoch());
    EXPECT_TRUE(decision.matcher->unsupported().empty());
    ASSERT_EQ(decision.matches.size(), 1u);
    const google::protobuf::Message* const read = GetParam().read(decision);
    if (decision.matches[0].arm == v1::ARM_HOLDOUT) {
      EXPECT_EQ(read, nullptr);
      continue;
    }
    ++treated;
    ASSERT_NE(read, nullptr);
    const google::protobuf::Reflection* const reflection =
        GetParam().valid.GetReflection();
    const google::protobuf::FieldDescriptor* const arm =
        reflection->GetOneofFieldDescriptor(
            GetParam().valid,
            v1::Action::descriptor()->FindOneofByName("kind"));
    EXPECT_EQ(
        read->SerializeAsString(),
        reflection->GetMessage(GetParam().valid, arm).SerializeAsString());
    EXPECT_EQ(GetParam().read(Decide(policy, "math", key, absl::UnixEpoch())),
              nullptr);
  }
  EXPECT_GT(treated, 0);
  EXPECT_LT(treated, 40);
}

TEST_P(InterventionTypeSuite, RoutersDropItWhenItExpires) {
  v1::Intervention intervention = MakeIntervention("i", GetParam().valid);
  intervention.set_treatment_probability(1);
  intervention.mutable_expire_time()->set_seconds(100);
  const v1::Policy policy =
      policy::CompilePolicy({&intervention}, v1::Policy(), v1::ProjectConfig(),
                            "p", 1, absl::UnixEpoch());
  const absl::Time end = absl::FromUnixSeconds(100);
  EXPECT_NE(
      GetParam().read(Decide(policy, "qa", "k", end - absl::Nanoseconds(1))),
      nullptr);
  EXPECT_EQ(GetParam().read(Decide(policy, "qa", "k", end)), nullptr);
}

TEST_P(InterventionTypeSuite, TwoOfOneKnobDoNotApplyToOneRun) {
  v1::Intervention first = MakeIntervention("first", GetParam().valid);
  v1::Intervention second = MakeIntervention("second", GetParam().valid);
  first.set_treatment_probability(1);
  second.set_treatment_probability(1);
  first.set_expected_reduction(.2);
  const v1::Policy policy =
      policy::CompilePolicy({&second, &first}, v1::Policy(),
                            v1::ProjectConfig(), "p", 1, absl::UnixEpoch());
  const sdk::Decision decision = Decide(policy, "qa", "k", absl::UnixEpoch());
  ASSERT_EQ(decision.matches.size(), 2u);
  EXPECT_EQ(decision.matches[0].rule->intervention_id(), "first");
  EXPECT_TRUE(decision.matches[0].applies);
  EXPECT_FALSE(decision.matches[1].applies);
}

TEST_P(InterventionTypeSuite, StartsByItselfOnlyWhereItsKindMay) {
  PlanInput plan;
  plan.project = "p";
  plan.tick = 5;
  plan.now = absl::FromUnixSeconds(1'800'000'000);
  plan.config.set_max_trials(6);
  plan.config.set_treatment_probability(.5);
  plan.config.mutable_intervention_ttl()->set_seconds(3600);
  v1::Intervention& intervention =
      plan.interventions.emplace_back(MakeIntervention("i", GetParam().valid));
  intervention.set_status(v1::Intervention::STATUS_PROPOSED);
  for (const auto& type : InterventionTypes()) {
    if (type->kind() != GetParam().kind) {
      plan.config.add_auto_approve(type->kind());
    }
  }
  EXPECT_EQ(Plan(plan).at(0).status(), v1::Intervention::STATUS_PROPOSED);
  plan.config.add_auto_approve(GetParam().kind);
  const v1::Intervention started = Plan(plan).at(0);
  EXPECT_EQ(started.status(), v1::Intervention::STATUS_TRIAL);
  // The longest that it lives without a verdict.
  EXPECT_EQ(started.expire_time().seconds(), 1'800'000'000 + 3600);
  plan.interventions = {started};
  plan.now += absl::Hours(1);
  EXPECT_EQ(Plan(plan).at(0).status(), v1::Intervention::STATUS_RETIRED);
}

TEST_P(InterventionTypeSuite, AnswersSomeFailureMode) {
  bool any = false;
  for (int mode = 1; mode < v1::FAILURE_MODE_UNKNOWN; ++mode) {
    any |= type_.Answers(static_cast<v1::FailureMode>(mode));
  }
  EXPECT_TRUE(any);
  EXPECT_FALSE(type_.Answers(v1::FAILURE_MODE_UNSPECIFIED));
}

TEST_P(InterventionTypeSuite, ProposalsAreBoundedScopedAndExplained) {
  const testing::DiagnosedCluster cluster(world_, GetParam().members);
  const std::vector<Proposal> proposals = cluster.Propose(type_);
  ASSERT_FALSE(proposals.empty());
  double previous = 1;
  for (const Proposal& proposal : proposals) {
    EXPECT_OK(type_.Validate(proposal.action));
    EXPECT_NE(policy::ActionKnob(proposal.action), "");
    EXPECT_OK(policy::CompiledPredicate::Compile(proposal.scope));
    EXPECT_NE(proposal.scope.expression_case(),
              v1::Predicate::EXPRESSION_NOT_SET);
    EXPECT_FALSE(proposal.summary.empty());
    EXPECT_GE(proposal.expected_reduction, 0);
    EXPECT_LE(proposal.expected_reduction, previous);
    previous = proposal.expected_reduction;
  }
}

TEST_P(InterventionTypeSuite, ProposesTheSameTwice) {
  const testing::DiagnosedCluster cluster(world_, GetParam().members);
  const std::vector<Proposal> first = cluster.Propose(type_);
  const std::vector<Proposal> second = cluster.Propose(type_);
  ASSERT_EQ(first.size(), second.size());
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].action.SerializeAsString(),
              second[i].action.SerializeAsString());
    EXPECT_EQ(first[i].scope.SerializeAsString(),
              second[i].scope.SerializeAsString());
    EXPECT_EQ(first[i].summary, second[i].summary);
  }
}

// The world's failures have one remedy.
TEST_P(InterventionTypeSuite, IsWhatThePlannerPicksWhereItIsTheRemedy) {
  testing::DiagnosedCluster cluster(world_, GetParam().members);
  PlanInput plan;
  plan.contexts = {cluster.context()};
  plan.project = "p";
  plan.tick = 1;
  const std::vector<v1::Intervention> planned = Plan(plan);
  ASSERT_EQ(planned.size(), 1u);
  EXPECT_EQ(planned.front().kind(), GetParam().kind)
      << planned.front().summary();
}

TEST_P(InterventionTypeSuite, ScopesAreKnownBeforeTheRun) {
  const testing::DiagnosedCluster cluster(world_, GetParam().members);
  for (const Proposal& proposal : cluster.Propose(type_)) {
    const std::string text = proposal.scope.ShortDebugString();
    for (const char* field : {"system.model", "decisions.", "signals."}) {
      EXPECT_THAT(text, ::testing::Not(::testing::HasSubstr(field)));
    }
  }
}

TEST_P(InterventionTypeSuite, ProposesNothingWithoutRuns) {
  const testing::RunWorld empty(2);
  v1::Cluster cluster;
  ProposalContext context;
  context.cluster = &cluster;
  context.names = &empty.names();
  const diagnose::ContextTable table(empty.window(), {});
  EXPECT_TRUE(type_.Propose(context, table).empty());
}

}  // namespace faultline::intervene

#endif  // FAULTLINE_TESTS_CONFORMANCE_INTERVENTION_TYPE_SUITE_H_
