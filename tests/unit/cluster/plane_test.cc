#include "lib/cluster/plane.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::cluster {
namespace {

constexpr int kDimension = 8;

// Groups of 30 points around centers that lie on given coordinates; the last
// coordinate is noise that is larger than any distance of theirs.
struct World {
  std::vector<float> points;
  std::vector<int32_t> group;

  void Add(const std::vector<float>& center, int32_t g, uint64_t seed) {
    base::Random random(seed);
    for (int i = 0; i < 30; ++i) {
      for (int c = 0; c < kDimension; ++c) {
        const float at = c < static_cast<int>(center.size()) ? center[c] : 0;
        const float noise = c == kDimension - 1 ? 3 : 0.01F;
        // Noise that sums to zero, so that means are where they are put.
        const float sign = i % 2 == 0 ? 1 : -1;
        points.push_back(at + sign * noise);
      }
      group.push_back(g);
    }
  }
};

World ThreeGroups() {
  World world;
  world.Add({1, 0}, 0, 1);
  world.Add({-1, 0}, 1, 2);
  world.Add({0, .5}, 2, 3);
  return world;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

TEST(PlaneTest, ShowsWhatTellsGroupsApartNotWhatPointsDifferIn) {
  const World world = ThreeGroups();
  const Plane plane = ChoosePlane(world.points, world.group, kDimension, {});
  EXPECT_NEAR(plane.shown, 1, 1e-6);
  EXPECT_NEAR(plane.x_axis[0], 1, 1e-5);
  EXPECT_NEAR(plane.y_axis[1], 1, 1e-5);
  EXPECT_NEAR(plane.x_axis[kDimension - 1], 0, 1e-5);
  // The mean of the groups' means is (0, 1/6).
  const auto [x, y] =
      ProjectOnto(plane, std::vector<float>{1, .5, 9, 9, 9, 9, 9, 9});
  EXPECT_NEAR(x, 1, 1e-5);
  EXPECT_NEAR(y, .5 - 1. / 6, 1e-5);
}

TEST(PlaneTest, WithFewGroupsItShowsThePoints) {
  World world = ThreeGroups();
  for (int32_t& g : world.group) g = g == 2 ? -1 : 0;
  const Plane plane = ChoosePlane(world.points, world.group, kDimension, {});
  EXPECT_NEAR(plane.x_axis[kDimension - 1], 1, 1e-3);
  EXPECT_NEAR(plane.y_axis[0], 1, 1e-3);
}

TEST(PlaneTest, IsKeptWhileItShowsEnough) {
  World world = ThreeGroups();
  const Plane first = ChoosePlane(world.points, world.group, kDimension, {});
  // One more group, a little outside the plane.
  world.Add({.5, -.5, .3}, 3, 4);
  const Plane second =
      ChoosePlane(world.points, world.group, kDimension, first);
  EXPECT_EQ(second.x_axis, first.x_axis);
  EXPECT_EQ(second.y_axis, first.y_axis);
  EXPECT_EQ(second.origin, first.origin);
  EXPECT_LT(second.shown, 1);
  EXPECT_GT(second.shown, kKeptShare);
}

TEST(PlaneTest, ANewPlaneIsTurnedTowardsTheOldOne) {
  const World before = ThreeGroups();
  // As a tick of long ago may have left it: mirrored.
  Plane old = ChoosePlane(before.points, before.group, kDimension, {});
  for (float& value : old.x_axis) value = -value;
  World world = before;
  world.Add({0, 0, 4}, 3, 4);
  const Plane plane = ChoosePlane(world.points, world.group, kDimension, old);
  EXPECT_NE(plane.x_axis, old.x_axis);
  EXPECT_NEAR(Dot(plane.x_axis, plane.y_axis), 0, 1e-5);
  EXPECT_NEAR(Dot(plane.x_axis, plane.x_axis), 1, 1e-5);
  // What both planes show lies on the same axis, on the same side, though it
  // is the lesser part of what the new one shows.
  EXPECT_NEAR(Dot(plane.x_axis, old.x_axis), 1, 1e-3);
  EXPECT_GE(Dot(plane.y_axis, old.y_axis), 0);
}

TEST(PlaneTest, PointsThatAreAllAlikeHaveAPlaneToo) {
  const std::vector<float> points(3 * kDimension, .5F);
  const Plane plane =
      ChoosePlane(points, std::vector<int32_t>(3, 0), kDimension, {});
  EXPECT_EQ(plane.shown, 0);
  EXPECT_NEAR(Dot(plane.x_axis, plane.y_axis), 0, 1e-6);
  const auto [x, y] =
      ProjectOnto(plane, absl::MakeSpan(points).first(kDimension));
  EXPECT_NEAR(x, 0, 1e-6);
  EXPECT_NEAR(y, 0, 1e-6);
  EXPECT_EQ(ChoosePlane({}, {}, kDimension, plane).x_axis, plane.x_axis);
}

}  // namespace
}  // namespace faultline::cluster
