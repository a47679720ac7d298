#include "lib/intervene/safe_weights.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "lib/base/random.h"

namespace faultline::intervene {
namespace {

constexpr int kDraws = 2000;
constexpr double kPriorStrength = 10;

// Marsaglia and Tsang 2000. Requires a shape of at least 1.
double DrawGamma(double shape, base::Random* random) {
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random->Normal();
    const double root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    const double u = 1 - random->Uniform();
    if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

double DrawBeta(double a, double b, base::Random* random) {
  const double x = DrawGamma(a, random);
  return x / (x + DrawGamma(b, random));
}

// Hands what `weights` lack of a sum of 1 to those below their cap, in
// proportion to the room they have.
void FillUp(absl::Span<const double> cap, std::vector<double>* weights) {
  double missing = 1;
  double room = 0;
  for (size_t arm = 0; arm < weights->size(); ++arm) {
    missing -= (*weights)[arm];
    room += cap[arm] - (*weights)[arm];
  }
  if (room <= 0) return;
  for (size_t arm = 0; arm < weights->size(); ++arm) {
    (*weights)[arm] += missing * (cap[arm] - (*weights)[arm]) / room;
  }
}

// Raises weights to `floor` at the cost of those above it.
void RaiseTo(double floor, std::vector<double>* weights) {
  double surplus = 0;
  for (const double weight : *weights) surplus += std::max(0.0, weight - floor);
  const double kept =
      (1 - floor * static_cast<double>(weights->size())) / surplus;
  for (double& weight : *weights) {
    weight = floor + std::max(0.0, weight - floor) * kept;
  }
}

}  // namespace

std::vector<double> BestArmShares(absl::Span<const ArmRecord> cell,
                                  absl::Span<const ArmRecord> overall,
                                  uint64_t seed) {
  std::vector<ArmRecord> posterior;
  for (size_t arm = 0; arm < cell.size(); ++arm) {
    const double rate = (overall[arm].succeeded + 1) /
                        (overall[arm].succeeded + overall[arm].failed + 2);
    posterior.push_back({1 + cell[arm].succeeded + kPriorStrength * rate,
                         1 + cell[arm].failed + kPriorStrength * (1 - rate)});
  }
  base::Random random(seed);
  std::vector<double> shares(cell.size());
  for (int draw = 0; draw < kDraws; ++draw) {
    size_t best = 0;
    double best_rate = -1;
    for (size_t arm = 0; arm < posterior.size(); ++arm) {
      const double rate =
          DrawBeta(posterior[arm].succeeded, posterior[arm].failed, &random);
      if (rate <= best_rate) continue;
      best = arm;
      best_rate = rate;
    }
    shares[best] += 1.0 / kDraws;
  }
  return shares;
}

std::vector<double> BoundWeights(absl::Span<const double> wanted,
                                 absl::Span<const double> current) {
  std::vector<double> cap;
  std::vector<double> weights;
  for (size_t arm = 0; arm < wanted.size(); ++arm) {
    cap.push_back(std::min(1.0, kMaxWeightGrowth * current[arm]));
    weights.push_back(std::min(cap[arm], wanted[arm]));
  }
  FillUp(cap, &weights);
  RaiseTo(kWeightFloor / static_cast<double>(weights.size()), &weights);
  double step = 0;
  for (size_t arm = 0; arm < weights.size(); ++arm) {
    step += std::abs(weights[arm] - current[arm]) / 2;
  }
  const double part = step > kMaxWeightStep ? kMaxWeightStep / step : 1;
  for (size_t arm = 0; arm < weights.size(); ++arm) {
    weights[arm] = part * weights[arm] + (1 - part) * current[arm];
  }
  return weights;
}

}  // namespace faultline::intervene
