#ifndef FAULTLINE_LIB_CLUSTER_HDBSCAN_H_
#define FAULTLINE_LIB_CLUSTER_HDBSCAN_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/cluster/leiden.h"

namespace faultline::cluster {

struct HdbscanOptions {
  // A point is as dense as its tie to the neighbour of this rank.
  int min_samples = 10;
  // Runs that a cluster must have.
  double min_cluster_size = 10;
};

// What density says of each point.
struct HdbscanResult {
  std::vector<int32_t> label;  // n: cluster, numbered by first point; -1: noise
  std::vector<float> strength;  // n: how deep inside, in [0, 1]; 0 for noise
  std::vector<int32_t> part;    // n: leaf of the condensed tree below its
                                // cluster, numbered by first point; points that
                                // left before it parted are in the leaf -1
  std::vector<int32_t> part_label;  // by part: its cluster
};

// HDBSCAN* (Campello, Moulavi and Sander 2013) on a graph of similarities in
// (0, 1]: distance is 1 - weight, and 1 between points that are not joined,
// which for shared neighbours is exact: they share none. Clusters are chosen by
// excess of mass; the root is never one, but where there is only one point.
// `copies` gives the runs at each point: copies lie at distance 0. Pure.
HdbscanResult Hdbscan(const Graph& graph, absl::Span<const int64_t> copies,
                      const HdbscanOptions& options);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_HDBSCAN_H_
