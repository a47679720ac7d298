#include "lib/cluster/regroup.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Failures 0 to 9 at (0, 0), (1, 0), ..., (9, 0) in both views.
class RegroupTest : public ::testing::Test {
 protected:
  RegroupTest() {
    for (int i = 0; i < 10; ++i) {
      behavior_.insert(behavior_.end(), {static_cast<float>(i), 0});
    }
    views_ = {2, behavior_, behavior_};
  }

  // Members as given, all of strength .5 but the medoid; found in one view.
  static Mode MakeMode(std::vector<int32_t> members, int32_t medoid,
                       v1::View view = v1::VIEW_BEHAVIOR) {
    Mode mode;
    mode.views = {view};
    mode.members = members;
    for (const int32_t member : members) {
      mode.strengths.push_back(member == medoid ? .9F : .5F);
    }
    mode.group.members = members;
    mode.group.strengths = mode.strengths;
    mode.group.medoid = medoid;
    mode.group.exemplars = {medoid};
    mode.group.stability = .8;
    return mode;
  }

  std::vector<float> behavior_;
  FailureViews views_;
};

TEST_F(RegroupTest, APartHasItsOwnMembersAndShape) {
  Mode mode = MakeMode({0, 1, 2, 3, 4, 5, 6}, 3);
  mode.group.exemplars = {3, 0, 6};
  mode.group.boundary = {8};
  mode.group.sub_modes = {{{0, 1, 2, 3}, 2, .5}, {{4, 5, 6}, 5, .5}};
  for (const v1::View view : {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY}) {
    mode.views = {view};
    const Mode part = TakePart(mode, {0, 1, 2, 9}, views_);
    EXPECT_THAT(part.members, ElementsAre(0, 1, 2));
    EXPECT_THAT(part.strengths, SizeIs(3));
    EXPECT_THAT(part.group.members, ElementsAre(0, 1, 2));
    EXPECT_EQ(part.group.medoid, 0) << "the old one is not in it";
    EXPECT_THAT(part.group.exemplars, ElementsAre(0, 0));
    EXPECT_THAT(part.group.centroid, ElementsAre(1, 0));
    EXPECT_THAT(part.group.radius, FloatNear(1, 1e-6));
    EXPECT_THAT(part.group.cohesion, FloatNear(.5, 1e-6));
    EXPECT_EQ(part.group.stability, -1) << "not known of a part";
    EXPECT_THAT(part.group.sub_modes, IsEmpty()) << "one alone is none";
    EXPECT_THAT(part.group.boundary, IsEmpty());
  }
}

TEST_F(RegroupTest, APartThatOnlyTheOtherViewHeldIsOfThatView) {
  Mode mode = MakeMode({0, 1, 2}, 1);
  mode.views = {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY};
  mode.members = {0, 1, 2, 5, 6};
  mode.strengths = {.5, .9, .5, .6, .7};
  const Mode part = TakePart(mode, {5, 6}, views_);
  EXPECT_THAT(part.views, ElementsAre(v1::VIEW_TRAJECTORY, v1::VIEW_BEHAVIOR));
  EXPECT_THAT(part.group.members, ElementsAre(5, 6));
  EXPECT_EQ(part.group.medoid, 6);
}

TEST_F(RegroupTest, AJoinedModeHasAllMembersOnceWithTheLargerStrength) {
  const Mode a = MakeMode({1, 2, 3}, 2);
  const Mode b = MakeMode({3, 4, 5, 6}, 3, v1::VIEW_TRAJECTORY);
  const Mode joined = JoinModes({&a, &b}, views_);
  EXPECT_THAT(joined.members, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(joined.strengths, ElementsAre(.5, .9F, .9F, .5, .5, .5));
  EXPECT_EQ(joined.group.medoid, 2);
  EXPECT_THAT(joined.views, ElementsAre(v1::VIEW_BEHAVIOR));
  EXPECT_THAT(joined.group.centroid, ElementsAre(3.5, 0));
  ASSERT_THAT(joined.group.sub_modes, SizeIs(2));
  EXPECT_THAT(joined.group.sub_modes[0].members, ElementsAre(3, 4, 5, 6));
  EXPECT_EQ(joined.group.sub_modes[1].medoid, 2);
}

TEST(DivideBySeeds, EachSeedGathersWhatIsNearIt) {
  // Two lumps, at 0 and at 10; the first seed lies between them.
  const std::vector<float> points = {4, 0, 0.1F, -0.1F, 10, 10.1F, 9.9F, 9.8F};
  EXPECT_THAT(DivideBySeeds(points, 1, 0, 4),
              ElementsAre(false, false, false, false, true, true, true, true));
}

TEST(DivideBySeeds, SeedsKeepTheirSides) {
  // Both seeds lie in the lump at 0; the mean of the rest would draw one over.
  const std::vector<float> points = {0, 0.01F, 5, 5, 5};
  const std::vector<bool> on_second = DivideBySeeds(points, 1, 0, 1);
  EXPECT_FALSE(on_second[0]);
  EXPECT_TRUE(on_second[1]);
  EXPECT_TRUE(on_second[2]);
}

}  // namespace
}  // namespace faultline::cluster
