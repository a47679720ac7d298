#include "server/policy_service.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "lib/base/status_macros.h"
#include "lib/policy/policy_diff.h"
#include "lib/risk/risk_model.h"
#include "lib/stats/contingency.h"
#include "server/deferred_unary.h"
#include "server/page_token.h"
#include "server/policy_watch.h"
#include "server/request_check.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using policy::PolicyBoard;

constexpr size_t kDefaultPageSize = 50;
// Nearest runs that Recommend looks at.
constexpr int kNeighbors = 50;

class PolicyService final : public v1::PolicyService::CallbackService {
 public:
  PolicyService(PolicyBoard* board, const ingest::Ingestor* ingestor,
                Projects* projects, StreamRegistry* registry, WorkerPool* pool,
                const base::Clock* clock)
      : board_(board),
        ingestor_(ingestor),
        projects_(projects),
        registry_(registry),
        pool_(pool),
        clock_(clock) {}

  ServerUnaryReactor* GetPolicy(CallbackServerContext* context,
                                const v1::GetPolicyRequest* request,
                                v1::GetPolicyResponse* response) override {
    absl::StatusOr<std::string> project =
        ParseProjectName("parent", request->parent());
    absl::Status status = project.status();
    if (status.ok()) {
      status = CheckLength("router_id", request->router_id(), 0, 128);
    }
    if (status.ok()) {
      status = CheckLength("nack_reason", request->nack_reason(), 0, 1024);
    }
    if (!status.ok()) return FinishNow(context, status);

    const auto current = board_->Current(*project);
    const uint64_t version = current->policy().version();
    if (request->version() != 0 && request->version() != version) {
      return FinishOn<v1::GetPolicyRequest, v1::GetPolicyResponse>(
          pool_, context, request, response,
          [this, project = *project](const v1::GetPolicyRequest& asked) {
            return OldVersion(project, asked);
          });
    }
    board_->NoteRouter(*project, {.router_id = request->router_id(),
                                  .applied_version = request->known_version(),
                                  .sent_version = version,
                                  .nack_reason = request->nack_reason()});
    response->set_version(version);
    if (request->known_version() != version || version == 0) {
      *response->mutable_policy() = current->policy();
    }
    return FinishNow(context, absl::OkStatus());
  }

  grpc::ServerBidiReactor<v1::WatchPolicyRequest, v1::WatchPolicyResponse>*
  WatchPolicy(CallbackServerContext* context) override {
    return PolicyWatch::Start(context, board_, registry_);
  }

  ServerUnaryReactor* Recommend(CallbackServerContext* context,
                                const v1::RecommendRequest* request,
                                v1::RecommendResponse* response) override {
    return FinishOn<v1::RecommendRequest, v1::RecommendResponse>(
        pool_, context, request, response,
        [this](const v1::RecommendRequest& asked) { return Advise(asked); });
  }

  ServerUnaryReactor* ListPolicyVersions(
      CallbackServerContext* context,
      const v1::ListPolicyVersionsRequest* request,
      v1::ListPolicyVersionsResponse* response) override {
    return FinishOn<v1::ListPolicyVersionsRequest,
                    v1::ListPolicyVersionsResponse>(
        pool_, context, request, response,
        [this](const v1::ListPolicyVersionsRequest& asked) {
          return Versions(asked);
        });
  }

  ServerUnaryReactor* DiffPolicies(
      CallbackServerContext* context, const v1::DiffPoliciesRequest* request,
      v1::DiffPoliciesResponse* response) override {
    return FinishOn<v1::DiffPoliciesRequest, v1::DiffPoliciesResponse>(
        pool_, context, request, response,
        [this](const v1::DiffPoliciesRequest& asked) { return Diff(asked); });
  }

  ServerUnaryReactor* ListRouters(CallbackServerContext* context,
                                  const v1::ListRoutersRequest* request,
                                  v1::ListRoutersResponse* response) override {
    return FinishNow(context, response, Routers(*request));
  }

 private:
  absl::StatusOr<v1::GetPolicyResponse> OldVersion(
      const std::string& project, const v1::GetPolicyRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(v1::Policy policy,
                               board_->Version(project, request.version()));
    v1::GetPolicyResponse response;
    response.set_version(request.version());
    if (request.known_version() != request.version()) {
      *response.mutable_policy() = std::move(policy);
    }
    return response;
  }

  absl::StatusOr<v1::RecommendResponse> Advise(
      const v1::RecommendRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    const std::string& key = request.assignment_key().empty()
                                 ? request.trace().trace_id()
                                 : request.assignment_key();
    FAULTLINE_RETURN_IF_ERROR(CheckLength("assignment_key", key, 1, 256));
    FAULTLINE_RETURN_IF_ERROR(
        CheckLength("memory_key", request.memory_key(), 0, 256));
    const policy::AssignmentKeys keys{key, request.memory_key()};
    FAULTLINE_ASSIGN_OR_RETURN(
        const std::vector<ingest::Ingestor::Similar> similar,
        ingestor_->FindSimilar(project, request.trace(), v1::VIEW_TRAJECTORY,
                               kNeighbors, v1::OUTCOME_UNSPECIFIED));

    v1::RecommendResponse response;
    const auto matcher = board_->Current(project);
    const auto matches = matcher->Match(request.trace(), keys, clock_->Now());
    response.set_policy_version(matcher->policy().version());
    for (const policy::RuleMatch& match : matches) {
      v1::RecommendResponse::Match& added = *response.add_matches();
      *added.mutable_rule() = *match.rule;
      added.set_arm(match.arm);
      added.set_applies(match.applies);
    }
    *response.mutable_exposure() = matcher->MakeExposure(matches, keys);
    DescribeNeighborhood(project, similar, &response);
    AssessRisk(project, request.trace(), &response);
    return response;
  }

