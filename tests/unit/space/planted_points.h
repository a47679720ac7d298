#ifndef FAULTLINE_TESTS_UNIT_SPACE_PLANTED_POINTS_H_
#define FAULTLINE_TESTS_UNIT_SPACE_PLANTED_POINTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "lib/base/random.h"

namespace faultline::space {

// n points (row-major n x d) around `groups` centres.
inline std::vector<float> PlantedPoints(size_t n, int d, int groups,
                                        uint64_t seed) {
  base::Random random(seed);
  std::vector<float> centers(static_cast<size_t>(groups) * d);
  for (float& x : centers) x = static_cast<float>(random.Normal());
  std::vector<float> points(n * d);
  for (size_t i = 0; i < n; ++i) {
    const size_t group = random.Below(groups);
    for (int x = 0; x < d; ++x) {
      points[i * d + x] =
          centers[group * d + x] + 0.3f * static_cast<float>(random.Normal());
    }
  }
  return points;
}

inline float SquaredDistance(const float* a, const float* b, int d) {
  double sum = 0;
  for (int x = 0; x < d; ++x) {
    const double difference = double{a[x]} - b[x];
    sum += difference * difference;
  }
  return static_cast<float>(sum);
}

// The k nearest rows to `query` without row `self` (-1: none), the slow way.
inline std::vector<std::pair<float, int32_t>> BruteForce(
    const std::vector<float>& points, const float* query, int d, int k,
    int32_t self) {
  std::vector<std::pair<float, int32_t>> all;
  for (size_t i = 0; i < points.size() / d; ++i) {
    if (static_cast<int32_t>(i) == self) continue;
    all.emplace_back(SquaredDistance(query, &points[i * d], d), i);
  }
  const size_t kept = std::min<size_t>(k, all.size());
  std::partial_sort(all.begin(), all.begin() + kept, all.end());
  all.resize(kept);
  return all;
}

}  // namespace faultline::space

#endif  // FAULTLINE_TESTS_UNIT_SPACE_PLANTED_POINTS_H_
