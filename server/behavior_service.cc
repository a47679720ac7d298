#include "server/behavior_service.h"

#include <string>
#include <utility>
#include <vector>

#include "faultline/v1/behavior_service.grpc.pb.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "server/deferred_unary.h"
#include "server/page_token.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr size_t kDefaultPageSize = 10;

class BehaviorService final : public v1::BehaviorService::CallbackService {
 public:
  BehaviorService(const ingest::Ingestor* ingestor, const trace::TraceLog* log,
                  Projects* projects, WorkerPool* pool)
      : ingestor_(ingestor), log_(log), projects_(projects), pool_(pool) {}

  ServerUnaryReactor* FindSimilarTraces(
      CallbackServerContext* context,
      const v1::FindSimilarTracesRequest* request,
      v1::FindSimilarTracesResponse* response) override {
    return FinishOn<v1::FindSimilarTracesRequest,
                    v1::FindSimilarTracesResponse>(
        pool_, context, request, response,
        [this](const v1::FindSimilarTracesRequest& asked) {
          return Find(asked);
        });
  }

 private:
  absl::StatusOr<v1::FindSimilarTracesResponse> Find(
      const v1::FindSimilarTracesRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page,
        ParsePage("", request.page_size(), kDefaultPageSize, ""));
    if (!v1::Outcome_IsValid(request.outcome())) {
      return base::DetailedError(
          absl::StatusCode::kInvalidArgument,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_UNKNOWN_ENUM, "outcome",
                                "an Outcome", "is none"));
    }
    if (!v1::View_IsValid(request.view())) {
      return base::DetailedError(
          absl::StatusCode::kInvalidArgument,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_UNKNOWN_ENUM, "view",
                                "a View", "is none"));
    }
    FAULTLINE_ASSIGN_OR_RETURN(const v1::Trace query, Query(project, request));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project));
    FAULTLINE_ASSIGN_OR_RETURN(
        const std::vector<ingest::Ingestor::Similar> similar,
        ingestor_->FindSimilar(project, query, request.view(),
                               static_cast<int>(page.size), request.outcome()));
    v1::FindSimilarTracesResponse response;
    response.set_indexed(ingestor_->GetCounters(project).indexed);
    for (const ingest::Ingestor::Similar& found : similar) {
      absl::StatusOr<v1::Trace> trace =
          log_->ReadTrace(project, found.sequence);
      // Deleted since it was found.
      if (absl::IsNotFound(trace.status())) continue;
      FAULTLINE_RETURN_IF_ERROR(trace.status());
      auto& neighbor = *response.add_neighbors();
      neighbor.set_trace_id(trace->trace_id());
      neighbor.set_distance(found.distance);
      neighbor.set_outcome(found.outcome);
      *neighbor.mutable_trace() = *std::move(trace);
      const auto cluster = snapshot->cluster_of.find(found.sequence);
      if (cluster != snapshot->cluster_of.end()) {
        neighbor.set_cluster(
            MakeResourceName(project, "clusters", cluster->second));
      }
    }
    return response;
  }

  absl::StatusOr<v1::Trace> Query(
      const std::string& project,
      const v1::FindSimilarTracesRequest& request) const {
    switch (request.query_case()) {
      case v1::FindSimilarTracesRequest::kTrace:
        return request.trace();
      case v1::FindSimilarTracesRequest::kTraceId: {
        const absl::StatusOr<uint64_t> sequence =
            log_->FindTrace(project, request.trace_id());
        if (absl::IsNotFound(sequence.status())) {
          return NotFoundError("trace_id", request.trace_id());
        }
        FAULTLINE_RETURN_IF_ERROR(sequence.status());
        return log_->ReadTrace(project, *sequence);
      }
      case v1::FindSimilarTracesRequest::QUERY_NOT_SET:
        break;
    }
    return base::DetailedError(
        absl::StatusCode::kInvalidArgument,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_REQUIRED, "query",
                              "trace_id or trace", "is missing"));
  }

  const ingest::Ingestor* const ingestor_;
  const trace::TraceLog* const log_;
  Projects* const projects_;
  WorkerPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeBehaviorService(
    const ingest::Ingestor* ingestor, const trace::TraceLog* log,
    Projects* projects, WorkerPool* pool) {
  return std::make_unique<BehaviorService>(ingestor, log, projects, pool);
}

}  // namespace faultline::server
