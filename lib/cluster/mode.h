#ifndef FAULTLINE_LIB_CLUSTER_MODE_H_
#define FAULTLINE_LIB_CLUSTER_MODE_H_

#include <cstdint>
#include <string>
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
};

// Merges the groups of the two views. The primary view of a merged mode is the
// one with the higher cohesion. Largest mode first. `overlap` in (0, 1].
std::vector<Mode> MergeViews(const Clustering& behavior,
                             const Clustering& trajectory,
                             double overlap = 0.5);

// Held-out enrichment of each mode (METHODS 3.2): the gate.
struct EnrichmentInput {
  int dimension = 0;
  // Discovery side: vectors of the outcome-blind map of the mode's view
  // (m x d) and, for each, the index of its mode, -1 (failure without mode) or
  // -2 (success).
  absl::Span<const float> reference;
  std::vector<int32_t> reference_label;
  // Held-out side: vectors (q x d), outcome, and stratum in [0, strata).
  absl::Span<const float> held_out;
  std::vector<bool> held_out_failed;
  std::vector<int32_t> stratum;
  int strata = 1;
  int modes = 0;
};

struct EnrichmentResult {
  std::vector<v1::Enrichment> enrichment;  // by mode, adjusted_p_value unset
  std::vector<int32_t> assigned;           // q: mode of each held-out run, -1
};

// 15-nearest-neighbour vote (at least 5 votes, top mode), then the exact
// stratified test. INVALID_ARGUMENT where the lengths disagree.
absl::StatusOr<EnrichmentResult> TestEnrichment(const EnrichmentInput& input,
                                                int threads);

// Stratum of each held-out run: octiles of the prognostic score, the shrunk
// failure rate (f + 5 b) / (n + 5) of its cell on the discovery side, b the
// pooled rate (Hansen 2008). Cells are any grouping, such as (task type,
// model). Returns strata in [0, 8) and writes their number.
std::vector<int32_t> PrognosticStrata(
    const std::vector<uint64_t>& discovery_cell,
    const std::vector<bool>& discovery_failed,
    const std::vector<uint64_t>& held_out_cell, int* strata);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_MODE_H_
