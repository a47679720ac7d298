#include "lib/intervene/planner.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "lib/intervene/type_list.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/intervene/proposal_world.h"

namespace faultline::intervene {
namespace {

using ::faultline::testing::DiagnosedCluster;
using ::faultline::testing::RunWorld;
using ::google::protobuf::util::TimeUtil;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using v1::Intervention;
using v1::InterventionReview;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

PlanInput MakeInput() {
  PlanInput input;
  input.project = "p";
  input.tick = 5;
  input.seed = 42;
  input.now = kNow;
  input.config.set_max_trials(2);
  input.config.set_treatment_probability(.5);
  *input.config.mutable_intervention_ttl() = TimeUtil::HoursToDuration(24);
  return input;
}

Intervention MakeIntervention(const std::string& id,
                              Intervention::Status status,
                              double expected_reduction = .1) {
  Intervention intervention;
  intervention.set_name("projects/p/interventions/" + id);
  intervention.set_intervention_id(id);
  intervention.set_kind(v1::INTERVENTION_KIND_ROUTING_POLICY);
  v1::RoutingPolicy& policy =
      *intervention.mutable_action()->mutable_routing_policy();
  policy.add_candidates()->set_name("a");
  policy.mutable_candidates(0)->set_weight(1);
  intervention.mutable_scope()->mutable_comparison()->set_field(id);
  intervention.set_cluster("projects/p/clusters/" + id);
  intervention.set_status(status);
  intervention.set_expected_reduction(expected_reduction);
  *intervention.mutable_expire_time() =
      TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(kNow) + 1);
  return intervention;
}

InterventionReview MakeReview(const std::string& id,
                              InterventionReview::Decision decision) {
  InterventionReview review;
  review.set_intervention_id(id);
  review.set_decision(decision);
  review.set_reviewer("ann");
  review.set_reason("because");
  return review;
}

// Statuses that the history of the tick went through, the last one last.
std::vector<Intervention::Status> Path(const Intervention& intervention) {
  std::vector<Intervention::Status> path;
  for (const auto& transition : intervention.history()) {
    path.push_back(transition.to());
  }
  return path;
}

TEST(PlannerTest, ReviewsMoveWhatTheyFitAndNothingElse) {
  constexpr auto kApprove = InterventionReview::DECISION_APPROVE;
  constexpr auto kReject = InterventionReview::DECISION_REJECT;
  constexpr auto kRollBack = InterventionReview::DECISION_ROLL_BACK;
  constexpr auto kProposed = Intervention::STATUS_PROPOSED;
  constexpr auto kApproved = Intervention::STATUS_APPROVED;
  constexpr auto kTrial = Intervention::STATUS_TRIAL;
  constexpr auto kConfirmed = Intervention::STATUS_CONFIRMED;
  constexpr auto kRejected = Intervention::STATUS_REJECTED;
  constexpr auto kRolledBack = Intervention::STATUS_ROLLED_BACK;
  constexpr auto kRetired = Intervention::STATUS_RETIRED;
  struct Case {
    Intervention::Status from;
    InterventionReview::Decision decision;
    Intervention::Status to;
  };
  const Case cases[] = {
      {kProposed, kApprove, kApproved},
      {kProposed, kReject, kRejected},
      {kProposed, kRollBack, kProposed},
      {kApproved, kApprove, kApproved},
      {kApproved, kReject, kRejected},
      {kApproved, kRollBack, kApproved},
      {kTrial, kApprove, kTrial},
      {kTrial, kReject, kTrial},
      {kTrial, kRollBack, kRolledBack},
      {kConfirmed, kRollBack, kRolledBack},
      {kConfirmed, kReject, kConfirmed},
      {kRejected, kApprove, kRejected},
      {kRolledBack, kApprove, kRolledBack},
      {kRetired, kApprove, kRetired},
      {kRetired, kRollBack, kRetired},
  };
  for (const Case& test : cases) {
    PlanInput input = MakeInput();
    input.config.set_max_trials(0);
    input.interventions = {MakeIntervention("x", test.from)};
    input.reviews = {MakeReview("x", test.decision)};
    const auto planned = Plan(input);
    ASSERT_THAT(planned, SizeIs(1));
    SCOPED_TRACE(
        absl::StrCat(Intervention::Status_Name(test.from), " and ",
                     InterventionReview::Decision_Name(test.decision)));
    EXPECT_EQ(planned[0].status(), test.to);
    if (test.from == test.to) {
      EXPECT_THAT(planned[0].history(), IsEmpty());
      continue;
    }
    ASSERT_THAT(planned[0].history(), SizeIs(1));
    EXPECT_EQ(planned[0].history(0).from(), test.from);
    EXPECT_EQ(planned[0].history(0).to(), test.to);
    EXPECT_EQ(planned[0].history(0).tick(), 5u);
    EXPECT_EQ(planned[0].history(0).actor(), "ann");
    EXPECT_EQ(planned[0].history(0).reason(), "because");
  }
}

TEST(PlannerTest, IgnoresAReviewOfSomethingUnknown) {
  PlanInput input = MakeInput();
  input.reviews = {MakeReview("x", InterventionReview::DECISION_APPROVE)};
  EXPECT_THAT(Plan(input), IsEmpty());
}

TEST(PlannerTest, AnApprovedOneStartsInTheSameTick) {
  PlanInput input = MakeInput();
  input.interventions = {MakeIntervention("x", Intervention::STATUS_PROPOSED)};
  input.reviews = {MakeReview("x", InterventionReview::DECISION_APPROVE)};
  const Intervention planned = Plan(input).front();
  EXPECT_THAT(Path(planned), ElementsAre(Intervention::STATUS_APPROVED,
                                         Intervention::STATUS_TRIAL));
  EXPECT_EQ(planned.start_tick(), 5u);
  EXPECT_EQ(planned.expire_time().seconds(),
            absl::ToUnixSeconds(kNow) + 24 * 3600);
  EXPECT_TRUE(IsActive(planned.status()));
}

TEST(PlannerTest, NothingStartsWithoutApproval) {
  PlanInput input = MakeInput();
  input.interventions = {MakeIntervention("x", Intervention::STATUS_PROPOSED)};
  EXPECT_EQ(Plan(input).front().status(), Intervention::STATUS_PROPOSED);
}

TEST(PlannerTest, AutoApprovesTheKindsThatTheProjectNames) {
  PlanInput input = MakeInput();
  input.interventions = {MakeIntervention("x", Intervention::STATUS_PROPOSED)};
  input.config.add_auto_approve(v1::INTERVENTION_KIND_GUARDRAIL);
  EXPECT_EQ(Plan(input).front().status(), Intervention::STATUS_PROPOSED);
  input.config.add_auto_approve(v1::INTERVENTION_KIND_ROUTING_POLICY);
  const Intervention planned = Plan(input).front();
  EXPECT_EQ(planned.status(), Intervention::STATUS_TRIAL);
  EXPECT_EQ(planned.history(0).actor(), "auto_approve");
}

TEST(PlannerTest, WhatSparesNothingWaitsForAPerson) {
  PlanInput input = MakeInput();
  input.interventions = {
      MakeIntervention("x", Intervention::STATUS_PROPOSED, 0)};
  input.config.add_auto_approve(v1::INTERVENTION_KIND_ROUTING_POLICY);
  EXPECT_EQ(Plan(input).front().status(), Intervention::STATUS_PROPOSED);
}

TEST(PlannerTest, StartsTheMostPromisingWhileTrialsAreFree) {
  PlanInput input = MakeInput();
  input.interventions = {
      MakeIntervention("a", Intervention::STATUS_APPROVED, .1),
      MakeIntervention("b", Intervention::STATUS_APPROVED, .3),
      MakeIntervention("c", Intervention::STATUS_TRIAL),
      MakeIntervention("d", Intervention::STATUS_CONFIRMED)};
  const auto planned = Plan(input);
  EXPECT_EQ(planned[0].status(), Intervention::STATUS_APPROVED);
  EXPECT_EQ(planned[1].status(), Intervention::STATUS_TRIAL);
  EXPECT_EQ(planned[2].status(), Intervention::STATUS_TRIAL);
}

TEST(PlannerTest, RetiresWhatHasExpired) {
  PlanInput input = MakeInput();
  input.now = kNow + absl::Seconds(1);
  for (const auto status :
       {Intervention::STATUS_PROPOSED, Intervention::STATUS_APPROVED,
        Intervention::STATUS_TRIAL, Intervention::STATUS_CONFIRMED}) {
    input.interventions = {MakeIntervention("x", status)};
    const Intervention planned = Plan(input).front();
    EXPECT_EQ(planned.status(), Intervention::STATUS_RETIRED);
    EXPECT_FALSE(planned.history(0).reason().empty());
  }
  input.interventions = {MakeIntervention("x", Intervention::STATUS_REJECTED)};
  EXPECT_EQ(Plan(input).front().status(), Intervention::STATUS_REJECTED);
}

TEST(PlannerTest, EtagChangesWithTheResourceOnly) {
  PlanInput input = MakeInput();
  input.config.set_max_trials(0);
  input.interventions = {MakeIntervention("x", Intervention::STATUS_PROPOSED)};
  input.interventions = Plan(input);
  const std::string etag = input.interventions.front().etag();
  EXPECT_THAT(etag, Not(IsEmpty()));
  EXPECT_EQ(Plan(input).front().etag(), etag);
  input.reviews = {MakeReview("x", InterventionReview::DECISION_APPROVE)};
  EXPECT_NE(Plan(input).front().etag(), etag);
}

TEST(PlannerTest, ReturnsThemAscendingById) {
  PlanInput input = MakeInput();
  input.interventions = {MakeIntervention("b", Intervention::STATUS_REJECTED),
                         MakeIntervention("a", Intervention::STATUS_REJECTED)};
  const auto planned = Plan(input);
  EXPECT_EQ(planned[0].intervention_id(), "a");
  EXPECT_EQ(planned[1].intervention_id(), "b");
}

// A cluster for which there is something to propose.
class PlannerProposalTest : public ::testing::Test {
 protected:
  PlannerProposalTest() {
    for (int i = 0; i < 1200; ++i) {
      const v1::Trace trace = world_.Draw(world_.Pick({"qa", "math"}), "q",
                                          world_.Pick({"a", "b"}));
      const bool weak =
          trace.task().type() == "qa" && trace.system().model() == "a";
      world_.Add(trace, world_.random().Bernoulli(weak ? .8 : .1));
    }
    cluster_.emplace(world_, IsQa);
    input_ = MakeInput();
    input_.contexts = {cluster_->context()};
  }

