#include "lib/stats/evidence.h"

#include <algorithm>
#include <cmath>

namespace faultline::stats {

double LogEValue(double p_value) {
  return std::log(0.5) - 0.5 * std::log(p_value);
}

double SpentLevel(double alpha, uint64_t rank, uint64_t confirmed) {
  constexpr double kPi = 3.14159265358979323846;
  const double k = kPi * static_cast<double>(rank);
  return std::min(1.0,
                  alpha * 6 / (k * k) * (static_cast<double>(confirmed) + 1));
}

double ChiSquareTail(double x, int degrees) {
  if (degrees < 1 || x <= 0) return 1;
  // Of the incomplete gamma function: Q(a + 1, y) = Q(a, y) + y^a e^-y / (a!).
  const double y = x / 2;
  const bool odd = degrees % 2 == 1;
  double a = odd ? 0.5 : 1;
  double tail = odd ? std::erfc(std::sqrt(y)) : std::exp(-y);
  double term =
      odd ? std::exp(-y) * std::sqrt(y) / std::tgamma(1.5) : std::exp(-y) * y;
  for (; 2 * a < degrees; a += 1) {
    tail += term;
    term *= y / (a + 1);
  }
  return std::min(1.0, tail);
}

Heterogeneity MeasureHeterogeneity(absl::Span<const Estimate> estimates) {
  Heterogeneity result;
  if (estimates.size() < 2) return result;
  double weights = 0, sum = 0;
  for (const Estimate& e : estimates) {
    const double weight = 1 / (e.error * e.error);
    weights += weight;
    sum += weight * e.value;
  }
  const double mean = sum / weights;
  for (const Estimate& e : estimates) {
    const double z = (e.value - mean) / e.error;
    result.q += z * z;
  }
  const auto degrees = static_cast<int>(estimates.size()) - 1;
  if (result.q > 0) {
    result.i_squared = std::max(0.0, 1 - degrees / result.q);
  }
  result.p_value = ChiSquareTail(result.q, degrees);
  return result;
}

}  // namespace faultline::stats
