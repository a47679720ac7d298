#include "client/sdk/grpc_connection.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <optional>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/sdk/router_client.h"
#include "client/sdk/trace_client.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "tests/support/status_matchers.h"

namespace faultline::sdk {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

grpc::Status Refuse(grpc::ServerContext* context) {
  v1::ErrorDetail detail = base::MakeErrorDetail(
      v1::ErrorDetail::REASON_OVERLOADED, "traces", "", "try later");
  detail.mutable_retry_delay()->set_seconds(7);
  context->AddTrailingMetadata("faultline-error-detail-bin",
                               detail.SerializeAsString());
  return {grpc::StatusCode::UNAVAILABLE, "busy"};
}

// Settles what it gets.
class IngestService : public v1::TraceIngestService::Service {
 public:
  grpc::Status StreamTraces(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::StreamTracesResponse,
                               v1::StreamTracesRequest>* stream) override {
    v1::StreamTracesRequest request;
    v1::StreamTracesResponse response;
    response.set_window(64);
    while (stream->Read(&request)) {
      response.set_settled(response.settled() + request.traces_size());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status RecordOutcomes(grpc::ServerContext* context,
                              const v1::RecordOutcomesRequest*,
                              v1::RecordOutcomesResponse*) override {
    return Refuse(context);
  }
};

// Serves version 1, and hangs up on who asks for a policy by poll.
class PolicyService : public v1::PolicyService::Service {
 public:
  grpc::Status WatchPolicy(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::WatchPolicyResponse, v1::WatchPolicyRequest>*
          stream) override {
    v1::WatchPolicyRequest request;
    v1::WatchPolicyResponse response;
    response.mutable_policy()->set_version(1);
    response.set_version(1);
    response.set_nonce("n");
    while (stream->Read(&request)) {
      if (request.nonce().empty()) stream->Write(response);
    }
    return grpc::Status::OK;
  }
};

class GrpcConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(0); }
  void TearDown() override { StopServer(); }

  void Start(int port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port),
                             grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&ingest_);
    builder.RegisterService(&policy_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    connection_ = MakeGrpcConnection(
        MakeInsecureChannel(absl::StrCat("127.0.0.1:", port_)));
  }

  void StopServer() {
    if (server_ == nullptr) return;
    server_->Shutdown(gpr_time_0(GPR_CLOCK_REALTIME));
    server_->Wait();
    server_.reset();
  }

  IngestService ingest_;
  PolicyService policy_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<Connection> connection_;
};

TEST_F(GrpcConnectionTest, ErrorsCarryTheServersDetail) {
  const auto response = connection_->RecordOutcomes({}, absl::Minutes(1));
  EXPECT_THAT(response,
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("try later")));
  const std::optional<v1::ErrorDetail> detail =
      base::GetErrorDetail(response.status());
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field(), "traces");
  EXPECT_EQ(detail->retry_delay().seconds(), 7);
}

TEST_F(GrpcConnectionTest, AnErrorWithoutDetailKeepsCodeAndMessage) {
  EXPECT_FALSE(connection_->GetPolicy({}, absl::Minutes(1)).ok());
  EXPECT_TRUE(absl::IsUnimplemented(
      connection_->GetPolicy({}, absl::Minutes(1)).status()));
}

TEST_F(GrpcConnectionTest, TracesTravelAndTheStreamEndsInOrder) {
  TraceClient::Options options;
  options.project = "shop";
  ASSERT_OK_AND_ASSIGN(
      const auto client,
      TraceClient::Create(options, connection_, base::Clock::System()));
  for (int i = 0; i < 300; ++i) {
    v1::Trace trace;
    trace.set_trace_id(absl::StrCat("t", i));
    ASSERT_OK(client->Send(trace));
  }
  EXPECT_OK(client->Shutdown(absl::Minutes(1)));
  EXPECT_EQ(client->statistics().settled, 300);
  EXPECT_EQ(client->statistics().streams, 1);
}

TEST_F(GrpcConnectionTest, TracesSurviveARestartOfTheServer) {
  TraceClient::Options options;
  options.project = "shop";
  options.retry.initial_delay = absl::Milliseconds(1);
  options.retry.max_delay = absl::Milliseconds(10);
  ASSERT_OK_AND_ASSIGN(
      const auto client,
      TraceClient::Create(options, connection_, base::Clock::System()));
  v1::Trace trace;
  trace.set_trace_id("before");
  ASSERT_OK(client->Send(trace));
  ASSERT_OK(client->Flush(absl::Minutes(1)));
  StopServer();
  trace.set_trace_id("between");
  ASSERT_OK(client->Send(trace));
  Start(port_);
  EXPECT_OK(client->Shutdown(absl::Minutes(1)));
  EXPECT_EQ(client->statistics().settled, 2);
}

TEST_F(GrpcConnectionTest, AWatchBringsThePolicyAndEndsOnShutdown) {
  RouterClient::Options options;
  options.project = "shop";
  options.router_id = "r";
  ASSERT_OK_AND_ASSIGN(
      const auto router,
      RouterClient::Create(options, connection_, base::Clock::System()));
  EXPECT_OK(router->WaitForVersion(1, absl::Minutes(1)));
  router->Shutdown();
  EXPECT_EQ(router->statistics().applied_version, 1);
}

TEST_F(GrpcConnectionTest, CancelUnblocksAReader) {
  const auto stream = connection_->WatchPolicy();
  v1::WatchPolicyRequest request;
  request.set_nonce("none");  // gets no answer
  ASSERT_TRUE(stream->Write(request));
  std::thread canceller([&] { stream->Cancel(); });
  v1::WatchPolicyResponse response;
  EXPECT_FALSE(stream->Read(&response));
  canceller.join();
  EXPECT_TRUE(absl::IsCancelled(stream->Finish()));
}

TEST_F(GrpcConnectionTest, AServerThatIsNotThereIsUnavailable) {
  StopServer();
  EXPECT_TRUE(absl::IsUnavailable(
      connection_->RecordOutcomes({}, absl::Minutes(1)).status()));
  const auto stream = connection_->StreamTraces();
  stream->Write({});
  v1::StreamTracesResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(absl::IsUnavailable(stream->Finish()));
}

}  // namespace
}  // namespace faultline::sdk
