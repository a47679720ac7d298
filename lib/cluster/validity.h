#ifndef FAULTLINE_LIB_CLUSTER_VALIDITY_H_
#define FAULTLINE_LIB_CLUSTER_VALIDITY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/validity.pb.h"
#include "lib/cluster/leiden.h"
#include "lib/space/knn_graph.h"

// What speaks for and against a mode besides the gate (METHODS 1.4, 3). Pure
// functions of their input, whatever the number of threads.

namespace faultline::cluster {

// Failures to cluster again, and the mode of each. Views into the caller's
// memory.
struct CheckSample {
  int dimension = 0;                // d
  absl::Span<const float> vectors;  // n x d
  absl::Span<const int32_t> mode;   // n: in [0, modes), or -1
  int modes = 0;
};

// Clusters a sample, or what is left of it, once more: communities of the
// shared-neighbour graph. The neighbours are looked for once. Immutable, so
// thread-safe.
class Rediscovery {
 public:
  // Requires lengths that agree. Returns the errors of space::BuildKnnGraph.
  static absl::StatusOr<Rediscovery> Create(const CheckSample& sample,
                                            uint64_t seed, int threads);

  // Community of each row of the sample; -1 where it was not kept, or has no
  // vector. `kept`: n, or empty: all. `resolution`: of Leiden; 0: as in
  // ClusterOptions.
  std::vector<int32_t> Communities(const std::vector<bool>& kept,
                                   double resolution = 0) const;

  // Of each mode: Jaccard similarity of its rows that were kept to the
  // communities that are mostly its own (MeasureStability), in [0, 1]; -1 where
  // fewer than 15 were kept.
  std::vector<double> FindAgain(const std::vector<bool>& kept) const;

  // Of each mode: mean weight of the ties between its points, in [0, 1]; -1
  // where it has fewer than 15 rows or no ties.
  std::vector<double> TieWeights() const;

  // The largest such mean of any community; 0 where there is none.
  double HeaviestCommunity() const;

 private:
  Rediscovery() = default;

  Graph KeptGraph(const std::vector<int64_t>& copies,
                  std::vector<int32_t>* points) const;
  std::vector<int64_t> CountCopies(const std::vector<bool>& kept) const;

  uint64_t seed_ = 0;
  int modes_ = 0;
  int32_t located_ = 0;
  std::vector<int32_t> point_;          // of each row
  std::vector<int32_t> mode_of_point_;  // that of its first row
  space::KnnGraph knn_;                 // of the located points
};

// Columns [begin, begin + size) of a vector: one channel.
struct VectorBlock {
  int begin;
  int size;
};

// Shuffles every block among the rows of a stratum, clusters, and looks for the
// heaviest community of at least 15 rows (mean weight of its ties): one figure
// for each of `replicates` shuffles, in no order that means anything; 0 where
// there is no such community. Returns the errors of space::BuildKnnGraph.
absl::StatusOr<std::vector<double>> HeaviestShuffledTies(
    const CheckSample& sample, absl::Span<const VectorBlock> blocks,
    absl::Span<const int32_t> stratum, int replicates, uint64_t seed,
    int threads);

// Takes out of each failure what the successes of its slice have beyond all
// successes: the difference of the means times n / (n + 50), n the successes of
// the slice (METHODS 1.4), then gives the row its length back. Slices are
// levels in [0, levels); a failure with level -1 is left as it is. Row-major,
// n x d and m x d.
std::vector<float> RemoveSliceMeans(absl::Span<const float> failures,
                                    absl::Span<const int32_t> failure_level,
                                    absl::Span<const float> successes,
                                    absl::Span<const int32_t> success_level,
                                    int levels, int d);

// Of each mode: share of the pairs of rows assigned to it that `community` puts
// together (Tibshirani and Walther 2005), among rows with a community; -1 where
// there are fewer than 5 of those.
std::vector<double> PredictionStrengths(absl::Span<const int32_t> assigned,
                                        absl::Span<const int32_t> community,
                                        int modes);

// Held-out runs, as the gate counts them.
struct HeldOutRuns {
  absl::Span<const int32_t> assigned;  // q: mode, or -1
  const std::vector<bool>* failed = nullptr;
  absl::Span<const int32_t> stratum;
  int strata = 1;
  int modes = 0;
};

// How the gate's test fares within the values of a variable.
struct Replication {
  int tested = 0;
  double share = -1;  // of the tested, with an odds ratio above 1; -1: none
  double q = 0;
  double i_squared = 0;
  double p_value = 1;  // of q
};

// Tests each mode within each value of a variable (level: q, in [0, levels), or
// -1) that has at least 8 runs to be expected in its region.
std::vector<Replication> ReplicateWithin(const HeldOutRuns& runs,
                                         absl::Span<const int32_t> level,
                                         int levels);

// Held-out runs in a region without which nothing is confirmed (METHODS 3.5).
inline constexpr uint64_t kLeastConfirmingRuns = 20;

// Whether a mode holds across a variable: transfer at least .5, or replication
// at least .6, or neither could be measured.
bool HoldsAcross(const v1::SliceCheck& slice);

// Everything that a status rests on.
struct Standing {
  double stability = -1;  // -1: not known
  v1::Enrichment enrichment;
  v1::Validity validity;
  double min_odds_ratio = 1.5;
  // It was refused in the tick before, and no batch of held-out runs has been
  // tested since.
  bool refused_before = false;
};

struct Verdict {
  v1::Cluster::Status status = v1::Cluster::STATUS_HYPOTHESIS;
  std::string reason;                 // in words
  std::vector<std::string> concerns;  // what speaks against it, in words
};

// The status of METHODS 3.5: ARTIFACT where something refutes it, else STABLE
// where nothing is missing, CANDIDATE where it is found again and its p-value
// is at most .05, HYPOTHESIS otherwise.
Verdict Judge(const Standing& standing);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_VALIDITY_H_
