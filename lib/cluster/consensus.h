#ifndef FAULTLINE_LIB_CLUSTER_CONSENSUS_H_
#define FAULTLINE_LIB_CLUSTER_CONSENSUS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

// What clusterings of subsamples say of a clustering of all (METHODS 2.1 step
// 5, and 3.1). Pure functions.

namespace faultline::cluster {

// The clustering of one subsample, drawn without replacement.
struct Replicate {
  std::vector<int32_t> points;     // ascending
  std::vector<int32_t> community;  // of each, from 0; -1: noise
};

// Two nodes of a dendrogram that become one. Nodes below the number of
// communities are communities, node `communities + i` is join i.
struct Join {
  int32_t first;
  int32_t second;
  double similarity;  // in [0, 1]
};

// How communities belong together.
struct Dendrogram {
  std::vector<Join> joins;  // by falling similarity
  // Of each community: the mode that it is part of, numbered by first
  // community.
  std::vector<int32_t> mode;
  // Of each community: similarity at which it became part of its mode; 1 where
  // it is the whole mode.
  std::vector<double> similarity;
};

// Points that a community must have in a replicate to be compared at all.
inline constexpr double kLeastExpectedPoints = 15;

// Joins communities (of every point; -1: none) that the replicates do not tell
// apart: average linkage on how alike their points are spread over the
// communities of the replicates, down to a similarity of `cut`. A community of
// which a replicate of average size holds less than kLeastExpectedPoints stays
// alone: rare modes are not swallowed for want of a sample.
Dendrogram JoinCommunities(absl::Span<const int32_t> community,
                           int32_t communities,
                           absl::Span<const Replicate> replicates, double cut);

// How well each mode is found again: the communities of a replicate go to the
// mode that holds most of their runs, and the mean over the replicates of the
// Jaccard similarity of a mode, restricted to the subsample, to what it got
// (Hennig 2007). `mode` gives the mode of every point, -1: none; `copies` the
// runs at each. In [0, 1]; -1 for a mode too small to be in the replicates (see
// kLeastExpectedPoints).
std::vector<double> MeasureStability(absl::Span<const int32_t> mode,
                                     int32_t modes,
                                     absl::Span<const int64_t> copies,
                                     absl::Span<const Replicate> replicates);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_CONSENSUS_H_
