#ifndef FAULTLINE_LIB_STATS_NORMAL_H_
#define FAULTLINE_LIB_STATS_NORMAL_H_

namespace faultline::stats {

// P(Z <= z) of the standard normal distribution. Full relative precision in
// the lower tail.
double NormalCdf(double z);

// z with P(Z <= z) = p. Minus and plus infinity for p <= 0 and p >= 1.
double NormalQuantile(double p);

}  // namespace faultline::stats

#endif  // FAULTLINE_LIB_STATS_NORMAL_H_
