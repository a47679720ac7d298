#include "server/intervention_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/intervention_service.grpc.pb.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "server/deferred_unary.h"
#include "server/page_token.h"
#include "server/policy_explainer.h"
#include "server/request_check.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using slowloop::TickSnapshot;

using v1::Intervention;
using v1::InterventionReview;

constexpr size_t kDefaultPageSize = 50;
constexpr size_t kMaxReviewerBytes = 128;
constexpr size_t kMaxReasonBytes = 1024;

// Whether the next tick can apply `decision` to an intervention that stands
// at `status`.
bool Permits(Intervention::Status status,
             InterventionReview::Decision decision) {
  const bool proposed = status == Intervention::STATUS_PROPOSED;
  const bool approved = status == Intervention::STATUS_APPROVED;
  if (decision == InterventionReview::DECISION_APPROVE) return proposed;
  if (decision == InterventionReview::DECISION_REJECT) {
    return proposed || approved;
  }
  return status == Intervention::STATUS_TRIAL ||
         status == Intervention::STATUS_CONFIRMED;
}

absl::StatusOr<const Intervention*> FindIntervention(
    const TickSnapshot& snapshot, const ResourceName& name) {
  for (const Intervention& intervention : snapshot.state.interventions()) {
    if (intervention.intervention_id() == name.id) return &intervention;
  }
  return NotFoundError(
      "name", MakeResourceName(name.project, "interventions", name.id));
}

absl::Status CheckReview(const v1::ReviewInterventionRequest& request) {
  if (!InterventionReview::Decision_IsValid(request.decision()) ||
      request.decision() == InterventionReview::DECISION_UNSPECIFIED) {
    return base::DetailedError(
        absl::StatusCode::kInvalidArgument,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_REQUIRED, "decision",
                              "approve, reject or roll back", "is missing"));
  }
  FAULTLINE_RETURN_IF_ERROR(
      CheckLength("reviewer", request.reviewer(), 1, kMaxReviewerBytes));
  const bool approves =
      request.decision() == InterventionReview::DECISION_APPROVE;
  return CheckLength("reason", request.reason(), approves ? 0 : 1,
                     kMaxReasonBytes);
}

absl::Status CheckState(const Intervention& intervention,
                        const v1::ReviewInterventionRequest& request) {
  if (!request.etag().empty() && request.etag() != intervention.etag()) {
    return base::DetailedError(
        absl::StatusCode::kAborted,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_STALE_ETAG, "etag",
                              absl::StrCat("`", intervention.etag(), "`"),
                              "the intervention has changed; read it again"));
  }
  if (!Permits(intervention.status(), request.decision())) {
    return base::DetailedError(
        absl::StatusCode::kFailedPrecondition,
        base::MakeErrorDetail(
            v1::ErrorDetail::REASON_WRONG_STATE, "decision", "",
            absl::StrCat(InterventionReview::Decision_Name(request.decision()),
                         " is not possible in ",
                         Intervention::Status_Name(intervention.status()))));
  }
  return absl::OkStatus();
}

