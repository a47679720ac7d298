#ifndef FAULTLINE_LIB_CLUSTER_REGROUP_H_
#define FAULTLINE_LIB_CLUSTER_REGROUP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/cluster/mode.h"

namespace faultline::cluster {

// Modes cut and joined as reviewers decided. All pure.

// The vectors that the tick's failures were clustered by (n x d).
struct FailureViews {
  int dimension = 0;  // d
  absl::Span<const float> behavior;
  absl::Span<const float> trajectory;

  absl::Span<const float> VectorOf(v1::View view, int32_t failure) const {
    return (view == v1::VIEW_TRAJECTORY ? trajectory : behavior)
        .subspan(static_cast<size_t>(failure) * dimension, dimension);
  }
};

// The mode without the members that are not among `rows` (ascending, at least
// one of them a member). Its shape is measured again; how stable it is and how
// far the engines agree is not known of a part.
Mode TakePart(const Mode& mode, const std::vector<int32_t>& rows,
              const FailureViews& views);

// One mode of all members. The first mode is the one that the others join: the
// view, the medoid and the exemplars are its.
Mode JoinModes(const std::vector<const Mode*>& modes,
               const FailureViews& views);

// Which points (n x d) are nearer to the second of two seeds (rows), when each
// seed stands for the mean of the points that are nearest to it: 2-means that
// starts from the seeds, which keep their sides (Basu et al. 2002).
std::vector<bool> DivideBySeeds(absl::Span<const float> points, int d,
                                int32_t first, int32_t second);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_REGROUP_H_
