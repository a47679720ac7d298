#ifndef FAULTLINE_LIB_SLOWLOOP_MATRIX_H_
#define FAULTLINE_LIB_SLOWLOOP_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace faultline::slowloop {

// Vectors as rows.
struct Matrix {
  int dimension = 0;
  std::vector<float> values;  // row-major

  absl::Span<float> row(size_t i) {
    return absl::MakeSpan(values).subspan(i * dimension, dimension);
  }
  absl::Span<const float> row(size_t i) const {
    return absl::MakeConstSpan(values).subspan(i * dimension, dimension);
  }
};

inline Matrix SelectRows(const Matrix& from, absl::Span<const int32_t> rows) {
  Matrix selected{from.dimension, {}};
  selected.values.reserve(rows.size() * from.dimension);
  for (const int32_t row : rows) {
    const auto values = from.row(row);
    selected.values.insert(selected.values.end(), values.begin(), values.end());
  }
  return selected;
}

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_MATRIX_H_
