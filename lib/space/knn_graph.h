#ifndef FAULTLINE_LIB_SPACE_KNN_GRAPH_H_
#define FAULTLINE_LIB_SPACE_KNN_GRAPH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace faultline::space {

// Nearest neighbours of every row of a matrix, for batch work (the serving
// index is VectorSpace). Immutable.
struct KnnGraph {
  int k = 0;
  // Row-major n x k, nearest first, ties by row; -1 pads where there are
  // fewer. A point is not its own neighbour.
  std::vector<int32_t> neighbors;
  // Squared L2, parallel to `neighbors`; infinity where padded. What is within
  // rounding of 0 is 0.
  std::vector<float> distances;
  // The rows in an order in which near ones are close to each other, for what
  // walks over the graph and would rather find its memory in the cache. Empty
  // where the graph is small or of queries: the order of the rows will do.
  std::vector<int32_t> order;
};

struct KnnOptions {
  // Points up to which the graph is exact.
  size_t exact_limit = 12000;
  // Buckets visited beyond it (METHODS 2.3).
  int probes = 16;
  uint64_t seed = 1;
  // Threads; the result does not depend on it.
  int threads = 2;
};

// k nearest neighbours of each of n points (row-major n x d) among themselves.
// INVALID_ARGUMENT for a length that is not a multiple of d, a row that is not
// finite, or d, k, probes or threads < 1. Memory: a copy of the points beyond
// exact_limit. The result depends on the points, k, exact_limit, probes and
// seed alone.
absl::StatusOr<KnnGraph> BuildKnnGraph(absl::Span<const float> points, int d,
                                       int k, const KnnOptions& options);

// Points that are searched more than once. Keeps a copy of them. Immutable, so
// thread-safe.
class NeighborIndex {
 public:
  // Of n points (n x d), numbered by their rows. INVALID_ARGUMENT as above.
  static absl::StatusOr<NeighborIndex> Create(absl::Span<const float> points,
                                              int d, const KnnOptions& options);
  NeighborIndex(NeighborIndex&& other) noexcept;
  NeighborIndex& operator=(NeighborIndex&& other) noexcept;
  ~NeighborIndex();

  // k nearest points of each of m queries (m x d). INVALID_ARGUMENT as above.
  absl::StatusOr<KnnGraph> Search(absl::Span<const float> queries, int k,
                                  int threads) const;

  // k nearest points of each of `points`, themselves among them: cheaper than
  // to ask for their vectors. INVALID_ARGUMENT for k or threads < 1.
  absl::StatusOr<KnnGraph> SearchPoints(absl::Span<const int32_t> points, int k,
                                        int threads) const;

 private:
  struct Points;
  explicit NeighborIndex(std::unique_ptr<const Points> points);

  std::unique_ptr<const Points> points_;
};

// One search of an index: k nearest points (n x d) of each of m queries
// (m x d). Exact up to exact_limit points.
absl::StatusOr<KnnGraph> SearchKnn(absl::Span<const float> points,
                                   absl::Span<const float> queries, int d,
                                   int k, const KnnOptions& options);

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_KNN_GRAPH_H_