  static bool IsQa(const v1::Trace& trace) {
    return trace.task().type() == "qa";
  }

  // The planned ones become the input of the next tick.
  std::vector<Intervention> Tick() {
    input_.interventions = Plan(input_);
    ++input_.tick;
    input_.reviews.clear();
    return input_.interventions;
  }

  RunWorld world_{1};
  std::optional<DiagnosedCluster> cluster_;
  PlanInput input_;
};

TEST_F(PlannerProposalTest, FillsInEveryField) {
  const auto planned = Tick();
  ASSERT_THAT(planned, SizeIs(1));
  const Intervention& proposed = planned.front();
  EXPECT_EQ(proposed.name(),
            "projects/p/interventions/" + proposed.intervention_id());
  EXPECT_THAT(proposed.intervention_id(), SizeIs(26));
  EXPECT_EQ(proposed.kind(), v1::INTERVENTION_KIND_ROUTING_POLICY);
  EXPECT_OK(ValidateAction(proposed.action()));
  EXPECT_TRUE(proposed.has_scope());
  EXPECT_THAT(proposed.summary(), Not(IsEmpty()));
  EXPECT_EQ(proposed.cluster(), cluster_->cluster().name());
  EXPECT_EQ(proposed.failure_mode(),
            cluster_->cluster().diagnosis().failure_mode());
  EXPECT_EQ(proposed.status(), Intervention::STATUS_PROPOSED);
  ASSERT_THAT(proposed.history(), SizeIs(1));
  EXPECT_EQ(proposed.history(0).from(), Intervention::STATUS_UNSPECIFIED);
  EXPECT_EQ(proposed.history(0).actor(), "planner");
  EXPECT_EQ(proposed.treatment_probability(), .5);
  EXPECT_THAT(proposed.salt(), SizeIs(16));
  EXPECT_GT(proposed.expected_reduction(), .04);
  EXPECT_EQ(proposed.create_tick(), 5u);
  EXPECT_EQ(proposed.start_tick(), 0u);
  EXPECT_EQ(proposed.expire_time().seconds(),
            absl::ToUnixSeconds(kNow) + 24 * 3600);
  EXPECT_THAT(proposed.etag(), Not(IsEmpty()));
}

TEST_F(PlannerProposalTest, ExpectsWhatChangesOfTheKindHaveKept) {
  const double at_first = Plan(input_).front().expected_reduction();
  // Of another cluster and another scope.
  Intervention past = MakeIntervention("x", Intervention::STATUS_CONFIRMED);
  Intervention::Transition& end = *past.add_history();
  const auto expected = [&](Intervention::Status to, const char* actor) {
    end.set_to(to);
    end.set_actor(actor);
    input_.interventions = {past};
    for (const Intervention& planned : Plan(input_)) {
      if (planned.intervention_id() != "x") {
        return planned.expected_reduction();
      }
    }
    return 0.0;
  };
  EXPECT_NEAR(expected(Intervention::STATUS_CONFIRMED, "planner") / at_first,
              (3.0 / 6) / (2.0 / 5), 1e-9);
  EXPECT_NEAR(expected(Intervention::STATUS_DISCONFIRMED, "planner") / at_first,
              (2.0 / 6) / (2.0 / 5), 1e-9);
  EXPECT_NEAR(expected(Intervention::STATUS_ROLLED_BACK, "planner") / at_first,
              (2.0 / 6) / (2.0 / 5), 1e-9);
  // A person's decision is no evidence.
  EXPECT_NEAR(expected(Intervention::STATUS_ROLLED_BACK, "ann"), at_first,
              1e-9);
  past.set_kind(v1::INTERVENTION_KIND_GUARDRAIL);
  EXPECT_NEAR(expected(Intervention::STATUS_CONFIRMED, "planner"), at_first,
              1e-9);
}

TEST_F(PlannerProposalTest, IsAFunctionOfItsInput) {
  const std::string once = Plan(input_).front().SerializeAsString();
  EXPECT_EQ(Plan(input_).front().SerializeAsString(), once);
  input_.seed = 43;
  EXPECT_NE(Plan(input_).front().SerializeAsString(), once);
}

TEST_F(PlannerProposalTest, OneOpenInterventionForACluster) {
  Tick();
  EXPECT_THAT(Tick(), SizeIs(1));
  input_.reviews = {MakeReview(input_.interventions.front().intervention_id(),
                               InterventionReview::DECISION_APPROVE)};
  Tick();
  EXPECT_EQ(Tick().front().status(), Intervention::STATUS_TRIAL);
  EXPECT_THAT(Tick(), SizeIs(1));
}

TEST_F(PlannerProposalTest, DoesNotProposeAgainWhatWasRefused) {
  Tick();
  input_.reviews = {MakeReview(input_.interventions.front().intervention_id(),
                               InterventionReview::DECISION_REJECT)};
  Tick();
  const auto planned = Tick();
  EXPECT_EQ(std::count_if(planned.begin(), planned.end(),
                          [](const Intervention& intervention) {
                            return intervention.action().has_routing_policy();
                          }),
            1);
}

TEST_F(PlannerProposalTest, ProposesAgainWhatHasExpired) {
  Tick();
  input_.now += absl::Hours(25);
  const auto planned = Tick();
  ASSERT_THAT(planned, SizeIs(2));
  EXPECT_EQ(planned[0].status(), Intervention::STATUS_RETIRED);
  EXPECT_EQ(planned[1].status(), Intervention::STATUS_PROPOSED);
}

TEST_F(PlannerProposalTest, AWiderOneOnTheSameKnobAnswersTheClusterToo) {
  Intervention wide = MakeIntervention("x", Intervention::STATUS_TRIAL);
  wide.mutable_scope()->mutable_all();
  input_.interventions = {wide};
  EXPECT_THAT(Tick(), SizeIs(1));

  wide.set_status(Intervention::STATUS_ROLLED_BACK);
  input_.interventions = {wide};
  EXPECT_THAT(Tick(), SizeIs(2));
}

TEST_F(PlannerProposalTest, TwoClustersDoNotGetTheSameChange) {
  DiagnosedCluster twin(world_, IsQa);
  twin.cluster().set_name("projects/p/clusters/twin");
  input_.contexts.push_back(twin.context());
  const auto planned = Tick();
  EXPECT_EQ(std::count_if(planned.begin(), planned.end(),
                          [](const Intervention& intervention) {
                            return intervention.action().has_routing_policy();
                          }),
            1);
}

}  // namespace
}  // namespace faultline::intervene
