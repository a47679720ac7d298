#ifndef FAULTLINE_LIB_EMBEDDING_WHITENING_H_
#define FAULTLINE_LIB_EMBEDDING_WHITENING_H_

#include <vector>

#include "absl/types/span.h"
#include "lib/embedding/embedder.h"

namespace faultline::embedding {

// A linear map of the vectors of runs in which all directions count alike that
// runs without fault vary in, so that what failures have of their own stands
// out: inside each channel the vectors are multiplied by the inverse Cholesky
// factor of
//   S + 3 m I,  S = sum x x' / (n + 50)
// over n reference vectors x, where m is the mean of the diagonals of all
// channels. Distances are Mahalanobis distances, regularised (Ledoit & Wolf
// 2004 for the form). S is not centred, because what all have in common is no
// mark of failure either. Channels stay apart: they can be shuffled as before.
// Columns of no channel become 0.
// Immutable, so thread-safe.
class Whitening {
 public:
  // Leaves vectors as they are.
  Whitening() = default;
  // `reference`: n x d, of one map; `channels`: of its Blocks. Where n is 0, or
  // all are zero, directions stay as they are.
  Whitening(absl::Span<const float> reference, int d,
            const std::vector<ColumnRange>& channels);

  // Maps one vector (d) and scales it to unit length. Zero stays zero.
  void Apply(absl::Span<float> vector) const;

 private:
  struct Channel {
    ColumnRange columns;
    // Inverse of the lower Cholesky factor, column by column: the w - j
    // numbers of column j from its diagonal on.
    std::vector<float> inverse_factor;
  };
  std::vector<Channel> channels_;
};

}  // namespace faultline::embedding

#endif  // FAULTLINE_LIB_EMBEDDING_WHITENING_H_
