#include "server/behavior_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/embedding/run.h"
#include "lib/slowloop/known_modes.h"
#include "server/deferred_unary.h"
#include "server/map_view.h"
#include "server/page_token.h"
#include "server/request_check.h"
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

  ServerUnaryReactor* GetTrace(CallbackServerContext* context,
                               const v1::GetTraceRequest* request,
                               v1::GetTraceResponse* response) override {
    return FinishOn<v1::GetTraceRequest, v1::GetTraceResponse>(
        pool_, context, request, response,
        [this](const v1::GetTraceRequest& asked) { return Get(asked); });
  }

  ServerUnaryReactor* LocateTrace(CallbackServerContext* context,
                                  const v1::LocateTraceRequest* request,
                                  v1::LocateTraceResponse* response) override {
    return FinishOn<v1::LocateTraceRequest, v1::LocateTraceResponse>(
        pool_, context, request, response,
        [this](const v1::LocateTraceRequest& asked) { return Locate(asked); });
  }

  ServerUnaryReactor* GetMap(CallbackServerContext* context,
                             const v1::GetMapRequest* request,
                             v1::GetMapResponse* response) override {
    return FinishOn<v1::GetMapRequest, v1::GetMapResponse>(
        pool_, context, request, response,
        [this](const v1::GetMapRequest& asked) { return Map(asked); });
  }

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
  absl::StatusOr<v1::GetTraceResponse> Get(
      const v1::GetTraceRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName("name", request.name(), "traces"));
    FAULTLINE_ASSIGN_OR_RETURN(Stored stored, Read(name, request.name()));
    v1::GetTraceResponse response;
    *response.mutable_trace() = std::move(stored.trace);
    *response.mutable_receive_time() = stored.receive_time;
    response.set_sequence(stored.versions.back());
    response.set_replacements(
        static_cast<uint32_t>(stored.versions.size() - 1));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(name.project));
    response.set_cluster(ClusterOf(name.project, *snapshot, stored.versions));
    return response;
  }

  absl::StatusOr<v1::LocateTraceResponse> Locate(
      const v1::LocateTraceRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName("name", request.name(), "traces"));
    FAULTLINE_ASSIGN_OR_RETURN(const Stored stored, Read(name, request.name()));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(name.project));
    embedding::Run run = embedding::ExtractRun(stored.trace, nullptr);
    run.sequence = stored.versions.back();
    v1::LocateTraceResponse response;
    response.set_tick(snapshot->state.tick().tick());
    response.set_cluster(ClusterOf(name.project, *snapshot, stored.versions));
    for (const slowloop::ModeDistance& located :
         slowloop::LocateRun(snapshot->state, *snapshot->embedder, run)) {
      if (response.modes().empty()) response.set_novelty(located.relative());
      auto& mode = *response.add_modes();
      mode.set_cluster(MakeResourceName(name.project, "clusters",
                                        located.mode->cluster_id()));
      mode.set_distance(located.distance);
      mode.set_reach(located.mode->reach());
      mode.set_view(located.mode->view());
    }
    return response;
  }

  absl::StatusOr<v1::GetMapResponse> Map(
      const v1::GetMapRequest& request) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    FAULTLINE_RETURN_IF_ERROR(
        CheckRange("max_points", request.max_points(), 0, kMaxMapPoints));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project));
    return MakeMap(
        *snapshot, project,
        request.max_points() == 0 ? kMaxMapPoints : request.max_points(),
        *log_);
  }

  // The latest version of a run.
  struct Stored {
    v1::Trace trace;
    google::protobuf::Timestamp receive_time;
    std::vector<uint64_t> versions;  // sequences, oldest first
  };
  absl::StatusOr<Stored> Read(const ResourceName& name,
                              const std::string& asked) const {
    auto versions = log_->FindVersions(name.project, name.id);
    if (absl::IsNotFound(versions.status())) return NoTrace(name, asked);
    FAULTLINE_RETURN_IF_ERROR(versions.status());
    FAULTLINE_ASSIGN_OR_RETURN(v1::LogRecord record,
                               log_->Read(name.project, versions->back()));
    return Stored{std::move(record.has_trace() ? *record.mutable_trace()
                                               : *record.mutable_replacement()),
                  record.receive_time(), *std::move(versions)};
  }

  // Resource name of the cluster that a run is a member of; empty: none.
  static std::string ClusterOf(const std::string& project,
                               const slowloop::TickSnapshot& snapshot,
                               const std::vector<uint64_t>& versions) {
    std::string name;
    for (const uint64_t version : versions) {
      const auto cluster = snapshot.cluster_of.find(version);
      if (cluster == snapshot.cluster_of.end()) continue;
      name = MakeResourceName(project, "clusters", cluster->second);
    }
    return name;
  }

  // NOT_FOUND, with what is there of a run that is still open.
  absl::Status NoTrace(const ResourceName& name,
                       const std::string& asked) const {
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<v1::Piece> pieces,
                               log_->ReadPieces(name.project, name.id));
    if (pieces.empty()) return NotFoundError("name", asked);
    v1::ErrorDetail detail = base::MakeErrorDetail(
        v1::ErrorDetail::REASON_NOT_FOUND, "name", "a stored run",
        absl::StrCat("`", base::CutText(asked, 256), "` is still open, with ",
                     pieces.size(), " pieces; ask again when it is closed"));
    (*detail.mutable_metadata())["pieces"] = absl::StrCat(pieces.size());
    return base::DetailedError(absl::StatusCode::kNotFound, detail);
  }

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
