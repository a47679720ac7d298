#include "lib/cluster/agreement.h"

#include <utility>

#include "absl/container/flat_hash_map.h"

namespace faultline::cluster {
namespace {

double Pairs(int64_t count) {
  return static_cast<double>(count) * static_cast<double>(count - 1) / 2;
}

}  // namespace

double AdjustedRandIndex(absl::Span<const int32_t> a,
                         absl::Span<const int32_t> b) {
  absl::flat_hash_map<int32_t, int64_t> rows, columns;
  absl::flat_hash_map<std::pair<int32_t, int32_t>, int64_t> cells;
  for (size_t i = 0; i < a.size(); ++i) {
    const int32_t x = a[i] < 0 ? -1 : a[i];
    const int32_t y = b[i] < 0 ? -1 : b[i];
    ++rows[x];
    ++columns[y];
    ++cells[{x, y}];
  }
  // Sums of whole numbers below 2^53: the order of a hash map does not matter.
  double both = 0, in_rows = 0, in_columns = 0;
  for (const auto& [cell, count] : cells) both += Pairs(count);
  for (const auto& [row, count] : rows) in_rows += Pairs(count);
  for (const auto& [column, count] : columns) in_columns += Pairs(count);
  const double all = Pairs(static_cast<int64_t>(a.size()));
  const double expected = all > 0 ? in_rows * in_columns / all : 0;
  const double most = (in_rows + in_columns) / 2;
  return most == expected ? 1 : (both - expected) / (most - expected);
}

}  // namespace faultline::cluster
