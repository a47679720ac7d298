#ifndef FAULTLINE_LIB_STATS_EVIDENCE_H_
#define FAULTLINE_LIB_STATS_EVIDENCE_H_

#include <cstdint>

#include "absl/types/span.h"

// Evidence that comes in parts: over time, and over strata. Pure functions.

namespace faultline::stats {

// Natural logarithm of the e-value 0.5 / sqrt(p), a calibrator (Vovk and Wang
// 2021): its mean is at most 1 where p is a p-value, so products over fresh
// data may be looked at after each. Requires p in (0, 1].
double LogEValue(double p_value);

// Level of the rank-th hypothesis ever tested, counted from 1, when
// `confirmed` of them were confirmed before it: alpha * 6 / (pi rank)^2 *
// (confirmed + 1), at most 1. Confirming each at an e-value of 1 / level keeps
// the false discovery rate at alpha under any dependence (e-LOND; Xu and
// Ramdas 2024).
double SpentLevel(double alpha, uint64_t rank, uint64_t confirmed);

// P(X >= x) of the chi-square distribution; 1 for no degrees of freedom.
double ChiSquareTail(double x, int degrees);

// An estimate and its standard error, which is positive.
struct Estimate {
  double value;
  double error;
};

// How much estimates of one quantity differ.
struct Heterogeneity {
  double q = 0;          // Cochran 1954
  double i_squared = 0;  // Higgins and Thompson 2002: max(0, 1 - df / q)
  double p_value = 1;    // of q
};
Heterogeneity MeasureHeterogeneity(absl::Span<const Estimate> estimates);

}  // namespace faultline::stats

#endif  // FAULTLINE_LIB_STATS_EVIDENCE_H_
