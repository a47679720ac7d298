#include "server/evaluation_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "faultline/v1/evaluation_service.grpc.pb.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/evaluate/chain_report.h"
#include "lib/evaluate/judged_runs.h"
#include "lib/evaluate/offline_policy.h"
#include "lib/evaluate/slice_metrics.h"
#include "server/benchmark_stream.h"
#include "server/cluster_review.h"
#include "server/deferred_unary.h"
#include "server/grpc_status.h"
#include "server/page_token.h"
#include "server/policy_history.h"
#include "server/resource_name.h"
#include "server/run_scan.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr size_t kDefaultReports = 50;
// Ticks whose lineage a report looks at.
constexpr int kLineageTicks = 20;

class EvaluationService final : public v1::EvaluationService::CallbackService {
 public:
  explicit EvaluationService(const EvaluationDependencies& dependencies)
      : projects_(dependencies.projects),
        log_(dependencies.log),
        ingestor_(dependencies.ingestor),
        board_(dependencies.board),
        pool_(dependencies.pool),
        analysis_(dependencies.analysis) {}

  ServerUnaryReactor* GetSliceMetrics(
      CallbackServerContext* context, const v1::GetSliceMetricsRequest* request,
      v1::GetSliceMetricsResponse* response) override {
    return FinishOn<v1::GetSliceMetricsRequest, v1::GetSliceMetricsResponse>(
        analysis_, context, request, response,
        [this](const v1::GetSliceMetricsRequest& asked) {
          return Slices(asked);
        });
  }

  ServerUnaryReactor* EvaluatePolicyOffline(
      CallbackServerContext* context,
      const v1::EvaluatePolicyOfflineRequest* request,
      v1::EvaluatePolicyOfflineResponse* response) override {
    return FinishOn<v1::EvaluatePolicyOfflineRequest,
                    v1::EvaluatePolicyOfflineResponse>(
        analysis_, context, request, response,
        [this](const v1::EvaluatePolicyOfflineRequest& asked) {
          return Offline(asked);
        });
  }

  grpc::ServerWriteReactor<v1::ExportBenchmarkResponse>* ExportBenchmark(
      CallbackServerContext* context,
      const v1::ExportBenchmarkRequest* request) override {
    return BenchmarkStream::Start(context, *request,
                                  {projects_, log_, ingestor_, analysis_});
  }

  ServerUnaryReactor* GetChainReport(
      CallbackServerContext* context, const v1::GetChainReportRequest* request,
      v1::GetChainReportResponse* response) override {
    return FinishOn<v1::GetChainReportRequest, v1::GetChainReportResponse>(
        pool_, context, request, response,
        [this](const v1::GetChainReportRequest& asked) {
          return Chains(asked);
        });
  }

 private:
  // The intervention that `field` of a request about `project` names.
  static absl::StatusOr<const v1::Intervention*> FindIntervention(
      const v1::TickState& state, const std::string& project,
      absl::string_view field, const std::string& name) {
    FAULTLINE_ASSIGN_OR_RETURN(const ResourceName parsed,
                               ParseResourceName(field, name, "interventions"));
    for (const v1::Intervention& intervention : state.interventions()) {
      if (parsed.project == project &&
          intervention.intervention_id() == parsed.id) {
        return &intervention;
      }
    }
    return NotFoundError(field, name);
  }

  // Reads the stretch into `counter`, which has Add; the result tells what was
  // read and how the runs ended.
  template <typename Counter>
  absl::StatusOr<std::pair<v1::RunStretch, std::vector<v1::Outcome>>> Scan(
      const std::string& project, const v1::Tick& tick,
      Counter* counter) const {
    evaluate::JudgedRuns runs(
        [counter](size_t row, uint64_t, const v1::Trace& trace) {
          counter->Add(row, trace);
        });
    FAULTLINE_ASSIGN_OR_RETURN(v1::RunStretch stretch,
                               ScanRuns(*log_, project, tick, &runs));
    return std::make_pair(std::move(stretch),
                          std::vector<v1::Outcome>(runs.outcomes().begin(),
                                                   runs.outcomes().end()));
  }

