#ifndef FAULTLINE_LIB_CLUSTER_MODE_H_
#define FAULTLINE_LIB_CLUSTER_MODE_H_

#include <cstdint>
#include <vector>

#include "faultline/v1/cluster.pb.h"
#include "lib/cluster/clusterer.h"

namespace faultline::cluster {

// A candidate failure mode of one tick: groups of the two views that share
// more than half of their members (Jaccard) are one mode with two supports
// (METHODS 1.5). Rows are rows of the tick's failures.
struct Mode {
  std::vector<v1::View> views;   // 1 or 2; the first is the primary one
  Group group;                   // of the primary view
  std::vector<int32_t> members;  // union over the views, ascending
  std::vector<float> strengths;  // largest over the views; parallel
  double overlap = 0;  // Jaccard similarity of the two groups; 0: one view
};

// Merges the groups of the two views, one to one, where their Jaccard overlap
// is above `overlap` (in [0, 1)). The primary view of a merged mode is the one
// with the higher cohesion. Largest mode first, ties by first member. Pure.
std::vector<Mode> MergeViews(const Clustering& behavior,
                             const Clustering& trajectory,
                             double overlap = 0.5);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_MODE_H_
