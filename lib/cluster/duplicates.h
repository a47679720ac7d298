#ifndef FAULTLINE_LIB_CLUSTER_DUPLICATES_H_
#define FAULTLINE_LIB_CLUSTER_DUPLICATES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace faultline::cluster {

// Distinct points of a matrix and which rows stand at each. Neighbours are
// looked for among points: otherwise k copies of one run would have no
// neighbour but each other.
struct Folding {
  std::vector<int32_t> point;      // of each row asked for
  std::vector<int32_t> first_row;  // of the matrix, of each point
  // The points that have a place, as vectors (located x d). Rows of zeros (runs
  // without any token) have none: they are near to each other only. Where there
  // are any, they are the last point, and `located` is one less than the number
  // of points.
  int32_t located = 0;
  std::vector<float> vectors;
};

// Folds `rows` (indices, any order) of `matrix` (row-major n x d). Vectors are
// the same where they agree in every component after rounding to 1/16384.
// Points are numbered in order of first appearance. Pure.
Folding FoldDuplicates(absl::Span<const float> matrix, int d,
                       absl::Span<const int32_t> rows);
// Of every row.
Folding FoldDuplicates(absl::Span<const float> matrix, int d);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_DUPLICATES_H_
