#ifndef FAULTLINE_TESTS_CONFORMANCE_INTERVENTION_TYPE_SUITE_H_
#define FAULTLINE_TESTS_CONFORMANCE_INTERVENTION_TYPE_SUITE_H_

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "lib/intervene/type_list.h"
#include "lib/policy/policy_matcher.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/intervene/proposal_world.h"

namespace faultline::intervene {

// How a type is tried: an action that it takes, and a world with a cluster that
// it should answer.
struct InterventionTypeCase {
  std::string name;
  v1::InterventionKind kind;
  v1::Action valid;
  std::function<void(testing::RunWorld* world)> fill;
  testing::RunWorld::Choice members;
};

// What every InterventionType does. Include in one file only and instantiate
// with the types.
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

TEST_P(InterventionTypeSuite, TurnsAKnobThatRoutersKnow) {
  EXPECT_NE(policy::ActionKnob(GetParam().valid), "");
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
