#ifndef FAULTLINE_LIB_CLUSTER_CLUSTERER_H_
#define FAULTLINE_LIB_CLUSTER_CLUSTERER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/cluster/reference.h"

namespace faultline::cluster {

// Failed runs and what they are filtered against, as vectors. Views into the
// caller's memory; rows are in ascending order of run sequence.
struct ClusteringInput {
  int dimension = 0;                 // d
  absl::Span<const float> failures;  // n x d: the map that is clustered
  absl::Span<const float> pooled;    // m x d: failures and successes in the
                                     // outcome-blind map of the same view
  // The rows of `pooled`, ready to be searched; null: they are made so. With
  // it, `pooled` is left empty, and no success is left out for being many.
  const Reference* reference = nullptr;
  std::vector<bool> pooled_failed;   // m
  std::vector<int32_t> failure_row;  // n: row of each failure in `pooled`
  // n, or empty: slice of each failure. A sample keeps the shares of slices.
  std::vector<uint64_t> failure_stratum;
};

// What groups the shared-nearest-neighbour graph. The first is the default.
enum class Engine : uint8_t {
  kLeiden,   // communities, joined where subsamples do not tell them apart
  kHdbscan,  // dense regions
};

struct ClusterOptions {
  uint64_t seed = 1;
  int threads = 2;
  Engine engine = Engine::kLeiden;
  // Neighbours in the pooled map and the tail probability up to which a
  // failure counts as enriched, by the mean over itself and its nearest
  // failures (METHODS 2.1, step 2; ADR 0009). Below min_failures_to_filter
  // failures, none is filtered.
  int filter_neighbors = 30;
  double filter_tail = 0.5;
  size_t min_failures_to_filter = 400;
  // Resolution of Leiden; 0: 1.0 below 800 failures, else 0.5.
  double resolution = 0;
  // Subsamples that are clustered again: how many, the share of the points and
  // how many at most (METHODS 2.1, step 5).
  int replicates = 10;
  double replicate_share = 0.7;
  size_t max_replicate_points = 1500;
  // Similarity down to which communities are one mode.
  double join_similarity = 0.5;
  // Exemplars kept of each cluster.
  int exemplars = 5;
  // Failures that are clustered, and successes that they are filtered against;
  // beyond it a stratified sample is, and the other failures are assigned by
  // the vote of their neighbours (METHODS 2.3).
  size_t max_failures = 200000;
  size_t max_successes = 200000;
};

// A part of a group that hangs together more closely than the whole.
struct SubMode {
  std::vector<int32_t> members;  // ascending
  int32_t medoid = -1;
  // Similarity at which it became part of the group, in [0, 1]; 0 where the
  // engine has none.
  double similarity = 0;
};

// One group of failures: at least max(10, sqrt(n) / 2) of them. With kLeiden,
// each has at least half of its ties inside. Copies of a run are in the same
// group. Rows are rows of ClusteringInput::failures.
struct Group {
  std::vector<int32_t> members;    // ascending
  std::vector<float> strengths;    // in (0, 1]; parallel. kLeiden: share of the
                                   // ties inside; kHdbscan: relative density.
                                   // Of what was assigned: share of the votes
  int32_t medoid = -1;             // strongest ties inside
  std::vector<int32_t> exemplars;  // the medoid, then far from each other
  std::vector<float> centroid;     // d: mean
  float radius = 0;                // L2 from the centroid, 90 % quantile
  float cohesion = 0;              // mean strength
  // How well subsamples find it again, in [0, 1]; -1: too small to be in them,
  // or there were none. See MeasureStability.
  double stability = -1;
  // Largest Jaccard similarity to a group of the other engine, in [0, 1].
  double agreement = 0;
  std::vector<SubMode> sub_modes;  // largest first; none or at least 2
  // Failures of its region with less than half of their ties inside: noise.
  std::vector<int32_t> boundary;  // by falling share of the ties, then by row
};

struct Clustering {
  std::vector<Group> groups;   // largest first, ties by first member
  std::vector<int32_t> label;  // n: index of the group, or -1: noise
  size_t filtered = 0;         // failures dropped by the enrichment filter
  size_t boundary = 0;         // failures between the groups
  size_t assigned = 0;         // failures that were not in the sample
  // Adjusted Rand index of the two engines over the failures that passed the
  // filter, noise as a class of its own.
  double agreement = 1;
};

// Groups failures: duplicates folded, enrichment filter, shared-nearest-
// neighbour graph, communities, consensus over subsamples, membership,
// exemplars (METHODS 2.1). Pure: the same input and seed give the same bytes
// with any number of threads. INVALID_ARGUMENT where the lengths disagree.
absl::StatusOr<Clustering> ClusterFailures(const ClusteringInput& input,
                                           const ClusterOptions& options);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_CLUSTERER_H_
