#ifndef FAULTLINE_CLIENT_ARENA_ARENA_STATISTICS_H_
#define FAULTLINE_CLIENT_ARENA_ARENA_STATISTICS_H_

#include <vector>

// Pure functions.

namespace faultline::arena {

// A mean with its 95 % t-interval; of fewer than two values the interval is
// the mean itself.
struct MeanInterval {
  double mean = 0;
  double lower = 0;
  double upper = 0;
};
MeanInterval MeanOf(const std::vector<double>& values);

// One thing with a score, and whether what the score is of came true.
struct Scored {
  double score;
  bool positive;
};

// Area under the ROC curve: the probability that a positive one scores above a
// negative one, ties half. 0.5 where either is missing.
double AreaUnderCurve(std::vector<Scored> scored);

// Mean over ten groups of equal size, by score, of the distance of the mean
// score from the share of positives. 0 of nothing.
double CalibrationError(std::vector<Scored> scored);

}  // namespace faultline::arena

#endif  // FAULTLINE_CLIENT_ARENA_ARENA_STATISTICS_H_
