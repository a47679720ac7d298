#include "server/cluster_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "lib/base/status_macros.h"
#include "server/deferred_unary.h"
#include "server/page_token.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using slowloop::TickSnapshot;

constexpr size_t kDefaultClusters = 50;
constexpr size_t kDefaultMembers = 20;

// The cluster that lives on under `id`, or null.
const v1::Cluster* FindCluster(const TickSnapshot& snapshot, std::string id) {
  const auto& aliases = snapshot.state.aliases();
  for (size_t i = 0; i < aliases.size(); ++i) {
    const auto alias = aliases.find(id);
    if (alias == aliases.end()) break;
    id = alias->second;
  }
  for (const v1::Cluster& cluster : snapshot.state.clusters()) {
    if (cluster.cluster_id() == id) return &cluster;
  }
  return nullptr;
}

class ClusterService final : public v1::ClusterService::CallbackService {
 public:
  ClusterService(Projects* projects, const trace::TraceLog* log,
                 WorkerPool* pool)
      : projects_(projects), log_(log), pool_(pool) {}

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
    const v1::Cluster* cluster = FindCluster(*snapshot, name.id);
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
    const std::string scope = absl::StrCat("members/", request.parent());
    FAULTLINE_ASSIGN_OR_RETURN(
        const Page page, ParsePage(scope, request.page_size(), kDefaultMembers,
                                   request.page_token()));
    FAULTLINE_ASSIGN_OR_RETURN(const auto snapshot,
                               projects_->Snapshot(name.project));
    const v1::Cluster* cluster = FindCluster(*snapshot, name.id);
    if (cluster == nullptr) return NotFoundError("parent", request.parent());

    // (strength, sequence), strongest first.
    std::vector<std::pair<float, uint64_t>> members;
    for (const v1::ClusterMembers& of : snapshot->state.members()) {
      if (of.cluster_id() != cluster->cluster_id()) continue;
      for (int i = 0; i < of.sequences_size(); ++i) {
        members.emplace_back(of.strengths(i), of.sequences(i));
      }
    }
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    v1::ListMembersResponse response;
    response.set_next_page_token(TakePage(page, scope, &members));
    for (const auto& [strength, sequence] : members) {
      absl::StatusOr<v1::Trace> trace = log_->ReadTrace(name.project, sequence);
      // Deleted since the tick.
      if (absl::IsNotFound(trace.status())) continue;
      FAULTLINE_RETURN_IF_ERROR(trace.status());
      auto& member = *response.add_members();
      member.set_strength(strength);
      *member.mutable_trace() = *std::move(trace);
    }
    return response;
  }

  Projects* const projects_;
  const trace::TraceLog* const log_;
  WorkerPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeClusterService(Projects* projects,
                                                  const trace::TraceLog* log,
                                                  WorkerPool* pool) {
  return std::make_unique<ClusterService>(projects, log, pool);
}

}  // namespace faultline::server
