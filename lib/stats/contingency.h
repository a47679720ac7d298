#ifndef FAULTLINE_LIB_STATS_CONTINGENCY_H_
#define FAULTLINE_LIB_STATS_CONTINGENCY_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

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
  double ratio = 1;
  double lower = 0;    // of the 95 % interval; 0 where not defined
  double upper = 0;    // infinity where not defined
  double p_value = 1;  // two-sided, Cochran-Mantel-Haenszel, continuity 0.5
};

// Mantel-Haenszel odds ratio with the variance of Robins, Breslow and
// Greenland (1986). Strata without cases or without controls add nothing.
OddsRatio MantelHaenszel(absl::Span<const Table> strata);

// One stratum of a one-sided test of over-representation.
struct HypergeometricStratum {
  int64_t population = 0;  // N
  int64_t successes = 0;   // F
  int64_t draws = 0;       // a
  int64_t observed = 0;    // f
};

// P(sum X_s >= sum f_s), X_s hypergeometric and independent: exact by
// convolution, or normal with continuity correction where the draws add up to
// more than 5000. 1 where there is nothing to test.
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
// defined where an arm is empty or the second has no event.
struct Ratio {
  double ratio = 0;
  double lower = 0;
  double upper = 0;
  bool defined = false;
};
Ratio RelativeRisk(double events_1, double n_1, double events_2, double n_2,
                   double level = 0.95);

// P(Bin(n, p) >= k).
double BinomialTail(int64_t n, double p, int64_t k);

}  // namespace faultline::stats

#endif  // FAULTLINE_LIB_STATS_CONTINGENCY_H_