  void DescribeNeighborhood(
      const std::string& project,
      const std::vector<ingest::Ingestor::Similar>& similar,
      v1::RecommendResponse* response) {
    const auto snapshot = projects_->Snapshot(project);
    uint32_t known = 0, failed = 0;
    std::map<std::string, int> votes;
    for (const ingest::Ingestor::Similar& neighbor : similar) {
      if (neighbor.outcome == v1::OUTCOME_UNSPECIFIED) continue;
      ++known;
      if (neighbor.outcome == v1::OUTCOME_PASS) continue;
      ++failed;
      if (!snapshot.ok()) continue;
      const auto cluster = (*snapshot)->cluster_of.find(neighbor.sequence);
      if (cluster != (*snapshot)->cluster_of.end()) ++votes[cluster->second];
    }
    const stats::Interval interval = stats::WilsonInterval(failed, known);
    response->set_neighbors(known);
    response->set_risk_runs(known);
    response->set_risk(known == 0 ? 0 : static_cast<double>(failed) / known);
    response->set_risk_lower(interval.lower);
    response->set_risk_upper(interval.upper);
    const auto most = std::max_element(
        votes.begin(), votes.end(),
        [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != votes.end()) {
      response->set_nearest_cluster(
          MakeResourceName(project, "clusters", most->first));
    }
  }

  // Replaces what the neighbourhood says, once a tick has learnt better.
  void AssessRisk(const std::string& project, const v1::Trace& trace,
                  v1::RecommendResponse* response) {
    const auto snapshot = projects_->Snapshot(project);
    if (!snapshot.ok() || (*snapshot)->state.risk().runs() == 0) return;
    const risk::Risk risk =
        risk::Assess((*snapshot)->state.risk(), risk::ReadFeatures(trace));
    response->set_risk(risk.risk);
    response->set_risk_lower(risk.lower);
    response->set_risk_upper(risk.upper);
    response->set_risk_runs(risk.runs);
  }

  absl::StatusOr<v1::ListPolicyVersionsResponse> Versions(
      const v1::ListPolicyVersionsRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    const std::string scope = absl::StrCat("policies/", project);
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultPageSize,
                                   request.page_token()));
    // One more tells whether there is a next page.
    FAULTLINE_ASSIGN_OR_RETURN(
        std::vector<v1::Policy> policies,
        board_->Versions(project, page.position,
                         static_cast<int>(page.size) + 1));
    v1::ListPolicyVersionsResponse response;
    if (policies.size() > page.size) {
      policies.pop_back();
      response.set_next_page_token(
          MakePageToken(scope, policies.back().version()));
    }
    for (v1::Policy& policy : policies) {
      *response.add_policies() = std::move(policy);
    }
    return response;
  }

  // Version 0 is the empty policy before the first.
  absl::StatusOr<v1::Policy> Version(const std::string& project,
                                     uint64_t version) const {
    if (version == 0) return v1::Policy();
    return board_->Version(project, version);
  }

  absl::StatusOr<v1::DiffPoliciesResponse> Diff(
      const v1::DiffPoliciesRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    const uint64_t to_version =
        request.to_version() != 0
            ? request.to_version()
            : board_->Current(project)->policy().version();
    const uint64_t from_version = request.from_version() != 0 || to_version == 0
                                      ? request.from_version()
                                      : to_version - 1;
    FAULTLINE_ASSIGN_OR_RETURN(const v1::Policy from,
                               Version(project, from_version));
    FAULTLINE_ASSIGN_OR_RETURN(const v1::Policy to,
                               Version(project, to_version));
    return policy::DiffPolicies(from, to);
  }

  absl::StatusOr<v1::ListRoutersResponse> Routers(
      const v1::ListRoutersRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    const std::string scope = absl::StrCat("routers/", project);
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultPageSize,
                                   request.page_token()));
    std::vector<v1::Router> routers = board_->Routers(project);
    v1::ListRoutersResponse response;
    response.set_current_version(board_->Current(project)->policy().version());
    response.set_next_page_token(TakePage(page, scope, &routers));
    for (v1::Router& router : routers) {
      *response.add_routers() = std::move(router);
    }
    return response;
  }

  PolicyBoard* const board_;
  const ingest::Ingestor* const ingestor_;
  Projects* const projects_;
  StreamRegistry* const registry_;
  WorkerPool* const pool_;
  const base::Clock* const clock_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakePolicyService(
    PolicyBoard* board, const ingest::Ingestor* ingestor, Projects* projects,
    StreamRegistry* registry, WorkerPool* pool, const base::Clock* clock) {
  return std::make_unique<PolicyService>(board, ingestor, projects, registry,
                                         pool, clock);
}

}  // namespace faultline::server
