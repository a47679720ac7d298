#ifndef FAULTLINE_LIB_CLUSTER_CLUSTERER_H_
#define FAULTLINE_LIB_CLUSTER_CLUSTERER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace faultline::cluster {

// Failed runs and what they are filtered against, as vectors. Views into the
// caller's memory; rows are in ascending order of run sequence.
struct ClusteringInput {
  int dimension = 0;                 // d
  absl::Span<const float> failures;  // n x d: the map that is clustered
  absl::Span<const float> pooled;    // m x d: failures and successes in the
                                     // outcome-blind map of the same view
  std::vector<bool> pooled_failed;   // m
  std::vector<int32_t> failure_row;  // n: row of each failure in `pooled`
};

struct ClusterOptions {
  uint64_t seed = 1;
  int threads = 2;
  // Neighbours in the pooled map and the tail probability up to which a
  // failure counts as enriched (METHODS 2.1, step 2). Below
  // min_failures_to_filter failures, none is filtered.
  int filter_neighbors = 30;
  double filter_tail = 0.2;
  size_t min_failures_to_filter = 400;
  // Resolution of Leiden; 0: 1.0 below 800 failures, else 0.5.
  double resolution = 0;
  // Exemplars kept of each cluster.
  int exemplars = 5;
};

// One group of failures: at least max(10, sqrt(n) / 2) of them, each with at
// least half of its ties inside. Copies of a run are in the same group. Rows
// are rows of ClusteringInput::failures.
struct Group {
  std::vector<int32_t> members;    // ascending
  std::vector<float> strengths;    // share of SNN weight inside; parallel
  int32_t medoid = -1;             // strongest ties inside
  std::vector<int32_t> exemplars;  // the medoid, then far from each other
  std::vector<float> centroid;     // d: mean
  float radius = 0;                // L2 from the centroid, 90 % quantile
  float cohesion = 0;              // mean strength
};

struct Clustering {
  std::vector<Group> groups;   // largest first, ties by first member
  std::vector<int32_t> label;  // n: index of the group, or -1: noise
  size_t filtered = 0;         // failures dropped by the enrichment filter
};

// Groups failures: duplicates folded, enrichment filter, shared-nearest-
// neighbour graph, Leiden, membership, exemplars (METHODS 2.1, steps 1 to 4, 6
// and 7). Pure: the same input and seed give the same bytes with any number of
// threads. INVALID_ARGUMENT where the lengths disagree.
absl::StatusOr<Clustering> ClusterFailures(const ClusteringInput& input,
                                           const ClusterOptions& options);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_CLUSTERER_H_
