#ifndef FAULTLINE_LIB_INTERVENE_SAFE_WEIGHTS_H_
#define FAULTLINE_LIB_INTERVENE_SAFE_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

// Weights of a bandit that may be put to the test: what the runs so far say for
// each arm, within bounds that keep the next step small and every arm in sight
// (METHODS 5.5). Pure functions.

namespace faultline::intervene {

// Least probability of each arm, divided by their number.
inline constexpr double kWeightFloor = 0.05;
// An arm's probability may grow to so many times what it was.
inline constexpr double kMaxWeightGrowth = 3;
// Largest total variation between the weights of one step and the next.
inline constexpr double kMaxWeightStep = 0.25;

// Runs that an arm answered, by how they ended; older ones may count less than
// one.
struct ArmRecord {
  double succeeded = 0;
  double failed = 0;
};

// Thompson sampling in a batch (Thompson 1933): the share of 2000 draws from
// the posterior in which each arm succeeds most often. `cell`: in the context
// that the weights are for; `overall`: everywhere, the prior, which weighs as
// much as ten runs. Equal seeds give equal shares.
std::vector<double> BestArmShares(absl::Span<const ArmRecord> cell,
                                  absl::Span<const ArmRecord> overall,
                                  uint64_t seed);

// `wanted` made safe, given the arms' `current` probabilities: at most three
// times the current one, at least .05 / arms, then as far towards that as a
// total variation of .25 allows. Both add up to 1, and so does the result.
std::vector<double> BoundWeights(absl::Span<const double> wanted,
                                 absl::Span<const double> current);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_SAFE_WEIGHTS_H_
