#include "lib/cluster/plane.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "lib/base/hash.h"

namespace faultline::cluster {
namespace {

using Vector = std::vector<double>;
using Axes = std::array<Vector, 2>;

// Enough for the scatter that is shown; the axes themselves may still turn
// where several directions show the same.
constexpr int kIterations = 50;
constexpr double kTiny = 1e-12;

double Dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void AddScaled(double factor, const Vector& from, Vector* to) {
  for (size_t i = 0; i < from.size(); ++i) (*to)[i] += factor * from[i];
}

// What is to be drawn apart: the means of the groups, or the points.
std::vector<Vector> Centers(absl::Span<const float> points,
                            absl::Span<const int32_t> group, int d) {
  const auto vector_of = [&](size_t i) {
    const auto row = points.subspan(i * d, d);
    return Vector(row.begin(), row.end());
  };
  int32_t groups = 0;
  for (const int32_t g : group) groups = std::max(groups, g + 1);
  std::vector<Vector> means(groups, Vector(d));
  std::vector<size_t> sizes(groups);
  for (size_t i = 0; i < group.size(); ++i) {
    if (group[i] < 0) continue;
    AddScaled(1, vector_of(i), &means[group[i]]);
    ++sizes[group[i]];
  }
  std::vector<Vector> centers;
  for (int32_t g = 0; g < groups; ++g) {
    if (sizes[g] == 0) continue;
    for (double& value : means[g]) value /= static_cast<double>(sizes[g]);
    centers.push_back(std::move(means[g]));
  }
  if (centers.size() >= 3) return centers;
  centers.clear();
  for (size_t i = 0; i < group.size(); ++i) centers.push_back(vector_of(i));
  return centers;
}

Vector TakeOutMean(int d, std::vector<Vector>* centers) {
  Vector mean(d);
  for (const Vector& center : *centers) {
    AddScaled(1.0 / static_cast<double>(centers->size()), center, &mean);
  }
  for (Vector& center : *centers) AddScaled(-1, mean, &center);
  return mean;
}

// Gram-Schmidt; an axis of which nothing is left becomes a coordinate that is
// not in the other one.
void MakeOrthonormal(Axes* axes) {
  for (size_t a = 0; a < 2; ++a) {
    Vector& axis = (*axes)[a];
    const double before = std::sqrt(Dot(axis, axis));
    if (a == 1) AddScaled(-Dot((*axes)[0], axis), (*axes)[0], &axis);
    double length = std::sqrt(Dot(axis, axis));
    for (size_t i = 0; length <= 1e-9 * before + kTiny; ++i) {
      std::fill(axis.begin(), axis.end(), 0);
      axis[i] = 1;
      if (a == 1) AddScaled(-(*axes)[0][i], (*axes)[0], &axis);
      length = std::sqrt(Dot(axis, axis));
    }
    for (double& value : axis) value /= length;
  }
}

double ScatterOn(const Axes& axes, const std::vector<Vector>& centers) {
  double sum = 0;
  for (const Vector& center : centers) {
    for (const Vector& axis : axes) sum += std::pow(Dot(axis, center), 2);
  }
  return sum;
}

// The two principal axes, by orthogonal iteration.
Axes PrincipalAxes(const std::vector<Vector>& centers, int d) {
  Axes axes = {Vector(d), Vector(d)};
  for (int i = 0; i < d; ++i) {
    axes[0][i] = base::ToUnitInterval(base::Mix64(2 * i + 1)) - 0.5;
    axes[1][i] = base::ToUnitInterval(base::Mix64(2 * i + 2)) - 0.5;
  }
  MakeOrthonormal(&axes);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    Axes next = {Vector(d), Vector(d)};
    for (const Vector& center : centers) {
      for (size_t a = 0; a < 2; ++a) {
        AddScaled(Dot(axes[a], center), center, &next[a]);
      }
    }
    MakeOrthonormal(&next);
    axes = std::move(next);
  }
  return axes;
}

Axes Combine(const Axes& axes, double xx, double xy, double yx, double yy) {
  Axes turned = {Vector(axes[0].size()), Vector(axes[0].size())};
  AddScaled(xx, axes[0], &turned[0]);
  AddScaled(xy, axes[1], &turned[0]);
  AddScaled(yx, axes[0], &turned[1]);
  AddScaled(yy, axes[1], &turned[1]);
  return turned;
}

// Orthogonal Procrustes in the plane: of the rotations and of the rotations of
// the mirror image, the one with the largest sum of inner products.
Axes AlignTo(const Axes& old, const Axes& axes) {
  const double xx = Dot(axes[0], old[0]);
  const double xy = Dot(axes[0], old[1]);
  const double yx = Dot(axes[1], old[0]);
  const double yy = Dot(axes[1], old[1]);
  const bool mirror =
      std::hypot(xx - yy, yx + xy) > std::hypot(xx + yy, yx - xy);
  const double angle =
      mirror ? std::atan2(yx + xy, xx - yy) : std::atan2(yx - xy, xx + yy);
  const double side = mirror ? -1 : 1;
  return Combine(axes, std::cos(angle), std::sin(angle),
                 -side * std::sin(angle), side * std::cos(angle));
}

// A first plane has nothing to be aligned to but itself: the largest coordinate
// of each axis is positive.
Axes FixSigns(Axes axes) {
  for (Vector& axis : axes) {
    const double largest = *std::max_element(
        axis.begin(), axis.end(),
        [](double a, double b) { return std::abs(a) < std::abs(b); });
    if (largest < 0) {
      for (double& value : axis) value = -value;
    }
  }
  return axes;
}

}  // namespace

Plane ChoosePlane(absl::Span<const float> points,
                  absl::Span<const int32_t> group, int d,
                  const Plane& previous) {
  std::vector<Vector> centers = Centers(points, group, d);
  const Vector origin = TakeOutMean(d, &centers);
  double scatter = 0;
  for (const Vector& center : centers) scatter += Dot(center, center);
  const auto share = [scatter](double shown) {
    return scatter > kTiny ? std::min(1.0, shown / scatter) : 0;
  };
  Axes axes = PrincipalAxes(centers, d);
  const double best = ScatterOn(axes, centers);
  if (previous.origin.empty()) {
    axes = FixSigns(std::move(axes));
  } else {
    const Axes old = {Vector(previous.x_axis.begin(), previous.x_axis.end()),
                      Vector(previous.y_axis.begin(), previous.y_axis.end())};
    const double kept = ScatterOn(old, centers);
    if (scatter <= kTiny || kept >= kKeptShare * best) {
      Plane plane = previous;
      plane.shown = share(kept);
      return plane;
    }
    axes = AlignTo(old, axes);
  }
  Plane plane;
  plane.origin.assign(origin.begin(), origin.end());
  plane.x_axis.assign(axes[0].begin(), axes[0].end());
  plane.y_axis.assign(axes[1].begin(), axes[1].end());
  plane.shown = share(best);
  return plane;
}

std::pair<float, float> ProjectOnto(const Plane& plane,
                                    absl::Span<const float> point) {
  double x = 0;
  double y = 0;
  for (size_t i = 0; i < point.size(); ++i) {
    const double from_origin = static_cast<double>(point[i]) - plane.origin[i];
    x += from_origin * plane.x_axis[i];
    y += from_origin * plane.y_axis[i];
  }
  return {static_cast<float>(x), static_cast<float>(y)};
}

}  // namespace faultline::cluster
