#include "client/lab/service_backend.h"

#include <chrono>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/sdk/grpc_connection.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "faultline/v1/intervention_service.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "lib/base/status_macros.h"

namespace faultline::lab {
namespace {

constexpr absl::Duration kContactTimeout = absl::Seconds(10);
// One page holds what a tick can leave; the lab reads no further.
constexpr int kPageSize = 1000;

// The policy that a RouterClient keeps. Thread-safe.
class RouterPolicy final : public PolicySource {
 public:
  explicit RouterPolicy(const sdk::RouterClient* router) : router_(router) {}

  Advice Decide(const v1::Trace& context,
                const policy::AssignmentKeys& keys) const override {
    sdk::Decision decision = router_->Decide(context, keys);
    Advice advice;
    advice.exposure = std::move(decision.exposure);
    for (const policy::RuleMatch& match : decision.matches) {
      advice.matches.push_back(
          {match.rule->intervention_id(), match.rule->action(), match.applies});
    }
    return advice;
  }

 private:
  const sdk::RouterClient* const router_;
};

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

}  // namespace

struct ServiceBackend::Rejections {
  absl::Mutex mutex;
  int count ABSL_GUARDED_BY(mutex) = 0;
  v1::Rejection first ABSL_GUARDED_BY(mutex);
};

ServiceBackend::ServiceBackend(const Options& options, const base::Clock* clock)
    : options_(options),
      clock_(clock),
      rejections_(std::make_shared<Rejections>()) {}

absl::StatusOr<std::unique_ptr<ServiceBackend>> ServiceBackend::Create(
    const Options& options, const base::Clock* clock) {
  std::unique_ptr<ServiceBackend> backend(new ServiceBackend(options, clock));
  backend->channel_ = sdk::MakeInsecureChannel(options.server);
  const std::shared_ptr<sdk::Connection> connection =
      sdk::MakeGrpcConnection(backend->channel_);

  sdk::TraceClient::Options traces;
  traces.project = options.project;
  traces.on_rejected = [rejections =
                            backend->rejections_](const v1::Rejection& it) {
    absl::MutexLock lock(&rejections->mutex);
    if (rejections->count++ == 0) rejections->first = it;
  };
  FAULTLINE_ASSIGN_OR_RETURN(
      backend->traces_, sdk::TraceClient::Create(traces, connection, clock));

  sdk::RouterClient::Options router;
  router.project = options.project;
  router.router_id = "faultline-lab";
  FAULTLINE_ASSIGN_OR_RETURN(
      backend->router_, sdk::RouterClient::Create(router, connection, clock));
  const absl::Status contact =
      backend->router_->WaitForVersion(0, kContactTimeout);
  if (!contact.ok()) {
    return absl::Status(contact.code(),
                        absl::StrCat("no contact to ", options.server, ": ",
                                     contact.message()));
  }
  backend->policy_ = std::make_unique<RouterPolicy>(backend->router_.get());
  return backend;
}

std::string ServiceBackend::Parent() const {
  return absl::StrCat("projects/", options_.project);
}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> ServiceBackend::Call(
    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                 Response*),
    const Request& request) const {
  Stub stub(channel_);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(clock_->Now() + options_.timeout));
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

absl::Status ServiceBackend::Configure(const v1::ProjectConfig& config) {
  v1::UpdateConfigRequest request;
  request.set_parent(Parent());
  *request.mutable_config() = config;
  return Call(&v1::AdminService::Stub::UpdateConfig, request).status();
}

absl::Status ServiceBackend::Send(std::vector<v1::Trace> traces) {
  for (v1::Trace& trace : traces) {
    FAULTLINE_RETURN_IF_ERROR(traces_->Send(std::move(trace)));
  }
  FAULTLINE_RETURN_IF_ERROR(traces_->Flush(options_.timeout));
  absl::MutexLock lock(&rejections_->mutex);
  if (rejections_->count == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the server refused ", rejections_->count,
                   " traces, the first, ", rejections_->first.trace_id(),
                   ", because of ", rejections_->first.error().field(), ": ",
                   rejections_->first.error().message()));
}

absl::StatusOr<v1::Tick> ServiceBackend::Tick() {
  v1::TriggerTickRequest request;
  request.set_parent(Parent());
  FAULTLINE_ASSIGN_OR_RETURN(
      v1::TriggerTickResponse response,
      Call(&v1::AdminService::Stub::TriggerTick, request));
  FAULTLINE_RETURN_IF_ERROR(router_->WaitForVersion(
      response.tick().policy_version(), options_.timeout));
  return std::move(*response.mutable_tick());
}

absl::StatusOr<std::vector<v1::Cluster>> ServiceBackend::Clusters() {
  v1::ListClustersRequest request;
  request.set_parent(Parent());
  request.set_page_size(kPageSize);
  FAULTLINE_ASSIGN_OR_RETURN(
      const v1::ListClustersResponse response,
      Call(&v1::ClusterService::Stub::ListClusters, request));
  return std::vector<v1::Cluster>(response.clusters().begin(),
                                  response.clusters().end());
}

absl::StatusOr<std::vector<std::string>> ServiceBackend::Members(
    const std::string& cluster) {
  v1::ListMembersRequest request;
  request.set_parent(cluster);
  request.set_page_size(kPageSize);
  request.add_roles(v1::ListMembersResponse::Member::ROLE_MEDOID);
  request.add_roles(v1::ListMembersResponse::Member::ROLE_EXEMPLAR);
  request.add_roles(v1::ListMembersResponse::Member::ROLE_MEMBER);
  std::vector<std::string> ids;
  do {
    FAULTLINE_ASSIGN_OR_RETURN(
        const v1::ListMembersResponse response,
        Call(&v1::ClusterService::Stub::ListMembers, request));
    for (const auto& member : response.members()) {
      ids.push_back(member.trace().trace_id());
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return ids;
}

absl::StatusOr<std::vector<v1::Intervention>> ServiceBackend::Interventions() {
  v1::ListInterventionsRequest request;
  request.set_parent(Parent());
  request.set_page_size(kPageSize);
  FAULTLINE_ASSIGN_OR_RETURN(
      const v1::ListInterventionsResponse response,
      Call(&v1::InterventionService::Stub::ListInterventions, request));
  return std::vector<v1::Intervention>(response.interventions().begin(),
                                       response.interventions().end());
}

}  // namespace faultline::lab
