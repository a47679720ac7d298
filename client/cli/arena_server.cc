#include "client/cli/arena_server.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/cli/settings.h"
#include "client/sdk/grpc_connection.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/intervention_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"

namespace faultline::cli {
namespace {

constexpr absl::Duration kContactTimeout = absl::Seconds(10);
constexpr absl::Duration kTickTimeout = absl::Minutes(10);
constexpr absl::Duration kFlushTimeout = absl::Minutes(5);
// Open interventions that one tick can leave.
constexpr int kMaxProposed = 1000;
constexpr char kReviewer[] = "arena";

}  // namespace

struct ArenaServer::Rejections {
  absl::Mutex mutex;
  int count ABSL_GUARDED_BY(mutex) = 0;
  v1::Rejection first ABSL_GUARDED_BY(mutex);
};

ArenaServer::ArenaServer(Session* session, std::string parent)
    : session_(session),
      parent_(std::move(parent)),
      rejections_(std::make_shared<Rejections>()) {}

absl::StatusOr<std::unique_ptr<ArenaServer>> ArenaServer::Create(
    Session* session, const std::string& project,
    const std::vector<std::string>& settings) {
  std::unique_ptr<ArenaServer> server(
      new ArenaServer(session, absl::StrCat("projects/", project)));
  FAULTLINE_RETURN_IF_ERROR(server->Configure(settings));

  const base::Clock* clock = session->environment().clock;
  const std::shared_ptr<sdk::Connection> connection =
      sdk::MakeGrpcConnection(session->channel());
  sdk::TraceClient::Options traces;
  traces.project = project;
  traces.on_rejected = [rejections =
                            server->rejections_](const v1::Rejection& it) {
    absl::MutexLock lock(&rejections->mutex);
    if (rejections->count++ == 0) rejections->first = it;
  };
  FAULTLINE_ASSIGN_OR_RETURN(
      server->traces_, sdk::TraceClient::Create(traces, connection, clock));
  sdk::RouterClient::Options router;
  router.project = project;
  router.router_id = "faultlinectl-arena";
  FAULTLINE_ASSIGN_OR_RETURN(
      server->router_, sdk::RouterClient::Create(router, connection, clock));
  FAULTLINE_RETURN_IF_ERROR(
      server->router_->WaitForVersion(0, kContactTimeout));
  return server;
}

absl::Status ArenaServer::Configure(const std::vector<std::string>& settings) {
  FAULTLINE_ASSIGN_OR_RETURN(const auto status,
                             session_->Call(&v1::AdminService::Stub::GetStatus,
                                            v1::GetStatusRequest()));
  for (const auto& project : status.projects()) {
    if (project.name() == parent_ && project.traces() > 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(parent_, " has ", project.traces(),
                       " runs already: name another one with --project"));
    }
  }
  v1::UpdateConfigRequest request;
  request.set_parent(parent_);
  for (const char* setting :
       {"auto_approve=routing_policy,bandit_weights", "tick_interval=0s"}) {
    FAULTLINE_RETURN_IF_ERROR(AddSetting(setting, &request));
  }
  for (const std::string& setting : settings) {
    FAULTLINE_RETURN_IF_ERROR(AddSetting(setting, &request));
  }
  return session_->Call(&v1::AdminService::Stub::UpdateConfig, request)
      .status();
}

absl::Status ArenaServer::Send(std::vector<v1::Trace> traces) {
  for (v1::Trace& trace : traces) {
    FAULTLINE_RETURN_IF_ERROR(traces_->Send(std::move(trace)));
  }
  FAULTLINE_RETURN_IF_ERROR(traces_->Flush(kFlushTimeout));
  absl::MutexLock lock(&rejections_->mutex);
  if (rejections_->count == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the server refused ", rejections_->count,
                   " traces, the first, ", rejections_->first.trace_id(),
                   ", because of ", rejections_->first.error().field(), ": ",
                   rejections_->first.error().message()));
}

absl::Status ArenaServer::RefuseWhatCannotBeReplayed() {
  v1::ListInterventionsRequest request;
  request.set_parent(parent_);
  request.add_statuses(v1::Intervention::STATUS_PROPOSED);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto proposed,
      session_->List(&v1::InterventionService::Stub::ListInterventions, request,
                     kMaxProposed,
                     [](auto* page) { return page->mutable_interventions(); }));
  for (const v1::Intervention& intervention : proposed.interventions()) {
    if (intervention.kind() == v1::INTERVENTION_KIND_ROUTING_POLICY ||
        intervention.kind() == v1::INTERVENTION_KIND_BANDIT_WEIGHTS) {
      continue;
    }
    v1::ReviewInterventionRequest review;
    review.set_name(intervention.name());
    review.set_decision(v1::InterventionReview::DECISION_REJECT);
    review.set_reviewer(kReviewer);
    review.set_reason("a recorded run cannot change");
    FAULTLINE_RETURN_IF_ERROR(
        session_
            ->Call(&v1::InterventionService::Stub::ReviewIntervention, review)
            .status());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Tick> ArenaServer::Tick() {
  FAULTLINE_RETURN_IF_ERROR(RefuseWhatCannotBeReplayed());
  v1::TriggerTickRequest request;
  request.set_parent(parent_);
  FAULTLINE_ASSIGN_OR_RETURN(
      v1::TriggerTickResponse response,
      session_->Call(&v1::AdminService::Stub::TriggerTick, request,
                     kTickTimeout));
  FAULTLINE_RETURN_IF_ERROR(router_->WaitForVersion(
      response.tick().policy_version(), kContactTimeout));
  return std::move(*response.mutable_tick());
}

sdk::Decision ArenaServer::Decide(const v1::Trace& context,
                                  absl::string_view assignment_key) {
  return router_->Decide(context, assignment_key);
}

absl::StatusOr<v1::RecommendResponse> ArenaServer::Recommend(
    const v1::Trace& partial) {
  v1::RecommendRequest request;
  request.set_parent(parent_);
  *request.mutable_trace() = partial;
  return session_->Call(&v1::PolicyService::Stub::Recommend, request);
}

}  // namespace faultline::cli
