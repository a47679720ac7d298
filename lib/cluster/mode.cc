#include "lib/cluster/mode.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace faultline::cluster {
namespace {

// Groups of the two views and their overlap.
struct Pair {
  double jaccard;
  size_t behavior;
  size_t trajectory;
};

std::vector<Pair> OverlappingPairs(const Clustering& behavior,
                                   const Clustering& trajectory,
                                   double overlap) {
  std::vector<Pair> pairs;
  std::vector<int64_t> shared(trajectory.groups.size());
  for (size_t b = 0; b < behavior.groups.size(); ++b) {
    std::fill(shared.begin(), shared.end(), 0);
    for (const int32_t row : behavior.groups[b].members) {
      const int32_t t = trajectory.label[row];
      if (t >= 0) ++shared[t];
    }
    for (size_t t = 0; t < shared.size(); ++t) {
      const double either =
          static_cast<double>(behavior.groups[b].members.size() +
                              trajectory.groups[t].members.size()) -
          static_cast<double>(shared[t]);
      const double jaccard = static_cast<double>(shared[t]) / either;
      if (jaccard > overlap) pairs.push_back({jaccard, b, t});
    }
  }
  std::sort(pairs.begin(), pairs.end(), [](const Pair& x, const Pair& y) {
    return std::make_tuple(-x.jaccard, x.behavior, x.trajectory) <
           std::make_tuple(-y.jaccard, y.behavior, y.trajectory);
  });
  return pairs;
}

Mode FromOneView(v1::View view, const Group& group) {
  return {{view}, group, group.members, group.strengths, 0};
}

Mode FromBothViews(const Group& behavior, const Group& trajectory) {
  const bool behavior_first = behavior.cohesion >= trajectory.cohesion;
  Mode mode;
  mode.views = {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY};
  if (!behavior_first) std::swap(mode.views[0], mode.views[1]);
  mode.group = behavior_first ? behavior : trajectory;

  size_t b = 0, t = 0;
  while (b < behavior.members.size() || t < trajectory.members.size()) {
    const bool in_behavior = t == trajectory.members.size() ||
                             (b < behavior.members.size() &&
                              behavior.members[b] <= trajectory.members[t]);
    const bool in_trajectory = b == behavior.members.size() ||
                               (t < trajectory.members.size() &&
                                trajectory.members[t] <= behavior.members[b]);
    mode.members.push_back(in_behavior ? behavior.members[b]
                                       : trajectory.members[t]);
    mode.strengths.push_back(
        std::max(in_behavior ? behavior.strengths[b] : 0,
                 in_trajectory ? trajectory.strengths[t] : 0));
    b += in_behavior;
    t += in_trajectory;
  }
  return mode;
}

}  // namespace

std::vector<Mode> MergeViews(const Clustering& behavior,
                             const Clustering& trajectory, double overlap) {
  std::vector<Mode> modes;
  std::vector<bool> behavior_done(behavior.groups.size());
  std::vector<bool> trajectory_done(trajectory.groups.size());
  for (const Pair& pair : OverlappingPairs(behavior, trajectory, overlap)) {
    if (behavior_done[pair.behavior] || trajectory_done[pair.trajectory]) {
      continue;
    }
    behavior_done[pair.behavior] = trajectory_done[pair.trajectory] = true;
    modes.push_back(FromBothViews(behavior.groups[pair.behavior],
                                  trajectory.groups[pair.trajectory]));
    modes.back().overlap = pair.jaccard;
  }
  for (size_t b = 0; b < behavior.groups.size(); ++b) {
    if (behavior_done[b]) continue;
    modes.push_back(FromOneView(v1::VIEW_BEHAVIOR, behavior.groups[b]));
  }
  for (size_t t = 0; t < trajectory.groups.size(); ++t) {
    if (trajectory_done[t]) continue;
    modes.push_back(FromOneView(v1::VIEW_TRAJECTORY, trajectory.groups[t]));
  }
  std::stable_sort(modes.begin(), modes.end(),
                   [](const Mode& x, const Mode& y) {
                     return x.members.size() != y.members.size()
                                ? x.members.size() > y.members.size()
                                : x.members[0] < y.members[0];
                   });
  return modes;
}

}  // namespace faultline::cluster
