#include "server/cluster_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "lib/base/status_macros.h"
#include "server/cluster_members.h"
#include "server/cluster_review.h"
#include "server/deferred_unary.h"
#include "server/page_token.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr size_t kDefaultClusters = 50;
constexpr size_t kDefaultEvents = 100;
// Ticks that one page of the lineage looks through: a rare kind of event would
// otherwise take a scan of all of them.
constexpr int kMaxLineageTicks = 1000;
constexpr int kLineageTicksAtOnce = 50;
// Events of a tick that a page token can tell apart.
constexpr uint64_t kMaxEventsOfTick = 1 << 20;

bool Names(const v1::LineageEvent& event, absl::string_view cluster) {
  const auto holds = [cluster](const auto& ids) {
    return std::find(ids.begin(), ids.end(), cluster) != ids.end();
  };
  return event.cluster_id() == cluster || holds(event.parents()) ||
         holds(event.children()) || holds(event.aliases());
}

class ClusterService final : public v1::ClusterService::CallbackService {
 public:
  ClusterService(Projects* projects, const ingest::Ingestor* ingestor,
                 trace::TraceLog* log, WorkerPool* pool)
      : projects_(projects), ingestor_(ingestor), log_(log), pool_(pool) {}

  ServerUnaryReactor* ListClusters(
      CallbackServerContext* context, const v1::ListClustersRequest* request,
      v1::ListClustersResponse* response) override {
    return FinishNow(context, response, List(*request));
  }

  ServerUnaryReactor* GetCluster(CallbackServerContext* context,
                                 const v1::GetClusterRequest* request,
                                 v1::GetClusterResponse* response) override {
    return FinishNow(context, response, Get(*request));
  }

  ServerUnaryReactor* ListMembers(CallbackServerContext* context,
                                  const v1::ListMembersRequest* request,
                                  v1::ListMembersResponse* response) override {
    return FinishOn<v1::ListMembersRequest, v1::ListMembersResponse>(
        pool_, context, request, response,
        [this](const v1::ListMembersRequest& asked) { return Members(asked); });
  }

  ServerUnaryReactor* ListLineage(CallbackServerContext* context,
                                  const v1::ListLineageRequest* request,
                                  v1::ListLineageResponse* response) override {
    return FinishOn<v1::ListLineageRequest, v1::ListLineageResponse>(
        pool_, context, request, response,
        [this](const v1::ListLineageRequest& asked) { return Lineage(asked); });
  }

  ServerUnaryReactor* ReviewCluster(
      CallbackServerContext* context, const v1::ReviewClusterRequest* request,
      v1::ReviewClusterResponse* response) override {
    return FinishOn<v1::ReviewClusterRequest, v1::ReviewClusterResponse>(
        pool_, context, request, response,
        [this](const v1::ReviewClusterRequest& asked) {
          return Review(asked);
        });
  }

