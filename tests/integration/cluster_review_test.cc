// Decisions about clusters and their lineage, through the API.
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "server/app.h"
#include "server/server_options.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::integration {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using v1::ClusterReview;
using v1::ErrorDetail;
using v1::LineageEvent;

v1::ReviewClusterRequest MakeRequest(ClusterReview::Decision decision,
                                     const std::string& cluster) {
  v1::ReviewClusterRequest request;
  request.set_name("projects/p/clusters/" + cluster);
  request.set_decision(decision);
  request.set_reviewer("ann");
  request.set_reason("seen it");
  return request;
}

// What the service asks of a request and writes into the log. Cluster `a` holds
// runs t0 to t19, the last ten as its second part; `b` holds t20 and t21; t22
// is in none; `r` was rejected.
class ReviewClusterTest : public ServiceTest {
 protected:
  ReviewClusterTest() : clusters_(v1::ClusterService::NewStub(channel())) {
    Store(MakeTraces("t", 23));
    v1::TickState state;
    for (const char* id : {"a", "b", "r"}) {
      v1::Cluster& cluster = *state.add_clusters();
      cluster.set_cluster_id(id);
      cluster.set_etag(absl::StrCat("etag-", id));
      state.add_members()->set_cluster_id(id);
    }
    (*state.mutable_aliases())["old"] = "a";
    state.mutable_clusters(0)->add_sub_modes()->set_size(10);
    state.mutable_clusters(0)->add_sub_modes()->set_size(10);
    ClusterReview rejected;
    rejected.set_decision(ClusterReview::DECISION_REJECT);
    rejected.set_cluster_id("r");
    rejected.set_request_id("done");
    rejected.set_sequence(7);
    *state.mutable_clusters(2)->add_reviews() = rejected;
    *state.add_cluster_reviews() = rejected;
    for (int run = 0; run < 22; ++run) {
      v1::ClusterMembers& members = *state.mutable_members(run < 20 ? 0 : 1);
      members.add_sequences(run + 1);
      members.add_strengths(1);
      if (run < 20) members.add_sub_modes(run < 10 ? 1 : 2);
    }
    Loop()->SetState(state);
  }

  grpc::Status Review(const v1::ReviewClusterRequest& request) {
    grpc::ClientContext call;
    grpc::Status status = clusters_->ReviewCluster(&call, request, &response_);
    detail_ = TrailingDetail(call);
    return status;
  }
  // The record that a request leaves.
  ClusterReview Record(const v1::ReviewClusterRequest& request) {
    const grpc::Status status = Review(request);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return log_->Read("p", response_.sequence())->cluster_review();
  }
  // The field that a request is refused for.
  std::string Refused(const v1::ReviewClusterRequest& request,
                      grpc::StatusCode code) {
    const uint64_t last = log_->LastSequence("p");
    EXPECT_EQ(Review(request).error_code(), code);
    EXPECT_EQ(log_->LastSequence("p"), last) << "nothing is recorded";
    return detail_ ? detail_->field() : "no detail";
  }

  std::unique_ptr<v1::ClusterService::Stub> clusters_;
  v1::ReviewClusterResponse response_;
  std::optional<ErrorDetail> detail_;
};

TEST_F(ReviewClusterTest, ARejectionIsRecordedWithItsReasonAndTriggersATick) {
  Loop()->Hold();
  v1::ReviewClusterRequest request =
      MakeRequest(ClusterReview::DECISION_REJECT, "old");
  request.set_request_id("r-1");
  request.set_etag("etag-a");
  const ClusterReview review = Record(request);
  Loop()->WaitUntilHeld();
  Loop()->Release();
  EXPECT_EQ(review.decision(), ClusterReview::DECISION_REJECT);
  EXPECT_EQ(review.cluster_id(), "a") << "the id of a merged cluster";
  EXPECT_EQ(review.reviewer(), "ann");
  EXPECT_EQ(review.reason(), "seen it");
  EXPECT_EQ(review.request_id(), "r-1");
  EXPECT_EQ(response_.cluster().cluster_id(), "a");
}

