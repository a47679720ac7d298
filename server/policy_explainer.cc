#include "server/policy_explainer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/embedding/run.h"
#include "lib/evaluate/explanation.h"
#include "lib/slowloop/known_modes.h"
#include "server/grpc_status.h"
#include "server/policy_history.h"

namespace faultline::server {

absl::StatusOr<v1::ExplainPolicyResponse> PolicyExplainer::Explain(
    const v1::ExplainPolicyRequest& request) const {
  v1::ExplainPolicyResponse response;
  std::string project;
  switch (request.subject_case()) {
    case v1::ExplainPolicyRequest::kIntervention: {
      FAULTLINE_ASSIGN_OR_RETURN(
          const ResourceName name,
          ParseResourceName("intervention", request.intervention(),
                            "interventions"));
      project = name.project;
      FAULTLINE_RETURN_IF_ERROR(AddRule(project, name.id, &response));
      if (!response.rules(0).has_rule() &&
          !response.rules(0).has_intervention()) {
        return NotFoundError("intervention", request.intervention());
      }
      break;
    }
    case v1::ExplainPolicyRequest::kTrace: {
      FAULTLINE_ASSIGN_OR_RETURN(
          const ResourceName name,
          ParseResourceName("trace", request.trace(), "traces"));
      project = name.project;
      FAULTLINE_RETURN_IF_ERROR(AddTrace(name, request.trace(), &response));
      break;
    }
    case v1::ExplainPolicyRequest::kParent: {
      FAULTLINE_ASSIGN_OR_RETURN(project,
                                 ParseProjectName("parent", request.parent()));
      const auto current = board_->Current(project);
      for (const v1::Rule& rule : current->policy().rules()) {
        FAULTLINE_RETURN_IF_ERROR(
            AddRule(project, rule.intervention_id(), &response));
      }
      break;
    }
    case v1::ExplainPolicyRequest::SUBJECT_NOT_SET:
      return base::DetailedError(
          absl::StatusCode::kInvalidArgument,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_REQUIRED, "subject",
                                "intervention, trace or parent", "is missing"));
  }
  FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot, projects_->Snapshot(project));
  response.set_tick(snapshot->state.tick().tick());
  response.set_policy_version(board_->Current(project)->policy().version());
  return response;
}

absl::Status PolicyExplainer::AddRule(
    const std::string& project, absl::string_view intervention_id,
    v1::ExplainPolicyResponse* response) const {
  FAULTLINE_ASSIGN_OR_RETURN(const slowloop::SlowLoop* loop,
                             projects_->Open(project));
  const auto snapshot = loop->Snapshot();
  const auto& interventions = snapshot->state.interventions();
  const auto intervention =
      std::find_if(interventions.begin(), interventions.end(),
                   [&](const v1::Intervention& candidate) {
                     return candidate.intervention_id() == intervention_id;
                   });
  uint64_t first_version = 0;
  if (intervention != interventions.end()) {
    FAULTLINE_ASSIGN_OR_RETURN(first_version,
                               FirstPolicyVersion(*loop, *intervention));
  }
  *response->add_rules() =
      evaluate::ExplainRule(snapshot->state, board_->Current(project)->policy(),
                            project, intervention_id, first_version);
  return absl::OkStatus();
}

absl::Status PolicyExplainer::AddTrace(
    const ResourceName& name, const std::string& asked,
    v1::ExplainPolicyResponse* response) const {
  FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                             projects_->Snapshot(name.project));
  const auto versions = log_->FindVersions(name.project, name.id);
  if (absl::IsNotFound(versions.status())) return NotFoundError("trace", asked);
  FAULTLINE_RETURN_IF_ERROR(versions.status());
  FAULTLINE_ASSIGN_OR_RETURN(const v1::Trace trace,
                             log_->ReadTrace(name.project, versions->back()));

  v1::TraceExplanation& explanation = *response->mutable_trace();
  explanation.set_trace(MakeResourceName(name.project, "traces", name.id));
  const auto cluster_name = [&name](const std::string& id) {
    return MakeResourceName(name.project, "clusters", id);
  };
  for (const uint64_t version : *versions) {
    const auto cluster = snapshot->cluster_of.find(version);
    if (cluster == snapshot->cluster_of.end()) continue;
    explanation.set_cluster(cluster_name(cluster->second));
  }
  embedding::Run run = embedding::ExtractRun(trace, nullptr);
  run.sequence = versions->back();
  for (const slowloop::ModeDistance& located :
       slowloop::LocateRun(snapshot->state, *snapshot->embedder, run)) {
    if (located.relative() > 1) break;
    explanation.add_within_reach(cluster_name(located.mode->cluster_id()));
  }

  explanation.set_policy_version(trace.exposure().policy_version());
  v1::Policy policy = board_->Current(name.project)->policy();
  if (explanation.policy_version() != 0) {
    auto stored = board_->Version(name.project, explanation.policy_version());
    if (stored.ok()) {
      policy = *std::move(stored);
    } else if (absl::IsNotFound(stored.status())) {
      policy.Clear();  // the runtime says a version that never was
    } else {
      return stored.status();
    }
  }
  for (v1::MatchedRule& rule :
       evaluate::MatchRules(policy, name.project, trace)) {
    const std::string id = rule.intervention().substr(
        MakeResourceName(name.project, "interventions", "").size());
    *explanation.add_rules() = std::move(rule);
    FAULTLINE_RETURN_IF_ERROR(AddRule(name.project, id, response));
  }
  return absl::OkStatus();
}

}  // namespace faultline::server