 private:
  absl::StatusOr<v1::ListClustersResponse> List(
      const v1::ListClustersRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    std::string scope = absl::StrCat("clusters/", project);
    for (const int status : request.statuses()) {
      absl::StrAppend(&scope, "/", status);
    }
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultClusters,
                                   request.page_token()));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(project));
    std::vector<const v1::Cluster*> clusters;
    for (const v1::Cluster& cluster : snapshot->state.clusters()) {
      const auto& wanted = request.statuses();
      if (wanted.empty() ? cluster.status() != v1::Cluster::STATUS_RETIRED
                         : std::find(wanted.begin(), wanted.end(),
                                     cluster.status()) != wanted.end()) {
        clusters.push_back(&cluster);
      }
    }
    std::sort(clusters.begin(), clusters.end(),
              [](const v1::Cluster* a, const v1::Cluster* b) {
                if (a->size() != b->size()) return a->size() > b->size();
                return a->cluster_id() < b->cluster_id();
              });
    v1::ListClustersResponse response;
    response.set_tick(snapshot->state.tick().tick());
    response.set_next_page_token(TakePage(page, scope, &clusters));
    for (const v1::Cluster* cluster : clusters) {
      *response.add_clusters() = *cluster;
    }
    return response;
  }

  absl::StatusOr<v1::GetClusterResponse> Get(
      const v1::GetClusterRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName("name", request.name(), "clusters"));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(name.project));
    const v1::Cluster* cluster = FindCluster(snapshot->state, name.id);
    if (cluster == nullptr) return NotFoundError("name", request.name());
    v1::GetClusterResponse response;
    *response.mutable_cluster() = *cluster;
    return response;
  }

  absl::StatusOr<v1::ListMembersResponse> Members(
      const v1::ListMembersRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName("parent", request.parent(), "clusters"));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(name.project));
    const v1::Cluster* cluster = FindCluster(snapshot->state, name.id);
    if (cluster == nullptr) return NotFoundError("parent", request.parent());
    return ListClusterMembers(request, name.project, *cluster, *snapshot, *log_,
                              *ingestor_);
  }

  absl::StatusOr<v1::ListLineageResponse> Lineage(
      const v1::ListLineageRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", request.parent()));
    std::string cluster;
    if (!request.cluster().empty()) {
      FAULTLINE_ASSIGN_OR_RETURN(
          const ResourceName name,
          ParseResourceName("cluster", request.cluster(), "clusters"));
      if (name.project != project) {
        return NotFoundError("cluster", request.cluster());
      }
      cluster = name.id;
    }
    std::string scope = absl::StrCat("lineage/", project, "/", cluster);
    for (const int kind : request.kinds()) absl::StrAppend(&scope, "/", kind);
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultEvents,
                                   request.page_token()));
    FAULTLINE_ASSIGN_OR_RETURN(const slowloop::SlowLoop* loop,
                               projects_->Open(project));
    const auto wanted = [&](const v1::LineageEvent& event) {
      const auto& kinds = request.kinds();
      return (kinds.empty() || std::find(kinds.begin(), kinds.end(),
                                         event.kind()) != kinds.end()) &&
             (cluster.empty() || Names(event, cluster));
    };
    // The tick before which to go on, and the first event of the tick.
    uint64_t before = page.position / kMaxEventsOfTick;
    uint64_t first = page.position % kMaxEventsOfTick;
    v1::ListLineageResponse response;
    for (int read = 0; read < kMaxLineageTicks; read += kLineageTicksAtOnce) {
      FAULTLINE_ASSIGN_OR_RETURN(const std::vector<v1::Tick> ticks,
                                 loop->Ticks(before, kLineageTicksAtOnce));
      for (const v1::Tick& tick : ticks) {
        const auto events = static_cast<uint64_t>(tick.lineage_size());
        for (uint64_t e = first; e < events; ++e) {
          const v1::LineageEvent& event = tick.lineage(static_cast<int>(e));
          if (!wanted(event)) continue;
          if (response.events_size() == static_cast<int>(page.size)) {
            response.set_next_page_token(
                MakePageToken(scope, (tick.tick() + 1) * kMaxEventsOfTick + e));
            return response;
          }
          *response.add_events() = event;
        }
        first = 0;
        before = tick.tick();
      }
      if (ticks.size() < static_cast<size_t>(kLineageTicksAtOnce)) {
        return response;
      }
    }
    response.set_next_page_token(
        MakePageToken(scope, before * kMaxEventsOfTick));
    return response;
  }

  absl::StatusOr<v1::ReviewClusterResponse> Review(
      const v1::ReviewClusterRequest& request) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName("name", request.name(), "clusters"));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(name.project));
    const v1::Cluster* cluster = FindCluster(snapshot->state, name.id);
    if (cluster == nullptr) return NotFoundError("name", request.name());
    v1::ReviewClusterResponse response;
    *response.mutable_cluster() = *cluster;
    FAULTLINE_ASSIGN_OR_RETURN(const v1::ClusterReview* recorded,
                               FindRecorded(request, snapshot->state));
    if (recorded != nullptr) {
      response.set_sequence(recorded->sequence());
      return response;
    }
    std::vector<v1::LogRecord> records(1);
    FAULTLINE_ASSIGN_OR_RETURN(
        *records[0].mutable_cluster_review(),
        MakeClusterReview(request, *cluster, snapshot->state, name.project,
                          *log_));
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto appended,
        log_->AppendAndWait(name.project, std::move(records)));
    response.set_sequence(appended.front().sequence);
    projects_->TriggerTick(name.project, nullptr);
    return response;
  }

  Projects* const projects_;
  const ingest::Ingestor* const ingestor_;
  trace::TraceLog* const log_;
  WorkerPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeClusterService(
    Projects* projects, const ingest::Ingestor* ingestor, trace::TraceLog* log,
    WorkerPool* pool) {
  return std::make_unique<ClusterService>(projects, ingestor, log, pool);
}

}  // namespace faultline::server
