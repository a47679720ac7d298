#ifndef FAULTLINE_CLIENT_SDK_ROUTE_CHOICE_H_
#define FAULTLINE_CLIENT_SDK_ROUTE_CHOICE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/intervention.pb.h"

// What a router makes of the actions that say which candidate answers. Pure.

namespace faultline::sdk {

// Whether the action says which candidate answers: a routing policy or bandit
// weights.
bool IsRouting(const v1::Action& action);

// Probability of each of the router's candidates under a routing action, at
// least the action's exploration floor each, as far as there is room for it:
// they add up to 1. Empty where the action names none of the candidates, and
// so changes nothing here.
std::vector<double> RouteProbabilities(absl::Span<const std::string> candidates,
                                       const v1::Action& action);

// The index that `u`, in [0, 1), draws.
size_t DrawIndex(absl::Span<const double> probabilities, double u);

}  // namespace faultline::sdk

#endif  // FAULTLINE_CLIENT_SDK_ROUTE_CHOICE_H_
