#ifndef FAULTLINE_LIB_CLUSTER_ENRICHMENT_H_
#define FAULTLINE_LIB_CLUSTER_ENRICHMENT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/cluster.pb.h"
#include "lib/cluster/reference.h"

// The gate: do runs that were kept out of discovery fail more in the region of
// a mode than their strata explain (METHODS 3.2)? Pure functions.

namespace faultline::cluster {

// Labels of the reference that are not modes.
inline constexpr int32_t kOtherFailure = -1;
inline constexpr int32_t kSuccess = -2;

// Views into the caller's memory. Outcomes of the held-out side are read only
// after every held-out run has been assigned.
struct EnrichmentInput {
  int dimension = 0;  // d
  // Discovery side: vectors of the outcome-blind map of the modes' view
  // (m x d) and, for each, the index of its mode, kOtherFailure or kSuccess.
  absl::Span<const float> reference;
  std::vector<int32_t> reference_label;
  // The vectors of the discovery side, ready to be searched; null: the test
  // makes them so. With it, `reference` is left empty.
  const Reference* ready = nullptr;
  // Held-out side: vectors (q x d), outcome, and stratum in [0, strata).
  absl::Span<const float> held_out;
  std::vector<bool> held_out_failed;
  std::vector<int32_t> stratum;
  int strata = 1;
  int modes = 0;
  // More points (p x d) to assign, without a test.
  absl::Span<const float> others;
};

struct EnrichmentResult {
  // By mode. adjusted_p_value is not set: the caller adjusts over all modes of
  // the tick. `strata` counts those in which the mode could have differed.
  std::vector<v1::Enrichment> enrichment;
  std::vector<int32_t> assigned;         // q: mode of each held-out run, or -1
  std::vector<int32_t> others_assigned;  // p: of each of the others
};

// Assigns each held-out run to the mode that most of its 15 nearest reference
// points belong to, if that mode has at least 5 of them (ties: the lower
// index); then tests each mode: exact stratified p-value and Mantel-Haenszel
// odds ratio of failure, inside against outside. Several reference runs at one
// distance count by their average, so that the order of the runs does not
// matter. INVALID_ARGUMENT where lengths or labels disagree.
absl::StatusOr<EnrichmentResult> TestEnrichment(const EnrichmentInput& input,
                                                int threads);

// The tests alone, of runs that have been assigned: those with `counted`, or
// all where it is empty. Requires equal lengths and labels in range.
std::vector<v1::Enrichment> TestAssigned(absl::Span<const int32_t> assigned,
                                         const std::vector<bool>& failed,
                                         absl::Span<const int32_t> stratum,
                                         int strata, int modes,
                                         const std::vector<bool>& counted = {});

// Stratum of each held-out run. A cell with at least 20 held-out runs is a
// stratum of its own; the runs of smaller ones share at most 8 strata, the
// octiles of the prognostic score, the shrunk failure rate (f + 5 b) / (n + 5)
// of their cell on the discovery side, b the pooled rate (Hansen 2008). Cells
// are any grouping, such as (task type, model); runs of one cell are never
// parted, and an unknown cell scores b. Returns the strata, the shared ones
// first, each kind numbered by rising score, and writes how many.
std::vector<int32_t> PrognosticStrata(
    const std::vector<uint64_t>& discovery_cell,
    const std::vector<bool>& discovery_failed,
    const std::vector<uint64_t>& held_out_cell, int* strata);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_ENRICHMENT_H_
