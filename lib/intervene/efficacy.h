#ifndef FAULTLINE_LIB_INTERVENE_EFFICACY_H_
#define FAULTLINE_LIB_INTERVENE_EFFICACY_H_

#include "faultline/v1/intervention.pb.h"

namespace faultline::intervene {

// How far changes of one kind have kept what they promised: the mean of a Beta
// distribution (METHODS 4.3) that starts at (2, 3). Each confirmation counts as
// a success, each end as disconfirmed or rolled back by its evidence as a
// failure. Not thread-safe to change.
class Efficacy {
 public:
  // Counts what became of the intervention so far.
  void Count(const v1::Intervention& intervention);

  // In (0, 1): the share of an expected effect that may be expected.
  double Mean() const { return successes_ / (successes_ + failures_); }

 private:
  double successes_ = 2;
  double failures_ = 3;
};

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_EFFICACY_H_
