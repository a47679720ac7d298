#include "lib/cluster/duplicates.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "lib/base/hash.h"

namespace faultline::cluster {
namespace {

constexpr float kGrid = 16384;
// Adding this rounds to a whole number, in the lowest bits; it holds up to
// lengths of 256.
constexpr float kRounder = 12582912;  // 1.5 * 2^23

float Rounded(float x) { return x * kGrid + kRounder; }

bool SameRounded(absl::Span<const float> a, absl::Span<const float> b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (Rounded(a[i]) != Rounded(b[i])) return false;
  }
  return true;
}

}  // namespace

Folding FoldDuplicates(absl::Span<const float> matrix, int d,
                       absl::Span<const int32_t> rows) {
  Folding folding;
  folding.point.reserve(rows.size());
  const auto vector_of = [matrix, d](int32_t row) {
    return matrix.subspan(static_cast<size_t>(row) * d, d);
  };
  absl::flat_hash_map<uint64_t, int32_t> point_of;
  int32_t first_zero = -1;
  std::vector<float> rounded(d);
  for (const int32_t row : rows) {
    std::transform(vector_of(row).begin(), vector_of(row).end(),
                   rounded.begin(), Rounded);
    if (std::all_of(rounded.begin(), rounded.end(),
                    [](float x) { return x == kRounder; })) {
      if (first_zero < 0) first_zero = row;
      folding.point.push_back(-1);
      continue;
    }
    uint64_t key = base::Hash64(
        absl::string_view(reinterpret_cast<const char*>(rounded.data()),
                          rounded.size() * sizeof(float)));
    while (true) {
      const auto [entry, inserted] = point_of.try_emplace(
          key, static_cast<int32_t>(folding.first_row.size()));
      if (inserted) {
        folding.first_row.push_back(row);
      } else if (!SameRounded(vector_of(folding.first_row[entry->second]),
                              vector_of(row))) {
        ++key;  // another vector with the same hash
        continue;
      }
      folding.point.push_back(entry->second);
      break;
    }
  }

  folding.located = static_cast<int32_t>(folding.first_row.size());
  folding.vectors.reserve(folding.first_row.size() * d);
  for (const int32_t row : folding.first_row) {
    const absl::Span<const float> vector = vector_of(row);
    folding.vectors.insert(folding.vectors.end(), vector.begin(), vector.end());
  }
  if (first_zero >= 0) {
    folding.first_row.push_back(first_zero);
    std::replace(folding.point.begin(), folding.point.end(), -1,
                 folding.located);
  }
  return folding;
}

Folding FoldDuplicates(absl::Span<const float> matrix, int d) {
  std::vector<int32_t> rows(matrix.size() / d);
  std::iota(rows.begin(), rows.end(), 0);
  return FoldDuplicates(matrix, d, rows);
}

}  // namespace faultline::cluster
