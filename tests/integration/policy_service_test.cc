#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "tests/integration/service_fixture.h"

namespace faultline::integration {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

using Watch = std::unique_ptr<
    grpc::ClientReaderWriter<v1::WatchPolicyRequest, v1::WatchPolicyResponse>>;

// One rule: runs of task type `type` go to model m2.
v1::Policy MakePolicy(const std::string& type) {
  v1::Policy policy;
  v1::Rule& rule = *policy.add_rules();
  rule.set_intervention_id("i-" + type);
  rule.set_kind(v1::INTERVENTION_KIND_ROUTING_POLICY);
  v1::Comparison& match = *rule.mutable_match()->mutable_comparison();
  match.set_field("task.type");
  match.set_op(v1::Comparison::OPERATOR_EQUAL);
  match.set_text(type);
  auto& candidate =
      *rule.mutable_action()->mutable_routing_policy()->add_candidates();
  candidate.set_name("m2");
  candidate.set_weight(1);
  rule.set_treatment_probability(0.5);
  rule.set_salt("salt");
  return policy;
}

class PolicyServiceTest : public ServiceTest {
 protected:
  PolicyServiceTest() : stub_(v1::PolicyService::NewStub(channel())) {}

  grpc::Status Poll(uint64_t known, uint64_t version,
                    v1::GetPolicyResponse* response,
                    const std::string& router = "") {
    grpc::ClientContext call;
    v1::GetPolicyRequest request;
    request.set_parent("projects/p");
    request.set_known_version(known);
    request.set_version(version);
    request.set_router_id(router);
    return stub_->GetPolicy(&call, request, response);
  }

  Watch StartWatch(grpc::ClientContext* call, const std::string& router,
                   uint64_t applied = 0) {
    Watch watch = stub_->WatchPolicy(call);
    v1::WatchPolicyRequest request;
    request.set_parent("projects/p");
    request.set_router_id(router);
    request.set_applied_version(applied);
    watch->Write(request);
    return watch;
  }

  void Answer(Watch& watch, const std::string& nonce, uint64_t applied,
              const std::string& nack = "") {
    v1::WatchPolicyRequest request;
    request.set_nonce(nonce);
    request.set_applied_version(applied);
    request.set_nack_reason(nack);
    ASSERT_TRUE(watch->Write(request));
  }

  // What the server knows of a router, once `until` holds of it.
  template <typename Predicate>
  v1::Router RouterWhen(const std::string& id, const Predicate& until) {
    for (int i = 0; i < 10000; ++i) {
      grpc::ClientContext call;
      v1::ListRoutersRequest request;
      request.set_parent("projects/p");
      v1::ListRoutersResponse response;
      EXPECT_TRUE(stub_->ListRouters(&call, request, &response).ok());
      for (const v1::Router& router : response.routers()) {
        if (router.router_id() == id && until(router)) return router;
      }
    }
    ADD_FAILURE() << "router " << id << " never got there";
    return {};
  }