  absl::StatusOr<v1::GetSliceMetricsResponse> Slices(
      const v1::GetSliceMetricsRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project));
    std::string intervention;
    if (!request.intervention().empty()) {
      FAULTLINE_ASSIGN_OR_RETURN(
          const v1::Intervention* found,
          FindIntervention(snapshot->state, project, "intervention",
                           request.intervention()));
      intervention = found->intervention_id();
    }
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto counter,
        evaluate::SliceCounter::Create(request, intervention));
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto read, Scan(project, snapshot->state.tick(), counter.get()));
    v1::GetSliceMetricsResponse response = counter->Count(read.second);
    response.mutable_stretch()->MergeFrom(read.first);
    return response;
  }

  // The rules that a request asks to evaluate.
  absl::StatusOr<std::vector<evaluate::RouteRule>> RulesOf(
      const v1::EvaluatePolicyOfflineRequest& request,
      const std::string& project, const v1::TickState& state) const {
    switch (request.policy_case()) {
      case v1::EvaluatePolicyOfflineRequest::kWeights: {
        FAULTLINE_ASSIGN_OR_RETURN(evaluate::RouteRule rule,
                                   evaluate::RuleOfWeights(request.weights()));
        return std::vector<evaluate::RouteRule>{std::move(rule)};
      }
      case v1::EvaluatePolicyOfflineRequest::kIntervention: {
        FAULTLINE_ASSIGN_OR_RETURN(
            const v1::Intervention* found,
            FindIntervention(state, project, "intervention",
                             request.intervention()));
        v1::Predicate match = found->scope();
        if (request.has_scope()) match.mutable_all()->Clear();
        FAULTLINE_ASSIGN_OR_RETURN(
            evaluate::RouteRule rule,
            evaluate::RuleOfAction(found->action(), match));
        return std::vector<evaluate::RouteRule>{std::move(rule)};
      }
      case v1::EvaluatePolicyOfflineRequest::kPolicyVersion: {
        FAULTLINE_ASSIGN_OR_RETURN(
            const v1::Policy policy,
            board_->Version(project, request.policy_version()));
        return evaluate::RulesOfPolicy(policy);
      }
      case v1::EvaluatePolicyOfflineRequest::POLICY_NOT_SET:
        break;
    }
    return base::DetailedError(
        absl::StatusCode::kInvalidArgument,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_REQUIRED, "policy",
                              "weights, intervention or policy_version",
                              "is missing"));
  }

  absl::StatusOr<v1::EvaluatePolicyOfflineResponse> Offline(
      const v1::EvaluatePolicyOfflineRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project));
    FAULTLINE_ASSIGN_OR_RETURN(std::vector<evaluate::RouteRule> rules,
                               RulesOf(request, project, snapshot->state));
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto evaluator,
        evaluate::OfflineEvaluator::Create(request, std::move(rules)));
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto read,
        Scan(project, snapshot->state.tick(), evaluator.get()));
    v1::EvaluatePolicyOfflineResponse response =
        evaluator->Evaluate(read.second);
    response.mutable_stretch()->MergeFrom(read.first);
    return response;
  }

  // Clusters that a report is asked of, largest share of the failures first.
  static absl::StatusOr<std::vector<const v1::Cluster*>> ChooseClusters(
      const v1::GetChainReportRequest& request, const std::string& project,
      const v1::TickState& state) {
    std::vector<const v1::Cluster*> clusters;
    if (!request.cluster().empty()) {
      FAULTLINE_ASSIGN_OR_RETURN(
          const ResourceName name,
          ParseResourceName("cluster", request.cluster(), "clusters"));
      const v1::Cluster* cluster =
          name.project == project ? FindCluster(state, name.id) : nullptr;
      if (cluster == nullptr) {
        return NotFoundError("cluster", request.cluster());
      }
      clusters.push_back(cluster);
      return clusters;
    }
    for (const v1::Cluster& cluster : state.clusters()) {
      clusters.push_back(&cluster);
    }
    std::sort(clusters.begin(), clusters.end(),
              [](const v1::Cluster* a, const v1::Cluster* b) {
                if (a->failure_share() != b->failure_share()) {
                  return a->failure_share() > b->failure_share();
                }
                return a->cluster_id() < b->cluster_id();
              });
    return clusters;
  }

  absl::StatusOr<v1::GetChainReportResponse> Chains(
      const v1::GetChainReportRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    const std::string scope =
        absl::StrCat("chains/", project, "/", request.cluster());
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultReports,
                                   request.page_token()));
    FAULTLINE_ASSIGN_OR_RETURN(const slowloop::SlowLoop* loop,
                               projects_->Open(project));
    const auto snapshot = loop->Snapshot();
    const v1::TickState& state = snapshot->state;
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<const v1::Cluster*> clusters,
                               ChooseClusters(request, project, state));
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<v1::Tick> ticks,
                               loop->Ticks(0, kLineageTicks));
    absl::flat_hash_map<std::string, uint64_t> first_versions;
    for (const v1::Intervention& intervention : state.interventions()) {
      FAULTLINE_ASSIGN_OR_RETURN(const uint64_t version,
                                 FirstPolicyVersion(*loop, intervention));
      first_versions[intervention.intervention_id()] = version;
    }
    const auto policy = board_->Current(project);
    const std::vector<v1::Router> routers = board_->Routers(project);
    evaluate::ChainInput input;
    input.state = &state;
    input.policy = &policy->policy();
    input.routers = routers;
    input.ticks = ticks;
    input.first_versions = &first_versions;

    v1::GetChainReportResponse response;
    response.set_tick(state.tick().tick());
    response.set_policy_version(policy->policy().version());
    std::vector<v1::ChainReport> reports;
    reports.reserve(clusters.size());
    for (const v1::Cluster* cluster : clusters) {
      reports.push_back(evaluate::ReportChain(input, *cluster));
      response.set_closed(response.closed() +
                          (reports.back().closed() ? 1 : 0));
    }
    response.set_clusters(reports.size());
    response.set_next_page_token(TakePage(page, scope, &reports));
    for (v1::ChainReport& report : reports) {
      *response.add_reports() = std::move(report);
    }
    return response;
  }

  Projects* const projects_;
  const trace::TraceLog* const log_;
  const ingest::Ingestor* const ingestor_;
  const policy::PolicyBoard* const board_;
  WorkerPool* const pool_;
  WorkerPool* const analysis_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeEvaluationService(
    const EvaluationDependencies& dependencies) {
  return std::make_unique<EvaluationService>(dependencies);
}

}  // namespace faultline::server
