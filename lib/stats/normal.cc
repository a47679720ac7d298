#include "lib/stats/normal.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace faultline::stats {

double NormalCdf(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

double NormalQuantile(double p) {
  if (p <= 0) return -std::numeric_limits<double>::infinity();
  if (p >= 1) return std::numeric_limits<double>::infinity();
  // By symmetry, so that both tails are as precise.
  if (p > 0.5) return -NormalQuantile(1 - p);

  // Abramowitz and Stegun 26.2.23, good to 4.5e-4; then Halley's method.
  const double t = std::sqrt(-2 * std::log(p));
  double z = (2.515517 + t * (0.802853 + t * 0.010328)) /
                 (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) -
             t;
  for (int i = 0; i < 3; ++i) {
    const double density =
        std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
    if (density == 0) break;  // beyond 38 standard deviations
    const double step = (NormalCdf(z) - p) / density;
    z -= step / (1 + z * step / 2);
  }
  return z;
}

}  // namespace faultline::stats
