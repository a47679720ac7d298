#ifndef FAULTLINE_LIB_CLUSTER_PLANE_H_
#define FAULTLINE_LIB_CLUSTER_PLANE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace faultline::cluster {

// A plane that points of d dimensions are drawn in.
struct Plane {
  std::vector<float> origin;  // d; empty: no plane
  std::vector<float> x_axis;  // d: unit vector
  std::vector<float> y_axis;  // d: unit vector at a right angle to the first
  // Share of the scatter between the groups that lies in the plane, in [0, 1].
  double shown = 0;
};

// Share of the best plane's `shown` that a plane must have to be kept.
inline constexpr double kKeptShare = 0.8;

// The plane to draw grouped points (n x d) in. `group` (n) gives the group of
// each, from 0 on; a negative one is none. Groups are drawn apart: the axes are
// the two principal axes of the group means, each of which counts alike,
// because the principal axes of the points themselves show what runs differ in
// anyway. Where there are fewer than three groups they are those of the points.
//
// A drawing that turns from tick to tick cannot be read, so `previous` (of the
// same d, or empty) is kept as it is while it shows at least kKeptShare of what
// the best plane would: then no point moves. Else the new axes are turned
// within their plane, or mirrored, so that they come as near to the old ones as
// they can (orthogonal Procrustes): what stays alike stays where it was. A
// linear projection, because it can be kept, costs n x d, and puts a run that
// was not there before where its likes are; neighbour embeddings draw groups
// farther apart, but anew with every window.
//
// Pure and deterministic. Requires lengths that agree and d of at least 2.
Plane ChoosePlane(absl::Span<const float> points,
                  absl::Span<const int32_t> group, int d,
                  const Plane& previous);

// Position of a point (d) in a plane that is not empty.
std::pair<float, float> ProjectOnto(const Plane& plane,
                                    absl::Span<const float> point);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_PLANE_H_
