#include "client/sdk/grpc_connection.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "absl/strings/string_view.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "lib/base/error_detail.h"

namespace faultline::sdk {
namespace {

constexpr char kErrorDetailTrailer[] = "faultline-error-detail-bin";
// A policy has at most 128 rules, a response at most 4096 rejections.
constexpr int kMaxResponseBytes = 16 << 20;
// gRPC servers cut clients off that ping more often without being asked.
constexpr int kKeepAliveMs = 300'000;
constexpr int kKeepAliveTimeoutMs = 20'000;

template <typename Request, typename Response>
class GrpcStream : public BidiStream<Request, Response> {
 public:
  // `start(context)` starts the call.
  template <typename Start>
  explicit GrpcStream(Start start) {
    // Without this the call is made at once, and blocks until there is a
    // connection. Now the first Write does.
    context_.set_initial_metadata_corked(true);
    stream_ = start(&context_);
  }

  bool Write(const Request& request) override {
    return stream_->Write(request);
  }
  void WritesDone() override { stream_->WritesDone(); }
  bool Read(Response* response) override { return stream_->Read(response); }
  void Cancel() override { context_.TryCancel(); }
  absl::Status Finish() override {
    return ToStatus(stream_->Finish(), context_);
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriterInterface<Request, Response>> stream_;
};

class GrpcConnection : public Connection {
 public:
  explicit GrpcConnection(const std::shared_ptr<grpc::Channel>& channel)
      : ingest_(v1::TraceIngestService::NewStub(channel)),
        policy_(v1::PolicyService::NewStub(channel)) {}

  std::unique_ptr<TraceStream> StreamTraces() override {
    return std::make_unique<
        GrpcStream<v1::StreamTracesRequest, v1::StreamTracesResponse>>(
        [this](grpc::ClientContext* context) {
          return ingest_->StreamTraces(context);
        });
  }

  std::unique_ptr<PolicyStream> WatchPolicy() override {
    return std::make_unique<
        GrpcStream<v1::WatchPolicyRequest, v1::WatchPolicyResponse>>(
        [this](grpc::ClientContext* context) {
          return policy_->WatchPolicy(context);
        });
  }

  absl::StatusOr<v1::RecordOutcomesResponse> RecordOutcomes(
      const v1::RecordOutcomesRequest& request,
      absl::Duration timeout) override {
    grpc::ClientContext context;
    SetTimeout(timeout, &context);
    v1::RecordOutcomesResponse response;
    const grpc::Status status =
        ingest_->RecordOutcomes(&context, request, &response);
    if (!status.ok()) return ToStatus(status, context);
    return response;
  }

  absl::StatusOr<v1::GetPolicyResponse> GetPolicy(
      const v1::GetPolicyRequest& request, absl::Duration timeout) override {
    grpc::ClientContext context;
    SetTimeout(timeout, &context);
    v1::GetPolicyResponse response;
    const grpc::Status status =
        policy_->GetPolicy(&context, request, &response);
    if (!status.ok()) return ToStatus(status, context);
    return response;
  }

 private:
  static void SetTimeout(absl::Duration timeout, grpc::ClientContext* context) {
    context->set_deadline(gpr_time_add(
        gpr_now(GPR_CLOCK_MONOTONIC),
        gpr_time_from_nanos(absl::ToInt64Nanoseconds(timeout), GPR_TIMESPAN)));
  }

  const std::unique_ptr<v1::TraceIngestService::Stub> ingest_;
  const std::unique_ptr<v1::PolicyService::Stub> policy_;
};

}  // namespace

absl::Status ToStatus(const grpc::Status& status,
                      const grpc::ClientContext& context) {
  if (status.ok()) return absl::OkStatus();
  // The codes of absl and gRPC are the same numbers.
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto trailer = trailers.find(kErrorDetailTrailer);
  v1::ErrorDetail detail;
  if (trailer == trailers.end() ||
      !detail.ParseFromArray(trailer->second.data(),
                             static_cast<int>(trailer->second.size()))) {
    return absl::Status(code, status.error_message());
  }
  return base::DetailedError(code, detail);
}

std::shared_ptr<grpc::Channel> MakeInsecureChannel(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxResponseBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
  // The clients wait between attempts themselves; gRPC's own back-off of up to
  // two minutes would come on top.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                   arguments);
}

std::shared_ptr<Connection> MakeGrpcConnection(
    const std::shared_ptr<grpc::Channel>& channel) {
  return std::make_shared<GrpcConnection>(channel);
}

}  // namespace faultline::sdk
