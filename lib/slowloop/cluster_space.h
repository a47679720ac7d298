#ifndef FAULTLINE_LIB_SLOWLOOP_CLUSTER_SPACE_H_
#define FAULTLINE_LIB_SLOWLOOP_CLUSTER_SPACE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "faultline/v1/cluster.pb.h"
#include "lib/embedding/embedder.h"
#include "lib/embedding/run.h"
#include "lib/embedding/whitening.h"
#include "lib/slowloop/matrix.h"

namespace faultline::slowloop {

// The runs of a tick, in the maps that know no outcome. Views.
struct EmbeddedRuns {
  const embedding::Embedder* embedder = nullptr;
  absl::Span<const embedding::Run* const> runs;
  const Matrix* trajectory = nullptr;  // by run
  // Rows of the discovery side.
  absl::Span<const int32_t> failures;
  absl::Span<const int32_t> successes;
  int threads = 1;
};

// The space that the failures of each view are clustered in: E_f for the
// behaviour view, with contrast weights (METHODS 1.2); for the other the
// trajectory map, less the model and its route and with half of the signals
// (ADR 0014). Both are whitened by the successes (embedding/whitening.h). It is
// of one tick, learned from its discovery side. Immutable, so thread-safe;
// `runs` must outlive it. Does not depend on `threads`.
class ClusterSpace {
 public:
  explicit ClusterSpace(const EmbeddedRuns& runs);

  // Unit vectors (rows x d) of runs of any side.
  Matrix Vectors(v1::View view, absl::Span<const int32_t> rows) const;

 private:
  // Without the whitening.
  Matrix Raw(v1::View view, absl::Span<const int32_t> rows) const;

  const EmbeddedRuns runs_;
  embedding::ContrastWeights contrast_;
  embedding::Whitening behavior_;
  embedding::Whitening trajectory_;
};

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_CLUSTER_SPACE_H_
