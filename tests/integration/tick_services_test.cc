// Services over the state that ticks leave: clusters, interventions, behaviour
// and administration.
#include <grpc/support/time.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "faultline/v1/intervention_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace faultline::integration {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::SizeIs;

using v1::Cluster;
using v1::Intervention;
using v1::InterventionReview;

void AddCluster(const std::string& id, uint64_t size, Cluster::Status status,
                v1::TickState* state) {
  Cluster& cluster = *state->add_clusters();
  cluster.set_name("projects/p/clusters/" + id);
  cluster.set_cluster_id(id);
  cluster.set_size(size);
  cluster.set_status(status);
}

void AddIntervention(const std::string& id, Intervention::Status status,
                     uint64_t tick, v1::TickState* state) {
  Intervention& intervention = *state->add_interventions();
  intervention.set_intervention_id(id);
  intervention.set_status(status);
  intervention.set_create_tick(tick);
  intervention.set_etag("etag-" + id);
  intervention.mutable_effect()->set_watermark(tick);
}

class TickServicesTest : public ServiceTest {
 protected:
  TickServicesTest()
      : admin_(v1::AdminService::NewStub(channel())),
        behavior_(v1::BehaviorService::NewStub(channel())),
        clusters_(v1::ClusterService::NewStub(channel())),
        interventions_(v1::InterventionService::NewStub(channel())) {}

  std::vector<std::string> ListClusters(v1::ListClustersRequest request) {
    request.set_parent("projects/p");
    grpc::ClientContext call;
    v1::ListClustersResponse response;
    EXPECT_TRUE(clusters_->ListClusters(&call, request, &response).ok());
    std::vector<std::string> ids;
    for (const Cluster& c : response.clusters()) ids.push_back(c.cluster_id());
    next_page_token_ = response.next_page_token();
    return ids;
  }

  grpc::Status Review(v1::ReviewInterventionRequest request,
                      InterventionReview::Decision decision) {
    request.set_decision(decision);
    if (request.reviewer().empty()) request.set_reviewer("ann");
    if (request.reason().empty()) request.set_reason("because");
    grpc::ClientContext call;
    v1::ReviewInterventionResponse response;
    grpc::Status status =
        interventions_->ReviewIntervention(&call, request, &response);
    detail_ = TrailingDetail(call);
    sequence_ = response.sequence();
    return status;
  }
  grpc::Status Review(const std::string& id,
                      InterventionReview::Decision decision) {
    v1::ReviewInterventionRequest request;
    request.set_name("projects/p/interventions/" + id);
    return Review(request, decision);
  }

  grpc::Status TriggerTick(v1::Tick* tick) {
    grpc::ClientContext call;
    v1::TriggerTickRequest request;
    request.set_parent("projects/p");
    v1::TriggerTickResponse response;
    grpc::Status status = admin_->TriggerTick(&call, request, &response);
    *tick = response.tick();
    return status;
  }

  v1::GetConfigResponse GetConfig() {
    grpc::ClientContext call;
    v1::GetConfigRequest request;
    request.set_parent("projects/p");
    v1::GetConfigResponse response;
    EXPECT_TRUE(admin_->GetConfig(&call, request, &response).ok());
    return response;
  }

  grpc::Status UpdateConfig(v1::UpdateConfigRequest request) {
    request.set_parent("projects/p");
    grpc::ClientContext call;
    v1::UpdateConfigResponse response;
    grpc::Status status = admin_->UpdateConfig(&call, request, &response);
    detail_ = TrailingDetail(call);
    return status;
  }

  std::unique_ptr<v1::AdminService::Stub> admin_;
  std::unique_ptr<v1::BehaviorService::Stub> behavior_;
  std::unique_ptr<v1::ClusterService::Stub> clusters_;
  std::unique_ptr<v1::InterventionService::Stub> interventions_;
  std::string next_page_token_;
  std::optional<v1::ErrorDetail> detail_;
  uint64_t sequence_ = 0;
};