TEST_F(ReviewClusterTest, PartsBecomeTheRunsThatAreInThem) {
  v1::ReviewClusterRequest request =
      MakeRequest(ClusterReview::DECISION_SPLIT, "a");
  request.add_sub_modes(2);
  const ClusterReview by_part = Record(request);
  ASSERT_THAT(by_part.parts(), SizeIs(1));
  EXPECT_THAT(by_part.parts(0).sequences(),
              ElementsAre(11, 12, 13, 14, 15, 16, 17, 18, 19, 20));
  request.clear_sub_modes();
  for (int run = 9; run >= 0; --run) {
    request.add_trace_ids(absl::StrCat("t", run));
  }
  const ClusterReview by_run = Record(request);
  ASSERT_THAT(by_run.parts(), SizeIs(1));
  EXPECT_THAT(by_run.parts(0).sequences(),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(ReviewClusterTest, LinksNameRunsAndTheirClusters) {
  for (const auto decision : {ClusterReview::DECISION_MUST_LINK,
                              ClusterReview::DECISION_CANNOT_LINK}) {
    v1::ReviewClusterRequest request = MakeRequest(decision, "a");
    request.add_trace_ids("t3");
    request.add_trace_ids("t20");
    ClusterReview review = Record(request);
    EXPECT_THAT(review.runs(), ElementsAre(4, 21));
    EXPECT_THAT(review.other_ids(), ElementsAre("b"));
    request.set_trace_ids(1, "t4");
    review = Record(request);
    EXPECT_THAT(review.other_ids(), ElementsAre("a"));
  }
}

TEST_F(ReviewClusterTest, OthersJoinTheCluster) {
  v1::ReviewClusterRequest request =
      MakeRequest(ClusterReview::DECISION_MERGE, "b");
  request.add_others("projects/p/clusters/old");
  EXPECT_THAT(Record(request).other_ids(), ElementsAre("a"));
  request.set_others(0, "projects/p/clusters/b");
  EXPECT_EQ(Refused(request, grpc::StatusCode::FAILED_PRECONDITION),
            "others[0]");
  request.set_others(0, "projects/p/clusters/r");
  EXPECT_EQ(Refused(request, grpc::StatusCode::FAILED_PRECONDITION),
            "others[0]");
  request.set_others(0, "projects/p/clusters/none");
  EXPECT_EQ(Refused(request, grpc::StatusCode::NOT_FOUND), "others[0]");
  request.set_others(0, "projects/q/clusters/a");
  EXPECT_EQ(Refused(request, grpc::StatusCode::NOT_FOUND), "others[0]");
}

TEST_F(ReviewClusterTest, ARequestThatWasAppliedIsNotRecordedAgain) {
  v1::ReviewClusterRequest request =
      MakeRequest(ClusterReview::DECISION_REJECT, "r");
  request.set_request_id("done");
  const uint64_t last = log_->LastSequence("p");
  ASSERT_TRUE(Review(request).ok());
  EXPECT_EQ(response_.sequence(), 7) << "of the first attempt";
  EXPECT_EQ(log_->LastSequence("p"), last);
  request.set_decision(ClusterReview::DECISION_LABEL);
  EXPECT_EQ(Refused(request, grpc::StatusCode::ALREADY_EXISTS), "request_id");
  EXPECT_EQ(detail_->reason(), ErrorDetail::REASON_CONFLICT);
}

TEST_F(ReviewClusterTest, WhatIsMissingOrTooLongIsNamed) {
  constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;
  const auto reject = MakeRequest(ClusterReview::DECISION_REJECT, "a");
  const auto label = MakeRequest(ClusterReview::DECISION_LABEL, "a");
  const auto merge = MakeRequest(ClusterReview::DECISION_MERGE, "a");
  const auto split = MakeRequest(ClusterReview::DECISION_SPLIT, "a");
  const auto link = MakeRequest(ClusterReview::DECISION_MUST_LINK, "a");

  v1::ReviewClusterRequest request = reject;
  request.clear_decision();
  EXPECT_EQ(Refused(request, kInvalid), "decision");
  request = reject;
  request.clear_reason();
  EXPECT_EQ(Refused(request, kInvalid), "reason");
  EXPECT_EQ(detail_->reason(), ErrorDetail::REASON_REQUIRED);
  request.set_reason(std::string(1025, 'x'));
  EXPECT_EQ(Refused(request, kInvalid), "reason");
  EXPECT_EQ(detail_->reason(), ErrorDetail::REASON_TOO_LONG);
  request = reject;
  request.clear_reviewer();
  EXPECT_EQ(Refused(request, kInvalid), "reviewer");
  request = reject;
  request.set_request_id(std::string(129, 'x'));
  EXPECT_EQ(Refused(request, kInvalid), "request_id");

  EXPECT_EQ(Refused(label, kInvalid), "label");
  request = label;
  request.set_label(std::string(201, 'x'));
  EXPECT_EQ(Refused(request, kInvalid), "label");
  EXPECT_EQ(Refused(merge, kInvalid), "others");
  EXPECT_EQ(Refused(split, kInvalid), "sub_modes");
  request = split;
  request.add_sub_modes(3);
  EXPECT_EQ(Refused(request, kInvalid), "sub_modes");
  EXPECT_EQ(detail_->reason(), ErrorDetail::REASON_OUT_OF_RANGE);
  request.set_sub_modes(0, 1);
  request.add_sub_modes(2);
  EXPECT_EQ(Refused(request, kInvalid), "sub_modes") << "nothing is left";
  request.add_trace_ids("t1");
  EXPECT_EQ(Refused(request, kInvalid), "sub_modes") << "both";
  request.clear_sub_modes();
  EXPECT_EQ(Refused(request, kInvalid), "trace_ids") << "too few";
  EXPECT_EQ(Refused(link, kInvalid), "trace_ids");
  request = link;
  request.add_trace_ids("t1");
  request.add_trace_ids("t1");
  EXPECT_EQ(Refused(request, kInvalid), "trace_ids");

  // Fields of other decisions.
  request = reject;
  request.set_label("x");
  EXPECT_EQ(Refused(request, kInvalid), "label");
  request = reject;
  request.add_others("projects/p/clusters/b");
  EXPECT_EQ(Refused(request, kInvalid), "others");
  request = merge;
  request.add_sub_modes(1);
  EXPECT_EQ(Refused(request, kInvalid), "sub_modes");
  request = reject;
  request.add_trace_ids("t1");
  EXPECT_EQ(Refused(request, kInvalid), "trace_ids");
}

TEST_F(ReviewClusterTest, WhatDoesNotFitTheStateIsNamed) {
  constexpr auto kState = grpc::StatusCode::FAILED_PRECONDITION;
  v1::ReviewClusterRequest request =
      MakeRequest(ClusterReview::DECISION_REJECT, "a");
  request.set_etag("older");
  EXPECT_EQ(Refused(request, grpc::StatusCode::ABORTED), "etag");
  EXPECT_EQ(Refused(MakeRequest(ClusterReview::DECISION_REJECT, "r"), kState),
            "decision");
  EXPECT_EQ(Refused(MakeRequest(ClusterReview::DECISION_REJECT, "none"),
                    grpc::StatusCode::NOT_FOUND),
            "name");

  request = MakeRequest(ClusterReview::DECISION_CANNOT_LINK, "a");
  request.add_trace_ids("t20");
  request.add_trace_ids("t1");
  EXPECT_EQ(Refused(request, kState), "trace_ids[0]") << "of another cluster";
  request.set_trace_ids(0, "t1");
  request.set_trace_ids(1, "t22");
  EXPECT_EQ(Refused(request, kState), "trace_ids[1]") << "of no cluster";
  request.set_trace_ids(1, "none");
  EXPECT_EQ(Refused(request, grpc::StatusCode::NOT_FOUND), "trace_ids[1]");

  request = MakeRequest(ClusterReview::DECISION_SPLIT, "b");
  request.add_sub_modes(1);
  EXPECT_EQ(Refused(request, kState), "sub_modes") << "it has no parts";
  request = MakeRequest(ClusterReview::DECISION_SPLIT, "a");
  for (int run = 12; run < 23; ++run) {
    request.add_trace_ids(absl::StrCat("t", run));
  }
  EXPECT_EQ(Refused(request, kState), "trace_ids[8]") << "no member";
}

// The whole server, with its slow loop, on disk.
class LineageTest : public ::testing::Test {
 protected:
  LineageTest() {
    config_.set_data_dir(dir_.path() + "/data");
    config_.set_listen_address("127.0.0.1:0");
    config_.mutable_default_project()->mutable_tick_interval();
    EXPECT_OK(server::CompleteServerConfig(&config_));
  }

  void Start() {
    app_.reset();
    ASSERT_OK_AND_ASSIGN(app_, server::App::Create(config_, &clock_));
    ASSERT_OK(app_->Start());
    const auto channel = grpc::CreateChannel(
        app_->address(), grpc::InsecureChannelCredentials());
    ingest_ = v1::TraceIngestService::NewStub(channel);
    admin_ = v1::AdminService::NewStub(channel);
    clusters_ = v1::ClusterService::NewStub(channel);
  }

  // Runs that pass, and two kinds that fail; no two are alike.
  void Ingest(const std::string& prefix) {
    v1::IngestTracesRequest request;
    request.set_parent("projects/p");
    for (int i = 0; i < 450; ++i) {
      const std::string id = absl::StrCat(prefix, i);
      v1::Trace trace = MakeTrace(
          id, "search", i % 3 == 0 ? v1::OUTCOME_PASS : v1::OUTCOME_FAIL);
      for (int s = 0; s < 3 && i % 3 != 0; ++s) {
        v1::Step& step = *trace.add_steps();
        step.set_kind(v1::Step::KIND_TOOL);
        step.set_name(i % 3 == 1 ? absl::StrCat("loop-", s)
                                 : absl::StrCat("stale-", s));
      }
      for (int bit = 0; bit < 9; ++bit) {
        v1::Step& step = *trace.add_steps();
        const bool tool = (i >> bit) % 2 == 1;
        step.set_kind(tool ? v1::Step::KIND_TOOL : v1::Step::KIND_LLM);
        if (tool) step.set_name(std::string("other-") + "abcdefghi"[bit]);
      }
      *request.add_traces() = std::move(trace);
    }
    grpc::ClientContext call;
    v1::IngestTracesResponse response;
    ASSERT_TRUE(ingest_->IngestTraces(&call, request, &response).ok());
  }

  void Tick() {
    grpc::ClientContext call;
    v1::TriggerTickRequest request;
    request.set_parent("projects/p");
    v1::TriggerTickResponse response;
    ASSERT_TRUE(admin_->TriggerTick(&call, request, &response).ok());
  }

  std::vector<v1::Cluster> Clusters() {
    grpc::ClientContext call;
    v1::ListClustersRequest request;
    request.set_parent("projects/p");
    v1::ListClustersResponse response;
    EXPECT_TRUE(clusters_->ListClusters(&call, request, &response).ok());
    return {response.clusters().begin(), response.clusters().end()};
  }
  v1::Cluster Get(const std::string& id) {
    grpc::ClientContext call;
    v1::GetClusterRequest request;
    request.set_name("projects/p/clusters/" + id);
    v1::GetClusterResponse response;
    EXPECT_TRUE(clusters_->GetCluster(&call, request, &response).ok());
    return response.cluster();
  }
  void Review(const v1::ReviewClusterRequest& request) {
    grpc::ClientContext call;
    v1::ReviewClusterResponse response;
    const grpc::Status status =
        clusters_->ReviewCluster(&call, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  // All pages.
  std::vector<LineageEvent> Lineage(v1::ListLineageRequest request) {
    request.set_parent("projects/p");
    std::vector<LineageEvent> events;
    do {
      grpc::ClientContext call;
      v1::ListLineageResponse response;
      const grpc::Status status =
          clusters_->ListLineage(&call, request, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_LE(response.events_size(),
                request.page_size() == 0 ? 100 : request.page_size());
      for (const LineageEvent& event : response.events()) {
        events.push_back(event);
      }
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return events;
  }

  testing::TempDir dir_;
  fakes::FakeClock clock_;
  v1::ServerConfig config_;
  std::unique_ptr<server::App> app_;
  std::unique_ptr<v1::TraceIngestService::Stub> ingest_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
  std::unique_ptr<v1::ClusterService::Stub> clusters_;
};

// Positions of the map by trace id.
std::map<std::string, std::pair<double, double>> PositionsOf(
    const v1::GetMapResponse& map) {
  std::map<std::string, std::pair<double, double>> positions;
  for (const auto& point : map.points()) {
    positions[point.trace_id()] = {point.x(), point.y()};
  }
  return positions;
}

class LookingTest : public LineageTest {
 protected:
  v1::GetMapResponse GetMap(int max_points = 0) {
    grpc::ClientContext call;
    v1::GetMapRequest request;
    request.set_parent("projects/p");
    request.set_max_points(max_points);
    v1::GetMapResponse response;
    const grpc::Status status = Behavior()->GetMap(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  v1::LocateTraceResponse Locate(const std::string& id) {
    grpc::ClientContext call;
    v1::LocateTraceRequest request;
    request.set_name("projects/p/traces/" + id);
    v1::LocateTraceResponse response;
    const grpc::Status status =
        Behavior()->LocateTrace(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  v1::Novelty GetNovelty() {
    grpc::ClientContext call;
    v1::GetStatusResponse response;
    EXPECT_TRUE(admin_->GetStatus(&call, {}, &response).ok());
    return response.projects(0).novelty();
  }

  std::unique_ptr<v1::BehaviorService::Stub> Behavior() {
    return v1::BehaviorService::NewStub(grpc::CreateChannel(
        app_->address(), grpc::InsecureChannelCredentials()));
  }
};

TEST_F(LookingTest, TheMapStaysOverTicksAndRestarts) {
  Start();
  Ingest("first");
  EXPECT_THAT(GetMap().points(), IsEmpty());
  Tick();
  const v1::GetMapResponse first = GetMap();
  EXPECT_GT(first.points_size(), 100);
  EXPECT_EQ(first.runs(), 450);
  ASSERT_GE(first.areas_size(), 2);
  EXPECT_GE(first.areas(0).size(), first.areas(1).size());
  EXPECT_GT(first.shown_scatter(), .5);
  bool failed = false;
  for (const auto& point : first.points()) {
    EXPECT_TRUE(!failed || point.outcome() != v1::OUTCOME_PASS);
    failed |= point.outcome() == v1::OUTCOME_FAIL;
  }
  Start();
  EXPECT_EQ(GetMap().SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(GetMap(10).points_size(), 10);

  Ingest("second");
  Tick();
  const v1::GetMapResponse second = GetMap();
  EXPECT_EQ(second.axes_tick(), 1);
  const auto before = PositionsOf(first);
  for (const auto& [id, position] : PositionsOf(second)) {
    const auto old = before.find(id);
    if (old == before.end()) continue;
    EXPECT_NEAR(position.first, old->second.first, .05) << id;
    EXPECT_NEAR(position.second, old->second.second, .05) << id;
  }

  grpc::ClientContext call;
  v1::GetMapRequest request;
  request.set_parent("projects/p");
  request.set_max_points(2001);
  v1::GetMapResponse response;
  EXPECT_EQ(Behavior()->GetMap(&call, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(TrailingDetail(call)->field(), "max_points");
}

TEST_F(LookingTest, ARunThatIsLikeNothingKnownIsNovelAndCounted) {
  Start();
  Ingest("first");
  EXPECT_FALSE(Locate("first1").has_novelty());
  Tick();
  ASSERT_GE(Clusters().size(), 2U);
  EXPECT_EQ(GetNovelty().failures(), 300);
  EXPECT_EQ(GetNovelty().compared(), 0);

  // A few more of the old kinds, and one kind that nobody has seen.
  v1::IngestTracesRequest request;
  request.set_parent("projects/p");
  for (int i = 0; i < 30; ++i) {
    v1::Trace trace =
        MakeTrace(absl::StrCat("strange", i), "teleport", v1::OUTCOME_FAIL);
    for (int s = 0; s < 6; ++s) {
      v1::Step& step = *trace.add_steps();
      step.set_kind(v1::Step::KIND_TOOL);
      step.set_name(absl::StrCat("beam-", (i + s) % 4));
    }
    *request.add_traces() = std::move(trace);
  }
  grpc::ClientContext call;
  v1::IngestTracesResponse response;
  ASSERT_TRUE(ingest_->IngestTraces(&call, request, &response).ok());
  const v1::LocateTraceResponse strange = Locate("strange0");
  EXPECT_GT(strange.novelty(), 1);
  EXPECT_EQ(strange.cluster(), "");
  EXPECT_EQ(strange.tick(), 1);
  EXPECT_EQ(strange.modes_size(), static_cast<int>(Clusters().size()));
  const std::string known = Clusters()[0].medoid();
  EXPECT_LT(Locate(known).novelty(), strange.novelty());
  EXPECT_EQ(Locate(known).modes(0).cluster(), Locate(known).cluster());

  Tick();
  const v1::Novelty novelty = GetNovelty();
  EXPECT_EQ(novelty.failures(), 30);
  EXPECT_EQ(novelty.compared(), 30);
  EXPECT_EQ(novelty.emerging(), 30);
  EXPECT_LT(novelty.p_value(), .001);
}

TEST_F(LookingTest, AClusterIsReadFromItsMiddleItsEdgeAndWhatWentRight) {
  using Member = v1::ListMembersResponse::Member;
  Start();
  Ingest("first");
  Tick();
  ASSERT_FALSE(Clusters().empty());
  const v1::Cluster cluster = Clusters()[0];
  grpc::ClientContext call;
  v1::ListMembersRequest request;
  request.set_parent(cluster.name());
  request.set_page_size(1000);
  for (const auto role : {Member::ROLE_MEDOID, Member::ROLE_NEAREST_SUCCESS,
                          Member::ROLE_MEMBER}) {
    request.add_roles(role);
  }
  v1::ListMembersResponse response;
  ASSERT_TRUE(clusters_->ListMembers(&call, request, &response).ok());
  ASSERT_GT(response.members_size(), 11);
  EXPECT_EQ(response.members(0).trace().trace_id(), cluster.medoid());
  EXPECT_NEAR(response.members(0).distance(), 0, 1e-6);
  for (int i = 1; i <= 10; ++i) {
    EXPECT_EQ(response.members(i).role(), Member::ROLE_NEAREST_SUCCESS);
    EXPECT_EQ(response.members(i).outcome(), v1::OUTCOME_PASS);
    EXPECT_GE(response.members(i).distance(),
              i > 1 ? response.members(i - 1).distance() : 0);
  }
  EXPECT_EQ(response.members(11).role(), Member::ROLE_MEMBER);
}

TEST_F(LineageTest, DecisionsHoldOverTicksAndRestarts) {
  Start();
  Ingest("first");
  Tick();
  const std::vector<v1::Cluster> found = Clusters();
  ASSERT_GE(found.size(), 2U);
  const std::string rejected = found[0].cluster_id();
  const std::string labelled = found[1].cluster_id();
  Review(MakeRequest(ClusterReview::DECISION_REJECT, rejected));
  auto label = MakeRequest(ClusterReview::DECISION_LABEL, labelled);
  label.set_label("goes round in circles");
  Review(label);
  for (const char* prefix : {"second", "third"}) {
    Ingest(prefix);
    Tick();
    Start();
    EXPECT_EQ(Get(rejected).status(), v1::Cluster::STATUS_RETIRED);
    EXPECT_EQ(Get(rejected).status_reason(), "ann rejected it: seen it");
    EXPECT_EQ(Get(labelled).title(), "goes round in circles");
    for (const v1::Cluster& cluster : Clusters()) {
      EXPECT_NE(cluster.cluster_id(), rejected) << "retired ones are not shown";
    }
  }
  const v1::Cluster cluster = Get(rejected);
  EXPECT_GT(cluster.ticks_seen(), 2U) << "it is found again all the same";
  ASSERT_THAT(cluster.reviews(), SizeIs(1));
  EXPECT_EQ(cluster.reviews(0).reviewer(), "ann");
}

TEST_F(LineageTest, TheIdOfAMergedClusterLeadsToItsNewOne) {
  Start();
  Ingest("first");
  Tick();
  const std::vector<v1::Cluster> found = Clusters();
  ASSERT_GE(found.size(), 2U);
  auto merge =
      MakeRequest(ClusterReview::DECISION_MERGE, found[1].cluster_id());
  merge.add_others(found[0].name());
  Review(merge);
  Tick();
  const v1::Cluster merged = Get(found[0].cluster_id());
  EXPECT_EQ(merged.cluster_id(), found[1].cluster_id());
  // And with it what of the other view was mostly part of the two.
  EXPECT_THAT(merged.aliases(), Contains(found[0].cluster_id()));
  EXPECT_GE(merged.size(), found[0].size() + found[1].size());
}

TEST_F(LineageTest, EventsArePagedLatestFirstAndFiltered) {
  Start();
  Ingest("first");
  Tick();
  const std::vector<v1::Cluster> found = Clusters();
  ASSERT_GE(found.size(), 2U);
  Ingest("second");
  Tick();
  const std::vector<LineageEvent> all = Lineage({});
  ASSERT_GE(all.size(), 2 * found.size());
  std::set<std::string> seen;
  for (size_t e = 0; e < all.size(); ++e) {
    if (e > 0) {
      EXPECT_LE(all[e].tick(), all[e - 1].tick());
    }
    EXPECT_TRUE(seen.insert(all[e].SerializeAsString()).second) << "twice";
  }
  EXPECT_EQ(all.back().kind(), LineageEvent::KIND_BORN);

  v1::ListLineageRequest request;
  request.set_page_size(1);
  EXPECT_EQ(Lineage(request).size(), all.size());
  request.add_kinds(LineageEvent::KIND_SURVIVED);
  for (const LineageEvent& event : Lineage(request)) {
    EXPECT_EQ(event.kind(), LineageEvent::KIND_SURVIVED);
    EXPECT_GE(event.overlap(), .3);
  }
  request.clear_kinds();
  request.set_cluster(found[0].name());
  const std::vector<LineageEvent> of_one = Lineage(request);
  ASSERT_THAT(of_one, SizeIs(2));
  EXPECT_EQ(of_one[0].kind(), LineageEvent::KIND_SURVIVED);
  EXPECT_EQ(of_one[0].cluster_id(), found[0].cluster_id());
  request.set_cluster("projects/p/clusters/none");
  EXPECT_THAT(Lineage(request), IsEmpty());

  grpc::ClientContext call;
  v1::ListLineageResponse response;
  request.set_parent("projects/p");
  request.set_cluster("projects/q/clusters/c");
  EXPECT_EQ(clusters_->ListLineage(&call, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace faultline::integration
