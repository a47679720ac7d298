#include "client/sdk/route_choice.h"

#include <algorithm>

namespace faultline::sdk {

bool IsRouting(const v1::Action& action) {
  return action.has_routing_policy() || action.has_bandit_weights();
}

std::vector<double> RouteProbabilities(absl::Span<const std::string> candidates,
                                       const v1::Action& action) {
  std::vector<double> weights(candidates.size(), 0);
  double floor = 0;
  const auto set = [&](const std::string& name, double weight) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (candidates[i] == name) weights[i] += std::max(weight, 0.);
    }
  };
  if (action.has_routing_policy()) {
    floor = action.routing_policy().exploration_floor();
    for (const auto& it : action.routing_policy().candidates()) {
      set(it.name(), it.weight());
    }
  } else if (action.has_bandit_weights()) {
    floor = action.bandit_weights().floor();
    for (const auto& it : action.bandit_weights().arms()) {
      set(it.name(), it.probability());
    }
  }
  double total = 0;
  for (const double weight : weights) total += weight;
  if (total <= 0) return {};
  const auto n = static_cast<double>(candidates.size());
  floor = std::clamp(floor, 0., 1 / n);
  for (double& weight : weights) {
    weight = floor + (1 - n * floor) * weight / total;
  }
  return weights;
}

size_t DrawIndex(absl::Span<const double> probabilities, double u) {
  for (size_t i = 0; i < probabilities.size(); ++i) {
    u -= probabilities[i];
    if (u < 0) return i;
  }
  return probabilities.size() - 1;
}

}  // namespace faultline::sdk
