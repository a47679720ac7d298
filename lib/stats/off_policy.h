#ifndef FAULTLINE_LIB_STATS_OFF_POLICY_H_
#define FAULTLINE_LIB_STATS_OFF_POLICY_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/stats/sequential.h"

// What a policy would have cost on runs that another one chose for (METHODS
// 5.5). Pure functions; thread-safe.

namespace faultline::stats {

// One choice among `arms`, in a cell of the context, by a policy that drew.
struct LoggedChoice {
  int32_t cell = 0;
  int32_t arm = 0;        // that was drawn
  double propensity = 1;  // with which it was drawn, in (0, 1]
  double loss = 0;        // finite; 1 for a failure
};

// Probabilities of the arms in each cell: cells x arms, row-major; each row
// adds up to 1.
struct ChoicePolicy {
  int32_t arms = 0;
  std::vector<double> probability;
};

// A mean with its 95 % normal interval: valid for one look.
struct MeanEstimate {
  double value = 0;
  double lower = 0;
  double upper = 0;
};

// Why the logged choices say too little of the policy.
enum class Support {
  kSufficient,
  kNoChoices,       // fewer than two
  kWrongWeights,    // mean weight farther from 1 than three standard errors:
                    // the propensities are not those that were drawn with
  kFewEffective,    // effective size below max(100, 5 % of the choices)
  kOneWeightRules,  // one choice has more than 5 % of the weight
};

struct OffPolicyReport {
  MeanEstimate logged;  // loss as it was
  // Loss under the policy: inverse propensity scoring (Horvitz and Thompson
  // 1952), self-normalised (Swaminathan and Joachims 2015) and doubly robust
  // (Dudik, Langford and Li 2011).
  MeanEstimate ips;
  MeanEstimate snips;
  MeanEstimate dr;
  // Doubly robust loss less the logged one, choice by choice: what to decide
  // on. Where one looks again and again, AsymptoticSequence of these moments.
  MeanEstimate change;
  Moments change_moments;

  Support support = Support::kNoChoices;
  double effective_size = 0;  // (sum w)^2 / sum w^2 (Kish 1965)
  double mean_weight = 0;
  double mean_weight_error = 0;  // standard error
  double largest_weight_share = 0;
  int64_t clipped = 0;  // choices whose weight was cut to 20
};

// Requires cells and arms that `policy` has. The model of the loss that the
// doubly robust estimate uses is learnt on the half of the choices, by place
// (even or odd), that it is not applied to: the mean of cell and arm, drawn to
// the arm's by ten observations.
OffPolicyReport EvaluateOffPolicy(absl::Span<const LoggedChoice> choices,
                                  const ChoicePolicy& policy);

}  // namespace faultline::stats

#endif  // FAULTLINE_LIB_STATS_OFF_POLICY_H_
