#include "lib/slowloop/run_map.h"

#include <algorithm>
#include <utility>

#include "lib/base/hash.h"
#include "lib/cluster/plane.h"

namespace faultline::slowloop {
namespace {

// Points of all clusters together, of failures, and of everything.
constexpr size_t kMaxMembers = 1000;
constexpr size_t kMaxOfCluster = 40;
constexpr size_t kMaxFailures = 1400;
constexpr size_t kMaxPoints = 2000;
constexpr uint64_t kSalt = 0xa7145;

// A row by the hash of its run's id.
struct Ranked {
  uint64_t hash;
  int32_t row;
};

class Selection {
 public:
  explicit Selection(absl::Span<const embedding::Run* const> runs)
      : runs_(runs), chosen_(runs.size()) {}

  // The first rows by hash, until there are `limit` in all.
  void Take(absl::Span<const int32_t> rows, size_t limit) {
    std::vector<Ranked> ranked;
    for (const int32_t row : rows) {
      if (!chosen_[row]) {
        ranked.push_back({base::Hash64(runs_[row]->trace_id, kSalt), row});
      }
    }
    const size_t most = limit - std::min(limit, points_.size());
    const auto end =
        ranked.begin() + static_cast<ptrdiff_t>(std::min(most, ranked.size()));
    std::partial_sort(ranked.begin(), end, ranked.end(), Before);
    for (auto point = ranked.begin(); point != end; ++point) {
      chosen_[point->row] = true;
      points_.push_back(*point);
    }
  }

  // By hash.
  std::vector<Ranked> Points() && {
    std::sort(points_.begin(), points_.end(), Before);
    return std::move(points_);
  }
  size_t size() const { return points_.size(); }

 private:
  // Rows are by trace id.
  static bool Before(const Ranked& a, const Ranked& b) {
    return a.hash != b.hash ? a.hash < b.hash : a.row < b.row;
  }

  const absl::Span<const embedding::Run* const> runs_;
  std::vector<bool> chosen_;
  std::vector<Ranked> points_;
};

std::vector<Ranked> SelectPoints(const RunMapInput& input) {
  Selection selection(input.runs);
  const size_t of_each = std::min(
      kMaxOfCluster, kMaxMembers / std::max<size_t>(1, input.members.size()));
  for (const std::vector<int32_t>& members : input.members) {
    selection.Take(members, selection.size() + of_each);
  }
  std::vector<int32_t> failures;
  std::vector<int32_t> successes;
  for (const int32_t row : input.rows) {
    (input.runs[row]->failed() ? failures : successes).push_back(row);
  }
  selection.Take(failures, kMaxFailures);
  selection.Take(successes, kMaxPoints);
  return std::move(selection).Points();
}

cluster::Plane PreviousPlane(const v1::RunMap& map) {
  cluster::Plane plane;
  plane.origin.assign(map.origin().begin(), map.origin().end());
  plane.x_axis.assign(map.x_axis().begin(), map.x_axis().end());
  plane.y_axis.assign(map.y_axis().begin(), map.y_axis().end());
  return plane;
}

}  // namespace

v1::RunMap DrawRuns(const RunMapInput& input) {
  const std::vector<Ranked> points = SelectPoints(input);
  const auto clusters = static_cast<int32_t>(input.members.size());
  std::vector<int32_t> cluster_of(input.runs.size(), -1);
  for (int32_t c = 0; c < clusters; ++c) {
    for (const int32_t row : input.members[c]) cluster_of[row] = c;
  }
  std::vector<int32_t> rows;
  std::vector<int32_t> group;
  for (const Ranked& point : points) {
    rows.push_back(point.row);
    const bool failed = input.runs[point.row]->failed();
    group.push_back(cluster_of[point.row] >= 0 ? cluster_of[point.row]
                                               : clusters + (failed ? 0 : 1));
  }
  const Matrix vectors = SelectRows(*input.trajectory, rows);
  const int d = vectors.dimension;
  cluster::Plane previous = PreviousPlane(*input.previous);
  if (static_cast<int>(previous.origin.size()) != d) previous = {};
  const cluster::Plane plane =
      cluster::ChoosePlane(vectors.values, group, d, previous);

  v1::RunMap map;
  map.set_axes_tick(plane.x_axis == previous.x_axis
                        ? input.previous->axes_tick()
                        : input.tick);
  map.mutable_origin()->Assign(plane.origin.begin(), plane.origin.end());
  map.mutable_x_axis()->Assign(plane.x_axis.begin(), plane.x_axis.end());
  map.mutable_y_axis()->Assign(plane.y_axis.begin(), plane.y_axis.end());
  map.set_shown_scatter(plane.shown);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto [x, y] = cluster::ProjectOnto(plane, vectors.row(i));
    map.add_sequences(input.runs[rows[i]]->sequence);
    map.add_x(x);
    map.add_y(y);
    map.add_outcomes(input.runs[rows[i]]->outcome);
  }
  return map;
}

}  // namespace faultline::slowloop
