#ifndef FAULTLINE_TESTS_UNIT_CLI_FAKE_SERVER_H_
#define FAULTLINE_TESTS_UNIT_CLI_FAKE_SERVER_H_

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "faultline/v1/evaluation_service.grpc.pb.h"
#include "faultline/v1/intervention_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace faultline::cli {

class FakeAdmin : public v1::AdminService::Service {
 public:
  MOCK_METHOD(grpc::Status, GetStatus,
              (grpc::ServerContext*, const v1::GetStatusRequest*,
               v1::GetStatusResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ListTicks,
              (grpc::ServerContext*, const v1::ListTicksRequest*,
               v1::ListTicksResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ReplayTicks,
              (grpc::ServerContext*, const v1::ReplayTicksRequest*,
               grpc::ServerWriter<v1::ReplayTicksResponse>*),
              (override));
  MOCK_METHOD(grpc::Status, GetConfig,
              (grpc::ServerContext*, const v1::GetConfigRequest*,
               v1::GetConfigResponse*),
              (override));
  MOCK_METHOD(grpc::Status, DeleteTraces,
              (grpc::ServerContext*, const v1::DeleteTracesRequest*,
               v1::DeleteTracesResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ListRejections,
              (grpc::ServerContext*, const v1::ListRejectionsRequest*,
               v1::ListRejectionsResponse*),
              (override));
  MOCK_METHOD(grpc::Status, UpdateConfig,
              (grpc::ServerContext*, const v1::UpdateConfigRequest*,
               v1::UpdateConfigResponse*),
              (override));
};

class FakeBehavior : public v1::BehaviorService::Service {
 public:
  MOCK_METHOD(grpc::Status, GetTrace,
              (grpc::ServerContext*, const v1::GetTraceRequest*,
               v1::GetTraceResponse*),
              (override));
  MOCK_METHOD(grpc::Status, LocateTrace,
              (grpc::ServerContext*, const v1::LocateTraceRequest*,
               v1::LocateTraceResponse*),
              (override));
  MOCK_METHOD(grpc::Status, GetMap,
              (grpc::ServerContext*, const v1::GetMapRequest*,
               v1::GetMapResponse*),
              (override));
};

class FakeClusters : public v1::ClusterService::Service {
 public:
  MOCK_METHOD(grpc::Status, ListClusters,
              (grpc::ServerContext*, const v1::ListClustersRequest*,
               v1::ListClustersResponse*),
              (override));
  MOCK_METHOD(grpc::Status, GetCluster,
              (grpc::ServerContext*, const v1::GetClusterRequest*,
               v1::GetClusterResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ListMembers,
              (grpc::ServerContext*, const v1::ListMembersRequest*,
               v1::ListMembersResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ListLineage,
              (grpc::ServerContext*, const v1::ListLineageRequest*,
               v1::ListLineageResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ReviewCluster,
              (grpc::ServerContext*, const v1::ReviewClusterRequest*,
               v1::ReviewClusterResponse*),
              (override));
};

class FakeInterventions : public v1::InterventionService::Service {
 public:
  MOCK_METHOD(grpc::Status, ListInterventions,
              (grpc::ServerContext*, const v1::ListInterventionsRequest*,
               v1::ListInterventionsResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ReviewIntervention,
              (grpc::ServerContext*, const v1::ReviewInterventionRequest*,
               v1::ReviewInterventionResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ExplainPolicy,
              (grpc::ServerContext*, const v1::ExplainPolicyRequest*,
               v1::ExplainPolicyResponse*),
              (override));
};

class FakeEvaluation : public v1::EvaluationService::Service {
 public:
  MOCK_METHOD(grpc::Status, GetSliceMetrics,
              (grpc::ServerContext*, const v1::GetSliceMetricsRequest*,
               v1::GetSliceMetricsResponse*),
              (override));
  MOCK_METHOD(grpc::Status, EvaluatePolicyOffline,
              (grpc::ServerContext*, const v1::EvaluatePolicyOfflineRequest*,
               v1::EvaluatePolicyOfflineResponse*),
              (override));
  MOCK_METHOD(grpc::Status, ExportBenchmark,
              (grpc::ServerContext*, const v1::ExportBenchmarkRequest*,
               grpc::ServerWriter<v1::ExportBenchmarkResponse>*),
              (override));
  MOCK_METHOD(grpc::Status, GetChainReport,
              (grpc::ServerContext*, const v1::GetChainReportRequest*,
               v1::GetChainReportResponse*),
              (override));
};

using WatchStream =
    grpc::ServerReaderWriter<v1::WatchPolicyResponse, v1::WatchPolicyRequest>;

class FakePolicies : public v1::PolicyService::Service {
 public:
  MOCK_METHOD(grpc::Status, GetPolicy,
              (grpc::ServerContext*, const v1::GetPolicyRequest*,
               v1::GetPolicyResponse*),
              (override));
  MOCK_METHOD(grpc::Status, DiffPolicies,
              (grpc::ServerContext*, const v1::DiffPoliciesRequest*,
               v1::DiffPoliciesResponse*),
              (override));
  MOCK_METHOD(grpc::Status, WatchPolicy, (grpc::ServerContext*, WatchStream*),
              (override));
};

// A gRPC server on a free port of the loopback whose answers tests choose. Its
// mocks are called on gRPC's threads: set them before the call.
class FakeServer {
 public:
  FakeServer() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&admin);
    builder.RegisterService(&behavior);
    builder.RegisterService(&clusters);
    builder.RegisterService(&evaluation);
    builder.RegisterService(&interventions);
    builder.RegisterService(&policies);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  const std::string& address() const { return address_; }

  ::testing::StrictMock<FakeAdmin> admin;
  ::testing::StrictMock<FakeBehavior> behavior;
  ::testing::StrictMock<FakeClusters> clusters;
  ::testing::StrictMock<FakeEvaluation> evaluation;
  ::testing::StrictMock<FakeInterventions> interventions;
  ::testing::StrictMock<FakePolicies> policies;

 private:
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_TESTS_UNIT_CLI_FAKE_SERVER_H_
