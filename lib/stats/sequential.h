#ifndef FAULTLINE_LIB_STATS_SEQUENTIAL_H_
#define FAULTLINE_LIB_STATS_SEQUENTIAL_H_

#include <cstdint>

#include "absl/types/span.h"
#include "lib/stats/contingency.h"

// Tests of a randomised trial that stay valid however often one looks and
// whenever one stops (METHODS 5.2, 5.3). All but AsymptoticSequence are
// functions of counts, so what is kept between looks are whole numbers, and the
// order in which runs came does not matter.
//
// An e-value at least 1 / alpha is evidence at level alpha: where the null
// hypothesis holds it ever gets there with probability at most alpha (Ville
// 1939). Logarithms are natural. Pure functions; thread-safe.

namespace faultline::stats {

// Runs, or events among runs, by the probability with which they were assigned
// to treatment: in (0, 1). One entry for each probability.
struct ArmTally {
  double treatment_probability = 0.5;
  int64_t treated = 0;
  int64_t held = 0;
};

// Log e-value of events against "treatment prevents the event in no run", under
// any drift of the event's rate. Given an event of a run with treatment
// probability p and relative risk rho, the run was treated with probability
// p rho / (p rho + 1 - p); the e-value is the mean over rho in {.1, .2, ...,
// .9} of the likelihood ratio against rho = 1. 0 where there is no event.
double LogBenefitEValue(absl::Span<const ArmTally> events);

// The same against "treatment causes the event in no run", with rho in {1.1,
// 1.25, 1.5, 2, 3, 5}.
double LogHarmEValue(absl::Span<const ArmTally> events);

// Confidence sequence of the relative risk: covers it at all looks at once with
// probability at least 1 - alpha, where it does not change. Inverts the mixture
// of likelihood ratios over 41 values of ln rho in [-3, 3] with weights of the
// standard normal density, so with very many events it stays some 8 % wide at
// most. {0, infinity} where there is no event.
Interval RelativeRiskSequence(absl::Span<const ArmTally> events, double alpha);

// Estimate of the relative risk that goes with it: the likelihood's maximum. 0
// where no event was treated, infinity where all were; 1 where there is none.
double RelativeRiskEstimate(absl::Span<const ArmTally> events);

// Log e-value of assigned runs against "each was treated with its probability":
// for each probability p, the counts under Beta(100 p, 100 (1 - p)) against p.
// Large where runs of one arm get lost (sample-ratio mismatch).
double LogImbalanceEValue(absl::Span<const ArmTally> runs);

// Units (agents, memory namespaces) that were assigned as a whole, and are
// alike: in arm and in outcome, a number of failures clipped to `bound`.
struct UnitTally {
  double treatment_probability = 0.5;
  bool treated = false;
  double outcome = 0;  // in [0, bound]
  int64_t units = 0;
};

// Log e-value of units against "treatment lowers the mean outcome not at all":
// the mean over bets of the products of 1 - bet z, where z is the outcome
// weighted by the inverse probability of its arm, negative in the holdout arm.
// Each unit must be counted once, when its outcome is final, and `bound` be
// chosen before. For harm, swap the arms and their probabilities.
double LogUnitBenefitEValue(absl::Span<const UnitTally> units, double bound);

// Count, sum and sum of squares of a series.
struct Moments {
  int64_t count = 0;
  double sum = 0;
  double sum_of_squares = 0;

  void Add(double value) {
    ++count;
    sum += value;
    sum_of_squares += value * value;
  }
};

// Asymptotic confidence sequence of the mean of a series (Waudby-Smith et al.
// 2021), tightest at 1000 values: nominal from some 200 on, and where no few
// values make up the variance. Infinite with fewer than two values.
Interval AsymptoticSequence(const Moments& moments, double alpha);

}  // namespace faultline::stats

#endif  // FAULTLINE_LIB_STATS_SEQUENTIAL_H_
