#ifndef FAULTLINE_LIB_CLUSTER_CLUSTER_TRACKER_H_
#define FAULTLINE_LIB_CLUSTER_CLUSTER_TRACKER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace faultline::cluster {

// How a group of this tick and a cluster of earlier ones compare (METHODS 2.4).
struct Overlap {
  double p = 0;  // share of the group's runs that belong to the cluster
  double q = 0;  // share of the cluster's runs that belong to the group
  double o = 0;  // how much they are the same, in [0, 1]
};

// Groups (rows) against known clusters (columns). Thread-compatible.
class OverlapTable {
 public:
  OverlapTable(size_t groups, size_t known)
      : known_(known), cells_(groups * known) {}

  size_t known() const { return known_; }
  Overlap& at(size_t group, size_t known) {
    return cells_[group * known_ + known];
  }
  const Overlap& at(size_t group, size_t known) const {
    return cells_[group * known_ + known];
  }

 private:
  size_t known_;
  std::vector<Overlap> cells_;
};

// Runs, as points of one view, and what each belongs to; -1: to nothing, which
// votes, too, so that what resembles nothing known goes to nothing.
struct LabelledPoints {
  std::vector<float> vectors;  // n x d
  std::vector<int32_t> label;  // n
};

// P and Q by the vote of the 15 nearest (VoteByNeighbors): the groups' runs are
// given to the known clusters whose exemplars are near, the exemplars to the
// groups; o = 2pq / (p + q). Labels are below `groups` and `known_clusters`.
// Errors as of VoteByNeighbors. Pure; does not depend on `threads`.
absl::StatusOr<OverlapTable> VoteOverlaps(const LabelledPoints& known,
                                          size_t known_clusters,
                                          const LabelledPoints& group,
                                          size_t groups, int d, int threads);

// P and Q by runs in common, among those that both windows could have held
// (first to last); o is their Jaccard similarity. Members are sequences,
// ascending; a run may be in several clusters. All 0 where either has fewer
// than kLeastShared such runs.
inline constexpr size_t kLeastShared = 10;
OverlapTable SharedOverlaps(const std::vector<std::vector<uint64_t>>& known,
                            const std::vector<std::vector<uint64_t>>& groups,
                            uint64_t first, uint64_t last);

// What tracking must know of an earlier cluster.
struct KnownCluster {
  std::string id;
  uint64_t birth_tick = 0;
  uint64_t size = 0;      // when it was last found
  bool may_merge = true;  // else only a reviewer can merge it
};

// The rules of METHODS 2.4.
inline constexpr double kLeastOverlap = 0.3;  // o, to be the same cluster
inline constexpr double kMostlyPart = 0.5;    // p of a part, q of what merged
// Share that must belong the other way round, so that what is merely nearest
// to a cluster is no part of it.
inline constexpr double kLeastReturn = 0.1;

// What became of groups and known clusters. Indices of both.
struct Tracking {
  std::vector<int32_t> cluster;    // of each group: the same one; -1: a new one
  std::vector<int32_t> parent;     // of each group: split from it; -1: none
  std::vector<int32_t> merged_in;  // of each known: group that it is part of
                                   // under another cluster's id; -1: none
};

// Assigns groups to known clusters, one to one, with the largest total o
// (Hungarian method), none below kLeastOverlap. A cluster with two groups or
// more that are mostly part of it is split: the largest is the cluster. Two
// clusters or more that are mostly in one group are merged: the group is the
// oldest (then the larger one, then by id). `size`: of each group. `apart`
// tells which known clusters must never be one. Pure.
Tracking TrackIdentity(const std::vector<KnownCluster>& known,
                       const std::vector<size_t>& size,
                       const OverlapTable& overlaps,
                       const std::vector<std::vector<bool>>& apart);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_CLUSTER_TRACKER_H_
