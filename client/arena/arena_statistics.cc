#include "client/arena/arena_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace faultline::arena {
namespace {

constexpr size_t kGroups = 10;

// The .975 quantile of Student's t: exact for one and two degrees of freedom,
// beyond that the expansion of Cornish and Fisher about the normal quantile.
double TQuantile(double degrees) {
  if (degrees < 2) return 12.706;
  if (degrees < 3) return 4.303;
  const double z = 1.959964;
  const double z3 = z * z * z;
  const double z5 = z3 * z * z;
  const double z7 = z5 * z * z;
  return z + (z3 + z) / (4 * degrees) +
         (5 * z5 + 16 * z3 + 3 * z) / (96 * degrees * degrees) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) /
             (384 * degrees * degrees * degrees);
}

}  // namespace

MeanInterval MeanOf(const std::vector<double>& values) {
  MeanInterval result;
  if (values.empty()) return result;
  const auto count = static_cast<double>(values.size());
  for (const double value : values) result.mean += value / count;
  double half = 0;
  if (values.size() > 1) {
    double squares = 0;
    for (const double value : values) {
      squares += (value - result.mean) * (value - result.mean);
    }
    half = TQuantile(count - 1) * std::sqrt(squares / (count - 1) / count);
  }
  result.lower = result.mean - half;
  result.upper = result.mean + half;
  return result;
}

double AreaUnderCurve(std::vector<Scored> scored) {
  std::sort(scored.begin(), scored.end(),
            [](const Scored& a, const Scored& b) { return a.score < b.score; });
  double wins = 0;
  double positives = 0;
  double negatives = 0;
  for (size_t i = 0; i < scored.size();) {
    double equal_positives = 0;
    double equal_negatives = 0;
    const double score = scored[i].score;
    for (; i < scored.size() && scored[i].score == score; ++i) {
      (scored[i].positive ? equal_positives : equal_negatives) += 1;
    }
    wins += equal_positives * (negatives + equal_negatives / 2);
    positives += equal_positives;
    negatives += equal_negatives;
  }
  if (positives == 0 || negatives == 0) return 0.5;
  return wins / positives / negatives;
}

double CalibrationError(std::vector<Scored> scored) {
  std::stable_sort(
      scored.begin(), scored.end(),
      [](const Scored& a, const Scored& b) { return a.score < b.score; });
  double error = 0;
  for (size_t group = 0; group < kGroups; ++group) {
    const size_t begin = group * scored.size() / kGroups;
    const size_t end = (group + 1) * scored.size() / kGroups;
    double difference = 0;
    for (size_t i = begin; i < end; ++i) {
      difference += scored[i].score - (scored[i].positive ? 1 : 0);
    }
    error += std::abs(difference);
  }
  return scored.empty() ? 0 : error / static_cast<double>(scored.size());
}

}  // namespace faultline::arena
