#include "server/map_view.h"

#include <algorithm>
#include <map>
#include <utility>

#include "lib/base/status_macros.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using Area = v1::GetMapResponse::Area;
using Point = v1::GetMapResponse::Point;

// Sums positions up; they become means at the end.
void AddToArea(const Point& point, Area* area) {
  area->set_x(area->x() + point.x());
  area->set_y(area->y() + point.y());
  area->set_points(area->points() + 1);
}

}  // namespace

absl::StatusOr<v1::GetMapResponse> MakeMap(
    const slowloop::TickSnapshot& snapshot, const std::string& project,
    int max_points, const trace::TraceLog& log) {
  const v1::RunMap& map = snapshot.state.map();
  v1::GetMapResponse response;
  std::map<std::string, Area> areas;  // by cluster
  const int drawn = std::min(max_points, map.sequences_size());
  for (int i = 0; i < drawn; ++i) {
    const uint64_t sequence = map.sequences(i);
    const absl::StatusOr<v1::Trace> trace = log.ReadTrace(project, sequence);
    if (absl::IsNotFound(trace.status())) continue;
    FAULTLINE_RETURN_IF_ERROR(trace.status());
    Point& point = *response.add_points();
    point.set_trace_id(trace->trace_id());
    point.set_x(map.x(i));
    point.set_y(map.y(i));
    point.set_outcome(map.outcomes(i));
    point.set_task_type(trace->task().type());
    point.set_model(trace->system().model());
    const auto cluster = snapshot.cluster_of.find(sequence);
    if (cluster == snapshot.cluster_of.end()) continue;
    point.set_cluster(MakeResourceName(project, "clusters", cluster->second));
    AddToArea(point, &areas[cluster->second]);
  }
  std::stable_partition(
      response.mutable_points()->begin(), response.mutable_points()->end(),
      [](const Point& point) { return point.outcome() == v1::OUTCOME_PASS; });
  for (const v1::Cluster& cluster : snapshot.state.clusters()) {
    const auto found = areas.find(cluster.cluster_id());
    if (found == areas.end()) continue;
    Area& area = *response.add_areas();
    area = std::move(found->second);
    area.set_cluster(
        MakeResourceName(project, "clusters", cluster.cluster_id()));
    area.set_title(cluster.title());
    area.set_status(cluster.status());
    area.set_size(cluster.size());
    area.set_x(area.x() / static_cast<double>(area.points()));
    area.set_y(area.y() / static_cast<double>(area.points()));
  }
  std::stable_sort(
      response.mutable_areas()->begin(), response.mutable_areas()->end(),
      [](const Area& a, const Area& b) { return a.size() > b.size(); });
  response.set_tick(snapshot.state.tick().tick());
  response.set_axes_tick(map.axes_tick());
  response.set_shown_scatter(map.shown_scatter());
  response.set_runs(snapshot.state.tick().runs());
  return response;
}

}  // namespace faultline::server