class InterventionService final
    : public v1::InterventionService::CallbackService {
 public:
  InterventionService(Projects* projects, trace::TraceLog* log,
                      const policy::PolicyBoard* board, WorkerPool* pool)
      : projects_(projects), log_(log), board_(board), pool_(pool) {}

  ServerUnaryReactor* ListInterventions(
      CallbackServerContext* context,
      const v1::ListInterventionsRequest* request,
      v1::ListInterventionsResponse* response) override {
    return FinishNow(context, response, List(*request));
  }

  ServerUnaryReactor* GetIntervention(
      CallbackServerContext* context, const v1::GetInterventionRequest* request,
      v1::GetInterventionResponse* response) override {
    return FinishNow(context, response, Get(*request));
  }

  ServerUnaryReactor* GetEffect(CallbackServerContext* context,
                                const v1::GetEffectRequest* request,
                                v1::GetEffectResponse* response) override {
    return FinishNow(context, response, Effect(*request));
  }

  ServerUnaryReactor* ExplainPolicy(
      CallbackServerContext* context, const v1::ExplainPolicyRequest* request,
      v1::ExplainPolicyResponse* response) override {
    return FinishOn<v1::ExplainPolicyRequest, v1::ExplainPolicyResponse>(
        pool_, context, request, response,
        [this](const v1::ExplainPolicyRequest& asked) {
          return PolicyExplainer(projects_, log_, board_).Explain(asked);
        });
  }

  ServerUnaryReactor* ReviewIntervention(
      CallbackServerContext* context,
      const v1::ReviewInterventionRequest* request,
      v1::ReviewInterventionResponse* response) override {
    return FinishOn<v1::ReviewInterventionRequest,
                    v1::ReviewInterventionResponse>(
        pool_, context, request, response,
        [this](const v1::ReviewInterventionRequest& asked) {
          return Review(asked);
        });
  }

 private:
  absl::StatusOr<Intervention> Read(const std::string& resource) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName("name", resource, "interventions"));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(name.project));
    FAULTLINE_ASSIGN_OR_RETURN(const Intervention* found,
                               FindIntervention(*snapshot, name));
    return *found;
  }

  absl::StatusOr<v1::ListInterventionsResponse> List(
      const v1::ListInterventionsRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    std::string scope = absl::StrCat("interventions/", project);
    for (const int status : request.statuses()) {
      absl::StrAppend(&scope, "/", status);
    }
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultPageSize,
                                   request.page_token()));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project));
    std::vector<const Intervention*> interventions;
    for (const Intervention& intervention : snapshot->state.interventions()) {
      const auto& wanted = request.statuses();
      if (wanted.empty() || std::find(wanted.begin(), wanted.end(),
                                      intervention.status()) != wanted.end()) {
        interventions.push_back(&intervention);
      }
    }
    std::sort(interventions.begin(), interventions.end(),
              [](const Intervention* a, const Intervention* b) {
                if (a->create_tick() != b->create_tick()) {
                  return a->create_tick() > b->create_tick();
                }
                return a->intervention_id() > b->intervention_id();
              });
    v1::ListInterventionsResponse response;
    response.set_next_page_token(TakePage(page, scope, &interventions));
    for (const Intervention* intervention : interventions) {
      *response.add_interventions() = *intervention;
    }
    return response;
  }

  absl::StatusOr<v1::GetInterventionResponse> Get(
      const v1::GetInterventionRequest& request) {
    v1::GetInterventionResponse response;
    FAULTLINE_ASSIGN_OR_RETURN(*response.mutable_intervention(),
                               Read(request.name()));
    return response;
  }

  absl::StatusOr<v1::GetEffectResponse> Effect(
      const v1::GetEffectRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const Intervention intervention,
                               Read(request.name()));
    v1::GetEffectResponse response;
    *response.mutable_effect() = intervention.effect();
    return response;
  }

  absl::StatusOr<v1::ReviewInterventionResponse> Review(
      const v1::ReviewInterventionRequest& request) {
    FAULTLINE_RETURN_IF_ERROR(CheckReview(request));
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName("name", request.name(), "interventions"));
    v1::ReviewInterventionResponse response;
    FAULTLINE_ASSIGN_OR_RETURN(*response.mutable_intervention(),
                               Read(request.name()));
    FAULTLINE_RETURN_IF_ERROR(CheckState(response.intervention(), request));

    std::vector<v1::LogRecord> records(1);
    InterventionReview& review = *records[0].mutable_review();
    review.set_intervention_id(name.id);
    review.set_decision(request.decision());
    review.set_reviewer(request.reviewer());
    review.set_reason(request.reason());
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto appended,
        log_->AppendAndWait(name.project, std::move(records)));
    response.set_sequence(appended.front().sequence);
    projects_->TriggerTick(name.project, nullptr);
    return response;
  }

  Projects* const projects_;
  trace::TraceLog* const log_;
  const policy::PolicyBoard* const board_;
  WorkerPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInterventionService(
    Projects* projects, trace::TraceLog* log, const policy::PolicyBoard* board,
    WorkerPool* pool) {
  return std::make_unique<InterventionService>(projects, log, board, pool);
}

}  // namespace faultline::server
