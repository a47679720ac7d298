#ifndef FAULTLINE_LIB_CLUSTER_REFERENCE_H_
#define FAULTLINE_LIB_CLUSTER_REFERENCE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/cluster/duplicates.h"
#include "lib/space/knn_graph.h"

namespace faultline::cluster {

// Runs that others are compared with, in the outcome-blind map of a view:
// copies folded, ready to be searched. The enrichment filter and the gate ask
// the same ones, so a tick prepares them once. Immutable, so thread-safe.
struct Reference {
  int dimension = 0;
  // Of the runs; `point` is by run, and `vectors` has moved into `index`.
  Folding folding;
  // Of the located points. Votes and shares take many neighbours together, so
  // it visits fewer buckets than a neighbour graph needs.
  space::NeighborIndex index;

  size_t runs() const { return folding.point.size(); }
  size_t points() const { return folding.first_row.size(); }
};

// The reference whose run i is row `rows[i]` of `matrix` (row-major n x d).
// Returns the errors of space::NeighborIndex.
absl::StatusOr<Reference> MakeReference(absl::Span<const float> matrix, int d,
                                        absl::Span<const int32_t> rows,
                                        int threads);
// Of every row.
absl::StatusOr<Reference> MakeReference(absl::Span<const float> matrix, int d,
                                        int threads);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_REFERENCE_H_
