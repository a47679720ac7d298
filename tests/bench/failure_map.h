#ifndef FAULTLINE_TESTS_BENCH_FAILURE_MAP_H_
#define FAULTLINE_TESTS_BENCH_FAILURE_MAP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/cluster/clusterer.h"
#include "lib/embedding/embedder.h"
#include "lib/slowloop/run_window.h"

namespace faultline::bench {

// Failures of the discovery side as one view clusters them, in the order in
// which a tick sees them.
struct FailureMap {
  int dimension = 0;
  std::vector<float> vectors;        // n x d: where they are clustered
  std::vector<float> pooled;         // m x d: the view's map without outcome
  std::vector<bool> pooled_failed;   // m
  std::vector<int32_t> failure_row;  // n: row in `pooled`
  std::vector<uint64_t> sequence;    // n
};

// What the tick that gave `embedder` clustered in `view`. Pure.
FailureMap MapFailures(const slowloop::RunWindow& window,
                       double discovery_share,
                       const embedding::Embedder& embedder, v1::View view,
                       int threads);

// The groups that the default engine makes of them. Returns its errors.
absl::StatusOr<cluster::Clustering> ClusterMap(const FailureMap& map,
                                               int threads);

// What a run did, as words on one line: for those who start from raw runs.
std::string StepWords(const v1::Trace& trace);

// Writes a vector, or the rows x columns of a matrix, as numpy reads it.
// UNAVAILABLE where `path` cannot be written.
absl::Status WriteNpy(const std::string& path,
                      const std::vector<int32_t>& values);
absl::Status WriteNpy(const std::string& path, const std::vector<float>& values,
                      int columns);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_FAILURE_MAP_H_