TEST_F(TickServicesTest, ClustersComeLargestFirstWithoutRetiredOnes) {
  Store({MakeTrace("a")});
  v1::TickState state;
  AddCluster("small", 3, Cluster::STATUS_STABLE, &state);
  AddCluster("old", 90, Cluster::STATUS_RETIRED, &state);
  AddCluster("large", 30, Cluster::STATUS_CANDIDATE, &state);
  Loop()->SetState(state);
  EXPECT_THAT(ListClusters({}), ElementsAre("large", "small"));

  v1::ListClustersRequest stable;
  stable.add_statuses(Cluster::STATUS_STABLE);
  EXPECT_THAT(ListClusters(stable), ElementsAre("small"));

  v1::ListClustersRequest page;
  page.set_page_size(1);
  EXPECT_THAT(ListClusters(page), ElementsAre("large"));
  page.set_page_token(next_page_token_);
  EXPECT_THAT(ListClusters(page), ElementsAre("small"));
  EXPECT_EQ(next_page_token_, "");
}

TEST_F(TickServicesTest, TheIdOfAMergedClusterLeadsToTheOneThatLivesOn) {
  Store({MakeTrace("a")});
  v1::TickState state;
  AddCluster("c", 3, Cluster::STATUS_STABLE, &state);
  (*state.mutable_aliases())["a"] = "b";
  (*state.mutable_aliases())["b"] = "c";
  Loop()->SetState(state);
  v1::GetClusterRequest request;
  v1::GetClusterResponse response;
  {
    grpc::ClientContext call;
    request.set_name("projects/p/clusters/a");
    ASSERT_TRUE(clusters_->GetCluster(&call, request, &response).ok());
    EXPECT_EQ(response.cluster().cluster_id(), "c");
  }
  grpc::ClientContext call;
  request.set_name("projects/p/clusters/none");
  EXPECT_EQ(clusters_->GetCluster(&call, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(TrailingDetail(call)->reason(), v1::ErrorDetail::REASON_NOT_FOUND);
}

TEST_F(TickServicesTest, MembersComeStrongestFirstWithTheirTraces) {
  Store(MakeTraces("t", 5));
  v1::TickState state;
  AddCluster("c", 3, Cluster::STATUS_STABLE, &state);
  v1::ClusterMembers& members = *state.add_members();
  members.set_cluster_id("c");
  for (const auto& [sequence, strength] :
       std::vector<std::pair<uint64_t, float>>{{1, .5}, {3, .9}, {4, .7}}) {
    members.add_sequences(sequence);
    members.add_strengths(strength);
  }
  Loop()->SetState(state);
  v1::ListMembersRequest request;
  request.set_parent("projects/p/clusters/c");
  request.set_page_size(2);
  std::vector<std::string> ids;
  do {
    grpc::ClientContext call;
    v1::ListMembersResponse response;
    ASSERT_TRUE(clusters_->ListMembers(&call, request, &response).ok());
    for (const auto& member : response.members()) {
      ids.push_back(member.trace().trace_id());
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(ids, ElementsAre("t2", "t3", "t0"));
}

// Runs t0 to t4 fail the same way; e0 and e1 fail at their edge; p0 and p1
// pass, p1 after all.
class MembersTest : public TickServicesTest {
 protected:
  MembersTest() {
    std::vector<v1::Trace> traces;
    for (const char* id : {"t0", "t1", "t2", "t3", "t4"}) {
      traces.push_back(MakeTrace(id, "pay", v1::OUTCOME_FAIL));
    }
    traces.push_back(MakeTrace("e0", "search", v1::OUTCOME_FAIL));
    traces.push_back(MakeTrace("e1", "fetch", v1::OUTCOME_FAIL));
    traces.push_back(MakeTrace("p0", "pay", v1::OUTCOME_PASS));
    traces.push_back(MakeTrace("p1", "search", v1::OUTCOME_UNSPECIFIED));
    Store(std::move(traces));
    std::vector<v1::LogRecord> records(1);
    v1::OutcomeRecord& outcome = *records[0].mutable_outcome();
    outcome.set_trace_id("p1");
    outcome.mutable_evaluation()->set_outcome(v1::OUTCOME_PASS);
    EXPECT_OK(log_->AppendAndWait("p", std::move(records)));
    ingestor_->WaitUntilIndexed("p");

    AddCluster("c", 5, Cluster::STATUS_STABLE, &state_);
    Cluster& cluster = *state_.mutable_clusters(0);
    cluster.add_views(v1::VIEW_BEHAVIOR);
    cluster.set_medoid("t2");
    cluster.add_exemplars("t2");
    cluster.add_exemplars("t4");
    cluster.add_boundary_exemplars("e1");
    cluster.add_boundary_exemplars("gone");
    cluster.add_boundary_exemplars("e0");
    v1::ClusterMembers& members = *state_.add_members();
    members.set_cluster_id("c");
    for (int i = 0; i < 5; ++i) {
      members.add_sequences(i + 1);
      members.add_strengths(.5F + .1F * static_cast<float>(i));
    }
    Loop()->SetState(state_);
  }

  // `id:role` of every run, over pages of two.
  std::vector<std::string> List(
      const std::vector<v1::ListMembersResponse::Member::Role>& roles) {
    v1::ListMembersRequest request;
    request.set_parent("projects/p/clusters/c");
    request.set_page_size(2);
    for (const auto role : roles) request.add_roles(role);
    members_.clear();
    std::vector<std::string> listed;
    do {
      grpc::ClientContext call;
      v1::ListMembersResponse response;
      EXPECT_TRUE(clusters_->ListMembers(&call, request, &response).ok());
      for (const auto& member : response.members()) {
        listed.push_back(absl::StrCat(
            member.trace().trace_id(), ":",
            v1::ListMembersResponse::Member::Role_Name(member.role())));
        members_.push_back(member);
      }
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return listed;
  }

  v1::TickState state_;
  std::vector<v1::ListMembersResponse::Member> members_;
};

using Member = v1::ListMembersResponse::Member;

TEST_F(MembersTest, EveryMemberSaysWhatItIs) {
  EXPECT_THAT(List({}), ElementsAre("t4:ROLE_EXEMPLAR", "t3:ROLE_MEMBER",
                                    "t2:ROLE_MEDOID", "t1:ROLE_MEMBER",
                                    "t0:ROLE_MEMBER"));
}

TEST_F(MembersTest, RolesComeOneAfterTheOther) {
  EXPECT_THAT(
      List({Member::ROLE_NEAREST_SUCCESS, Member::ROLE_BOUNDARY,
            Member::ROLE_MEDOID, Member::ROLE_EXEMPLAR}),
      ElementsAre("t2:ROLE_MEDOID", "t4:ROLE_EXEMPLAR", "e1:ROLE_BOUNDARY",
                  "e0:ROLE_BOUNDARY", "p0:ROLE_NEAREST_SUCCESS",
                  "p1:ROLE_NEAREST_SUCCESS"));
  EXPECT_NEAR(members_[0].distance(), 0, 1e-6);
  EXPECT_NEAR(members_[1].distance(), 0, 1e-6);  // the same steps
  EXPECT_GT(members_[2].distance(), 0.1);
  EXPECT_NEAR(members_[4].distance(), 0, 1e-6);
  EXPECT_GT(members_[5].distance(), 0.1);
  EXPECT_EQ(members_[0].outcome(), v1::OUTCOME_FAIL);
  EXPECT_EQ(members_[5].outcome(), v1::OUTCOME_PASS);
  EXPECT_EQ(members_[2].strength(), 0);
}

TEST_F(MembersTest, AClusterWithoutMembersIsKnownByItsExemplars) {
  state_.clear_members();
  state_.mutable_clusters(0)->set_medoid("gone");
  Loop()->SetState(state_);
  EXPECT_THAT(List({}), ElementsAre());
  EXPECT_THAT(List({Member::ROLE_MEDOID, Member::ROLE_EXEMPLAR,
                    Member::ROLE_NEAREST_SUCCESS}),
              ElementsAre("t2:ROLE_EXEMPLAR", "t4:ROLE_EXEMPLAR"));
  EXPECT_FALSE(members_[0].has_distance());
}

TEST_F(MembersTest, ARoleThatIsNoneIsRefused) {
  v1::ListMembersRequest request;
  request.set_parent("projects/p/clusters/c");
  request.add_roles(Member::ROLE_UNSPECIFIED);
  grpc::ClientContext call;
  v1::ListMembersResponse response;
  EXPECT_EQ(clusters_->ListMembers(&call, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(TrailingDetail(call)->field(), "roles");
}

TEST_F(TickServicesTest, InterventionsComeLatestFirst) {
  Store({MakeTrace("a")});
  v1::TickState state;
  AddIntervention("a", Intervention::STATUS_TRIAL, 1, &state);
  AddIntervention("b", Intervention::STATUS_PROPOSED, 3, &state);
  AddIntervention("c", Intervention::STATUS_PROPOSED, 2, &state);
  Loop()->SetState(state);
  v1::ListInterventionsRequest request;
  request.set_parent("projects/p");
  v1::ListInterventionsResponse response;
  {
    grpc::ClientContext call;
    ASSERT_TRUE(
        interventions_->ListInterventions(&call, request, &response).ok());
    ASSERT_THAT(response.interventions(), SizeIs(3));
    EXPECT_EQ(response.interventions(0).intervention_id(), "b");
    EXPECT_EQ(response.interventions(2).intervention_id(), "a");
  }
  grpc::ClientContext call;
  request.add_statuses(Intervention::STATUS_TRIAL);
  ASSERT_TRUE(
      interventions_->ListInterventions(&call, request, &response).ok());
  EXPECT_THAT(response.interventions(), SizeIs(1));

  grpc::ClientContext effect_call;
  v1::GetEffectRequest effect_request;
  effect_request.set_name("projects/p/interventions/b");
  v1::GetEffectResponse effect;
  ASSERT_TRUE(
      interventions_->GetEffect(&effect_call, effect_request, &effect).ok());
  EXPECT_EQ(effect.effect().watermark(), 3);
}

TEST_F(TickServicesTest, AReviewIsRecordedAndTriggersATick) {
  Store({MakeTrace("a")});
  v1::TickState state;
  AddIntervention("i", Intervention::STATUS_PROPOSED, 1, &state);
  Loop()->SetState(state);
  Loop()->Hold();
  ASSERT_TRUE(Review("i", InterventionReview::DECISION_APPROVE).ok());
  Loop()->WaitUntilHeld();
  EXPECT_EQ(sequence_, 2);
  ASSERT_OK_AND_ASSIGN(const v1::LogRecord record, log_->Read("p", 2));
  EXPECT_EQ(record.review().intervention_id(), "i");
  EXPECT_EQ(record.review().decision(), InterventionReview::DECISION_APPROVE);
  EXPECT_EQ(record.review().reviewer(), "ann");
}

TEST_F(TickServicesTest, AReviewMustFitTheState) {
  Store({MakeTrace("a")});
  v1::TickState state;
  AddIntervention("proposed", Intervention::STATUS_PROPOSED, 1, &state);
  AddIntervention("trial", Intervention::STATUS_TRIAL, 1, &state);
  AddIntervention("gone", Intervention::STATUS_REJECTED, 1, &state);
  Loop()->SetState(state);
  const auto code = [&](const std::string& id,
                        InterventionReview::Decision decision) {
    return Review(id, decision).error_code();
  };
  EXPECT_EQ(code("trial", InterventionReview::DECISION_APPROVE),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(detail_->reason(), v1::ErrorDetail::REASON_WRONG_STATE);
  EXPECT_EQ(code("proposed", InterventionReview::DECISION_ROLL_BACK),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(code("gone", InterventionReview::DECISION_REJECT),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(code("none", InterventionReview::DECISION_REJECT),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(code("trial", InterventionReview::DECISION_UNSPECIFIED),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(log_->LastSequence("p"), 1);
  EXPECT_EQ(code("trial", InterventionReview::DECISION_ROLL_BACK),
            grpc::StatusCode::OK);
}

TEST_F(TickServicesTest, AReviewOfAnOlderStateIsAborted) {
  Store({MakeTrace("a")});
  v1::TickState state;
  AddIntervention("i", Intervention::STATUS_PROPOSED, 1, &state);
  Loop()->SetState(state);
  v1::ReviewInterventionRequest request;
  request.set_name("projects/p/interventions/i");
  request.set_etag("older");
  EXPECT_EQ(Review(request, InterventionReview::DECISION_REJECT).error_code(),
            grpc::StatusCode::ABORTED);
  EXPECT_EQ(detail_->reason(), v1::ErrorDetail::REASON_STALE_ETAG);
  request.set_etag("etag-i");
  EXPECT_TRUE(Review(request, InterventionReview::DECISION_REJECT).ok());
}

TEST_F(TickServicesTest, SimilarTracesCarryClusterAndOutcome) {
  Store({MakeTrace("a", "pay", v1::OUTCOME_FAIL), MakeTrace("b", "pay"),
         MakeTrace("c", "search")});
  v1::TickState state;
  v1::ClusterMembers& members = *state.add_members();
  members.set_cluster_id("c1");
  members.add_sequences(1);
  Loop()->SetState(state);
  v1::FindSimilarTracesRequest request;
  request.set_parent("projects/p");
  request.set_trace_id("b");
  request.set_page_size(1);
  v1::FindSimilarTracesResponse response;
  {
    grpc::ClientContext call;
    ASSERT_TRUE(behavior_->FindSimilarTraces(&call, request, &response).ok());
    EXPECT_EQ(response.indexed(), 3);
    ASSERT_THAT(response.neighbors(), SizeIs(1));
    EXPECT_EQ(response.neighbors(0).trace_id(), "a");
    EXPECT_EQ(response.neighbors(0).outcome(), v1::OUTCOME_FAIL);
    EXPECT_EQ(response.neighbors(0).cluster(), "projects/p/clusters/c1");
    EXPECT_EQ(response.neighbors(0).trace().steps(0).name(), "pay");
    EXPECT_NEAR(response.neighbors(0).distance(), 0, 1e-3);
  }
  {
    grpc::ClientContext call;
    request.set_trace_id("none");
    EXPECT_EQ(
        behavior_->FindSimilarTraces(&call, request, &response).error_code(),
        grpc::StatusCode::NOT_FOUND);
  }
  grpc::ClientContext call;
  request.clear_query();
  EXPECT_EQ(
      behavior_->FindSimilarTraces(&call, request, &response).error_code(),
      grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(TickServicesTest, TicksRunWhenTriggeredAndAreListed) {
  Store({MakeTrace("a")});
  v1::Tick tick;
  for (uint64_t number = 1; number <= 5; ++number) {
    ASSERT_TRUE(TriggerTick(&tick).ok());
    EXPECT_EQ(tick.tick(), number);
  }
  v1::ListTicksRequest request;
  request.set_parent("projects/p");
  request.set_page_size(2);
  std::vector<uint64_t> ticks;
  do {
    grpc::ClientContext call;
    v1::ListTicksResponse response;
    ASSERT_TRUE(admin_->ListTicks(&call, request, &response).ok());
    for (const v1::Tick& t : response.ticks()) ticks.push_back(t.tick());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(ticks, ElementsAre(5, 4, 3, 2, 1));
}

TEST_F(TickServicesTest, AReplayStreamsEveryTickWithItsComparison) {
  Store({MakeTrace("a")});
  v1::Tick tick;
  ASSERT_TRUE(TriggerTick(&tick).ok());
  ASSERT_TRUE(TriggerTick(&tick).ok());
  Store({MakeTrace("b")});
  ASSERT_TRUE(TriggerTick(&tick).ok());

  v1::ReplayTicksRequest request;
  request.set_parent("projects/p");
  const auto replay = [&](grpc::Status* status) {
    grpc::ClientContext call;
    const auto reader = admin_->ReplayTicks(&call, request);
    std::vector<v1::ReplayTicksResponse> ticks;
    v1::ReplayTicksResponse response;
    while (reader->Read(&response)) ticks.push_back(response);
    *status = reader->Finish();
    return ticks;
  };
  grpc::Status status;
  std::vector<v1::ReplayTicksResponse> ticks = replay(&status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(ticks, SizeIs(3));
  EXPECT_TRUE(ticks[0].same());
  EXPECT_TRUE(ticks[1].same());
  EXPECT_FALSE(ticks[2].same());
  EXPECT_EQ(ticks[2].tick().tick(), 3);
  EXPECT_EQ(ticks[2].tick().digest(), "then");
  EXPECT_EQ(ticks[2].digest(), "now");
  EXPECT_FALSE(ticks[2].has_policy());

  request.set_last_tick(2);
  request.set_include_policies(true);
  ticks = replay(&status);
  ASSERT_THAT(ticks, SizeIs(2));
  EXPECT_EQ(ticks[1].policy().version(), 2);

  request.set_parent("projects/none");
  EXPECT_THAT(replay(&status), SizeIs(0));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(TickServicesTest, AReplayEndsWhenItsClientIsGone) {
  Store({MakeTrace("a")});
  v1::Tick tick;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(TriggerTick(&tick).ok());
  v1::ReplayTicksRequest request;
  request.set_parent("projects/p");
  {
    grpc::ClientContext call;
    const auto reader = admin_->ReplayTicks(&call, request);
    v1::ReplayTicksResponse response;
    ASSERT_TRUE(reader->Read(&response));
    call.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // The thread is free for the next one.
  grpc::ClientContext call;
  const auto reader = admin_->ReplayTicks(&call, request);
  v1::ReplayTicksResponse response;
  int ticks = 0;
  while (reader->Read(&response)) ++ticks;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(ticks, 3);
}

TEST_F(TickServicesTest, AnImpatientClientDoesNotStopTheTick) {
  Store({MakeTrace("a")});
  FakeLoop* loop = Loop();
  loop->Hold();
  v1::TriggerTickRequest request;
  request.set_parent("projects/p");
  grpc::ClientContext call;
  call.set_deadline(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                 gpr_time_from_millis(20, GPR_TIMESPAN)));
  v1::TriggerTickResponse response;
  EXPECT_EQ(admin_->TriggerTick(&call, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  loop->WaitUntilHeld();
  loop->Release();
  v1::Tick tick;
  ASSERT_TRUE(TriggerTick(&tick).ok());
  EXPECT_EQ(tick.tick(), 2);
}

TEST_F(TickServicesTest, StoppingAnswersTicksThatWait) {
  Store({MakeTrace("a")});
  projects_->StopTicks();
  v1::Tick tick;
  EXPECT_EQ(TriggerTick(&tick).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TickServicesTest, TicksOfDifferentProjectsTakeTurns) {
  Store({MakeTrace("a")}, "p");
  Store({MakeTrace("a")}, "q");
  Loop("p")->Hold();
  projects_->TriggerTick("p", nullptr);
  Loop("p")->WaitUntilHeld();
  absl::Notification done;
  projects_->TriggerTick("q", [&](const absl::StatusOr<v1::Tick>& tick) {
    EXPECT_OK(tick);
    done.Notify();
  });
  Loop("p")->Release();
  done.WaitForNotification();
  EXPECT_EQ(running_.most, 1);
}

TEST_F(TickServicesTest, ANewIntervalCountsFromNow) {
  Store({MakeTrace("a")});
  v1::UpdateConfigRequest update;
  update.mutable_config()->mutable_tick_interval()->set_seconds(10);
  ASSERT_TRUE(UpdateConfig(update).ok());
  EXPECT_EQ(Loop()->Snapshot()->state.tick().tick(), 0);
  // A wait that had begun already when the interval changed is begun again.
  while (Loop()->Snapshot()->state.tick().tick() == 0) {
    clock_.WaitForDeadline(absl::Seconds(10));
    clock_.Advance(absl::Seconds(11));
    std::this_thread::yield();
  }
}

TEST_F(TickServicesTest, EveryCallIsCountedByMethodAndCode) {
  GetConfig();
  v1::Tick tick;
  TriggerTick(&tick);
  const auto counts = observer_.Counts();
  EXPECT_THAT(counts, Contains(Pair(
                          Pair("/faultline.v1.AdminService/GetConfig", 0), 1)));
  EXPECT_THAT(counts,
              Contains(Pair(Pair("/faultline.v1.AdminService/TriggerTick",
                                 grpc::StatusCode::NOT_FOUND),
                            1)));
}

TEST_F(TickServicesTest, SettingsCanBeReadBeforeTheProjectExists) {
  const v1::GetConfigResponse config = GetConfig();
  EXPECT_EQ(config.config().max_trials(), 6);
  EXPECT_NE(config.etag(), "");
}

TEST_F(TickServicesTest, SettingsChangeFieldByField) {
  v1::UpdateConfigRequest update;
  update.mutable_config()->set_max_trials(2);
  update.mutable_config()->add_auto_approve(
      v1::INTERVENTION_KIND_ROUTING_POLICY);
  ASSERT_TRUE(UpdateConfig(update).ok());
  v1::GetConfigResponse now = GetConfig();
  EXPECT_EQ(now.config().max_trials(), 2);
  EXPECT_THAT(now.config().auto_approve(), SizeIs(1));
  EXPECT_EQ(now.config().max_failures(), 50000);
  ASSERT_OK_AND_ASSIGN(const v1::LogRecord record, log_->Read("p", 1));
  EXPECT_EQ(record.config().max_trials(), 2);
  EXPECT_EQ(record.config().max_failures(), 50000);

  // A named field that is not set returns to its default; others stay.
  update.clear_config();
  update.mutable_config()->set_max_trials(9);
  update.mutable_update_mask()->add_paths("auto_approve");
  ASSERT_TRUE(UpdateConfig(update).ok());
  now = GetConfig();
  EXPECT_EQ(now.config().max_trials(), 2);
  EXPECT_THAT(now.config().auto_approve(), SizeIs(0));
}

TEST_F(TickServicesTest, BadSettingsAreRefusedWithTheField) {
  v1::UpdateConfigRequest update;
  update.mutable_config()->set_global_holdout(0.9);
  EXPECT_EQ(UpdateConfig(update).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(detail_->field(), ::testing::HasSubstr("global_holdout"));

  update.clear_config();
  EXPECT_EQ(UpdateConfig(update).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  update.mutable_update_mask()->add_paths("no_such_field");
  EXPECT_EQ(UpdateConfig(update).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(detail_->field(), "update_mask");
  EXPECT_EQ(log_->LastSequence("p"), 0);
}

TEST_F(TickServicesTest, SettingsOfAnOlderStateAreAborted) {
  v1::UpdateConfigRequest update;
  update.mutable_config()->set_max_trials(2);
  update.set_etag(GetConfig().etag());
  ASSERT_TRUE(UpdateConfig(update).ok());
  update.mutable_config()->set_max_trials(3);
  EXPECT_EQ(UpdateConfig(update).error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(detail_->reason(), v1::ErrorDetail::REASON_STALE_ETAG);
  EXPECT_EQ(GetConfig().config().max_trials(), 2);
}

TEST_F(TickServicesTest, StatusCountsWhatIsThere) {
  Store({MakeTrace("a", "x", v1::OUTCOME_FAIL), MakeTrace("b"), v1::Trace()});
  Store({MakeTrace("b")});
  Store({MakeTrace("z")}, "q");
  v1::TickState state;
  AddCluster("c", 1, Cluster::STATUS_STABLE, &state);
  AddIntervention("i", Intervention::STATUS_TRIAL, 1, &state);
  Loop("p")->SetState(state);
  Loop("q");
  v1::Tick tick;
  ASSERT_TRUE(TriggerTick(&tick).ok());

  grpc::ClientContext call;
  v1::GetStatusResponse response;
  ASSERT_TRUE(admin_->GetStatus(&call, {}, &response).ok());
  EXPECT_NE(response.version(), "");
  EXPECT_GT(response.resident_bytes(), 1000000);
  ASSERT_THAT(response.projects(), SizeIs(2));
  const v1::GetStatusResponse::Project& p = response.projects(0);
  EXPECT_EQ(p.name(), "projects/p");
  EXPECT_EQ(p.traces(), 2);
  EXPECT_EQ(p.failures(), 1);
  EXPECT_EQ(p.rejected(), 1);
  EXPECT_EQ(p.duplicates(), 1);
  EXPECT_EQ(p.durable_sequence(), 2);
  EXPECT_EQ(p.indexed_sequence(), 2);
  EXPECT_EQ(p.last_tick(), 1);
  EXPECT_THAT(p.clusters(), Contains(Pair("STATUS_STABLE", 1)));
  EXPECT_THAT(p.interventions(), Contains(Pair("STATUS_TRIAL", 1)));
}

}  // namespace
}  // namespace faultline::integration
