#ifndef FAULTLINE_LIB_STATS_CONTINGENCY_H_
#define FAULTLINE_LIB_STATS_CONTINGENCY_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/types/span.h"

// Pure functions on counts; thread-safe. Counts are finite and not negative.

namespace faultline::stats {

// Counts of one stratum: rows are cases and controls, columns with and without
// the feature.
struct Table {
  double a = 0;  // cases with
  double b = 0;  // cases without
  double c = 0;  // controls with
  double d = 0;  // controls without
};

// Common odds ratio over strata.
struct OddsRatio {
  double ratio = 1;  // 1 where nothing is known; may be 0 or infinity
  double lower = 0;  // of the 95 % interval; 0 where not defined
  // Of the same interval; infinity where not defined.
  double upper = std::numeric_limits<double>::infinity();
  double p_value = 1;  // two-sided, Cochran-Mantel-Haenszel, continuity 0.5
};

// Mantel-Haenszel odds ratio with the variance of Robins, Breslow and
// Greenland (1986). Strata without cases or without controls add nothing.
// Where the ratio is 0 or infinite, the other bound comes from half an
// observation more in every cell of the whole (Haldane 1956), shared out over
// the strata by size.
OddsRatio MantelHaenszel(absl::Span<const Table> strata);

// One stratum of a one-sided test of over-representation: successes and draws
// are at most the population, observed at most both.
struct HypergeometricStratum {
  int64_t population = 0;  // N
  int64_t successes = 0;   // F
  int64_t draws = 0;       // a
  int64_t observed = 0;    // f
};

// P(sum X_s >= sum f_s), X_s hypergeometric and independent: exact by
// convolution, or normal with continuity correction where the draws add up to
// more than 5000. In (0, 1]; 1 where there is nothing to test.
double StratifiedEnrichmentPValue(
    absl::Span<const HypergeometricStratum> strata);

// Benjamini-Hochberg adjusted p-values, in the order of `p_values`.
std::vector<double> AdjustBenjaminiHochberg(absl::Span<const double> p_values);

// Interval of a proportion (Wilson 1927). Returns {0, 1} for n = 0.
struct Interval {
  double lower;
  double upper;
};
Interval WilsonInterval(double events, double n, double level = 0.95);

// Ratio of two proportions with its log-normal interval (Katz 1978). Not
// defined where an arm is empty or the second has no event. Where only the
// first has none, the upper bound comes from half an event more in each arm.
struct Ratio {
  double ratio = 0;
  double lower = 0;
  double upper = 0;
  bool defined = false;
};
Ratio RelativeRisk(double events_1, double n_1, double events_2, double n_2,
                   double level = 0.95);

// Difference of two proportions, first less second, with its 95 % interval from
// those of the two (Newcombe 1998, method 10). Not defined where one is empty.
struct Difference {
  double value = 0;
  double lower = 0;
  double upper = 0;
  bool defined = false;
};
Difference ProportionDifference(double events_1, double n_1, double events_2,
                                double n_2);

// P(Bin(n, p) >= k). Time and memory grow with n.
double BinomialTail(int64_t n, double p, int64_t k);

}  // namespace faultline::stats

#endif  // FAULTLINE_LIB_STATS_CONTINGENCY_H_