  std::unique_ptr<v1::PolicyService::Stub> stub_;
};

TEST_F(PolicyServiceTest, APollOfTheKnownVersionCarriesNoPolicy) {
  v1::GetPolicyResponse response;
  ASSERT_TRUE(Poll(0, 0, &response).ok());
  EXPECT_EQ(response.version(), 0);

  PublishPolicy(MakePolicy("qa"));
  ASSERT_TRUE(Poll(0, 0, &response).ok());
  EXPECT_EQ(response.version(), 1);
  EXPECT_THAT(response.policy().rules(), SizeIs(1));
  ASSERT_TRUE(Poll(1, 0, &response, "r").ok());
  EXPECT_EQ(response.version(), 1);
  EXPECT_FALSE(response.has_policy());
  const v1::Router router =
      RouterWhen("r", [](const v1::Router&) { return true; });
  EXPECT_EQ(router.applied_version(), 1);
  EXPECT_FALSE(router.watching());
}

TEST_F(PolicyServiceTest, APollMayRefuseThePolicyThatItGotLast) {
  PublishPolicy(MakePolicy("qa"));
  v1::GetPolicyRequest request;
  request.set_parent("projects/p");
  request.set_router_id("r");
  request.set_nack_reason("no route m2 here");
  v1::GetPolicyResponse response;
  grpc::ClientContext call;
  ASSERT_TRUE(stub_->GetPolicy(&call, request, &response).ok());
  const v1::Router refused =
      RouterWhen("r", [](const v1::Router&) { return true; });
  EXPECT_EQ(refused.nack_reason(), "no route m2 here");
  EXPECT_EQ(refused.version_skew(), 1);
}

TEST_F(PolicyServiceTest, AnOldVersionCanBeRead) {
  PublishPolicy(MakePolicy("qa"));
  PublishPolicy(MakePolicy("math"));
  v1::GetPolicyResponse response;
  ASSERT_TRUE(Poll(0, 1, &response).ok());
  EXPECT_EQ(response.version(), 1);
  EXPECT_EQ(response.policy().rules(0).intervention_id(), "i-qa");
  EXPECT_EQ(Poll(0, 7, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(PolicyServiceTest, AWatchGetsTheCurrentPolicyAndEachLaterOne) {
  PublishPolicy(MakePolicy("qa"));
  grpc::ClientContext call;
  Watch watch = StartWatch(&call, "r");
  v1::WatchPolicyResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.version(), 1);
  EXPECT_EQ(response.policy().version(), 1);
  const std::string first_nonce = response.nonce();
  Answer(watch, first_nonce, 1);
  RouterWhen("r", [](const v1::Router& r) {
    return r.watching() && r.applied_version() == 1 && r.sent_version() == 1;
  });

  PublishPolicy(MakePolicy("math"));
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.policy().version(), 2);
  EXPECT_NE(response.nonce(), first_nonce);
  Answer(watch, response.nonce(), 1, "no route m2 here");
  const v1::Router refused = RouterWhen(
      "r", [](const v1::Router& r) { return !r.nack_reason().empty(); });
  EXPECT_EQ(refused.applied_version(), 1);
  EXPECT_EQ(refused.sent_version(), 2);
  EXPECT_EQ(refused.version_skew(), 1);
  EXPECT_EQ(refused.nack_reason(), "no route m2 here");

  // An answer to the first response has nothing to say any more.
  Answer(watch, first_nonce, 2);
  Answer(watch, response.nonce(), 2);
  RouterWhen("r", [](const v1::Router& r) {
    return r.applied_version() == 2 && r.nack_reason().empty();
  });
  watch->WritesDone();
  EXPECT_TRUE(watch->Finish().ok());
  RouterWhen("r", [](const v1::Router& r) { return !r.watching(); });
}

TEST_F(PolicyServiceTest, AnAnswerWithAnOldNonceIsIgnored) {
  PublishPolicy(MakePolicy("qa"));
  grpc::ClientContext call;
  Watch watch = StartWatch(&call, "r");
  v1::WatchPolicyResponse first, second;
  ASSERT_TRUE(watch->Read(&first));
  PublishPolicy(MakePolicy("math"));
  ASSERT_TRUE(watch->Read(&second));
  Answer(watch, second.nonce(), 2);
  Answer(watch, first.nonce(), 1, "stale");
  // Too long: ends the call once everything before it has been read.
  Answer(watch, second.nonce(), 2, std::string(1025, 'x'));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const v1::Router router =
      RouterWhen("r", [](const v1::Router& r) { return !r.watching(); });
  EXPECT_EQ(router.applied_version(), 2);
  EXPECT_THAT(router.nack_reason(), IsEmpty());
}

TEST_F(PolicyServiceTest, AKeepAliveRepeatsTheNonceWithoutPolicy) {
  PublishPolicy(MakePolicy("qa"));
  grpc::ClientContext call;
  Watch watch = StartWatch(&call, "r");
  v1::WatchPolicyResponse first, second;
  ASSERT_TRUE(watch->Read(&first));
  streams_.KeepAliveAll();
  ASSERT_TRUE(watch->Read(&second));
  EXPECT_FALSE(second.has_policy());
  EXPECT_EQ(second.version(), 1);
  EXPECT_EQ(second.nonce(), first.nonce());
}

TEST_F(PolicyServiceTest, AWatchWithoutRouterIsInvalid) {
  grpc::ClientContext call;
  Watch watch = StartWatch(&call, "");
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(TrailingDetail(call).has_value());
  EXPECT_EQ(TrailingDetail(call)->field(), "router_id");
}

TEST_F(PolicyServiceTest, DrainingEndsAWatch) {
  grpc::ClientContext call;
  Watch watch = StartWatch(&call, "r");
  v1::WatchPolicyResponse response;
  ASSERT_TRUE(watch->Read(&response));
  streams_.DrainAll();
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(PolicyServiceTest, RecommendsRulesAndTellsTheRiskNearby) {
  std::vector<v1::Trace> traces;
  for (int i = 0; i < 10; ++i) {
    traces.push_back(MakeTrace(absl::StrCat("f", i), "pay", v1::OUTCOME_FAIL));
    traces.push_back(MakeTrace(absl::StrCat("s", i), "pay", v1::OUTCOME_PASS));
    traces.push_back(MakeTrace(absl::StrCat("u", i), "pay"));
  }
  Store(std::move(traces));
  v1::TickState state;
  v1::ClusterMembers& members = *state.add_members();
  members.set_cluster_id("c1");
  members.add_sequences(1);
  Loop()->SetState(state);
  PublishPolicy(MakePolicy("qa"));

  v1::RecommendRequest request;
  request.set_parent("projects/p");
  *request.mutable_trace() = MakeTrace("new", "pay");
  request.mutable_trace()->mutable_task()->set_type("qa");
  grpc::ClientContext call;
  v1::RecommendResponse response;
  ASSERT_TRUE(stub_->Recommend(&call, request, &response).ok());
  EXPECT_EQ(response.policy_version(), 1);
  ASSERT_THAT(response.matches(), SizeIs(1));
  EXPECT_EQ(response.matches(0).rule().intervention_id(), "i-qa");
  ASSERT_THAT(response.exposure().interventions(), SizeIs(1));
  EXPECT_EQ(response.exposure().interventions(0).arm(),
            response.matches(0).arm());
  EXPECT_EQ(response.neighbors(), 20);
  EXPECT_DOUBLE_EQ(response.risk(), 0.5);
  EXPECT_GT(response.risk_lower(), 0.2);
  EXPECT_LT(response.risk_upper(), 0.8);
  EXPECT_EQ(response.nearest_cluster(), "projects/p/clusters/c1");
}

TEST_F(PolicyServiceTest, RecommendNeedsAKey) {
  v1::RecommendRequest request;
  request.set_parent("projects/p");
  grpc::ClientContext call;
  v1::RecommendResponse response;
  EXPECT_EQ(stub_->Recommend(&call, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(TrailingDetail(call)->field(), "assignment_key");
}

TEST_F(PolicyServiceTest, MemoriesDrawTheArmsOfTheirChanges) {
  v1::Policy policy = MakePolicy("qa");
  policy.mutable_rules(0)
      ->mutable_action()
      ->mutable_memory_schema()
      ->set_refuse_conflicting_writes(true);
  PublishPolicy(policy);
  v1::RecommendRequest request;
  request.set_parent("projects/p");
  *request.mutable_trace() = MakeTrace("new", "pay");
  request.mutable_trace()->mutable_task()->set_type("qa");
  request.set_memory_key("shop");
  {
    grpc::ClientContext call;
    v1::RecommendResponse response;
    ASSERT_TRUE(stub_->Recommend(&call, request, &response).ok());
    ASSERT_THAT(response.exposure().interventions(), SizeIs(1));
    EXPECT_EQ(response.exposure().interventions(0).assignment_key(), "shop");
  }
  request.set_memory_key(std::string(257, 'x'));
  grpc::ClientContext call;
  v1::RecommendResponse response;
  EXPECT_EQ(stub_->Recommend(&call, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(TrailingDetail(call)->field(), "memory_key");
}

TEST_F(PolicyServiceTest, VersionsArePaged) {
  for (int i = 0; i < 5; ++i) PublishPolicy(MakePolicy(absl::StrCat("t", i)));
  v1::ListPolicyVersionsRequest request;
  request.set_parent("projects/p");
  request.set_page_size(2);
  std::vector<uint64_t> versions;
  do {
    grpc::ClientContext call;
    v1::ListPolicyVersionsResponse response;
    ASSERT_TRUE(stub_->ListPolicyVersions(&call, request, &response).ok());
    EXPECT_LE(response.policies_size(), 2);
    for (const v1::Policy& policy : response.policies()) {
      versions.push_back(policy.version());
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(versions, ::testing::ElementsAre(5, 4, 3, 2, 1));
}

TEST_F(PolicyServiceTest, ATokenOfAnotherListIsRefused) {
  for (int i = 0; i < 3; ++i) PublishPolicy(MakePolicy(absl::StrCat("t", i)));
  v1::ListPolicyVersionsRequest request;
  request.set_parent("projects/p");
  request.set_page_size(1);
  v1::ListPolicyVersionsResponse response;
  {
    grpc::ClientContext call;
    ASSERT_TRUE(stub_->ListPolicyVersions(&call, request, &response).ok());
  }
  for (const std::string& token :
       {response.next_page_token() + "x", std::string("7")}) {
    grpc::ClientContext call;
    request.set_page_token(token);
    EXPECT_EQ(stub_->ListPolicyVersions(&call, request, &response).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(TrailingDetail(call)->field(), "page_token");
  }
  grpc::ClientContext call;
  request.set_parent("projects/other");
  request.set_page_token(response.next_page_token());
  EXPECT_EQ(stub_->ListPolicyVersions(&call, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace faultline::integration
