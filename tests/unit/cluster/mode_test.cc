#include "lib/cluster/mode.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Draft {
  std::vector<int32_t> members;
  float strength;
};

Clustering MakeClustering(int32_t n, const std::vector<Draft>& drafts) {
  Clustering clustering;
  clustering.label.assign(n, -1);
  for (const Draft& draft : drafts) {
    Group group;
    group.members = draft.members;
    group.strengths.assign(draft.members.size(), draft.strength);
    group.cohesion = draft.strength;
    group.medoid = draft.members[0];
    for (const int32_t row : draft.members) {
      clustering.label[row] = static_cast<int32_t>(clustering.groups.size());
    }
    clustering.groups.push_back(group);
  }
  return clustering;
}

TEST(MergeViews, JoinsGroupsThatShareMoreThanHalf) {
  const std::vector<Mode> modes =
      MergeViews(MakeClustering(10, {{{0, 1, 2, 3}, .6f}}),
                 MakeClustering(10, {{{1, 2, 3, 4}, .8f}}));
  ASSERT_THAT(modes, SizeIs(1));
  EXPECT_THAT(modes[0].views,
              ElementsAre(v1::VIEW_TRAJECTORY, v1::VIEW_BEHAVIOR));
  EXPECT_EQ(modes[0].group.medoid, 1);
  EXPECT_THAT(modes[0].members, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(modes[0].strengths, ElementsAre(.6f, .8f, .8f, .8f, .8f));
}

TEST(MergeViews, BehaviorIsPrimaryWhereCohesionIsEqual) {
  const Clustering same = MakeClustering(4, {{{0, 1, 3}, .7f}});
  const std::vector<Mode> modes = MergeViews(same, same);
  ASSERT_THAT(modes, SizeIs(1));
  EXPECT_THAT(modes[0].views,
              ElementsAre(v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY));
  EXPECT_THAT(modes[0].members, ElementsAre(0, 1, 3));
}

TEST(MergeViews, KeepsApartWhatSharesHalfOrLess) {
  // Jaccard 2 / 4.
  const std::vector<Mode> modes =
      MergeViews(MakeClustering(10, {{{0, 1, 2}, .6f}}),
                 MakeClustering(10, {{{1, 2, 3}, .8f}, {{5, 6, 7, 8}, .5f}}));
  ASSERT_THAT(modes, SizeIs(3));
  EXPECT_THAT(modes[0].members, ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(modes[1].members, ElementsAre(0, 1, 2));
  EXPECT_THAT(modes[1].views, ElementsAre(v1::VIEW_BEHAVIOR));
  EXPECT_THAT(modes[2].members, ElementsAre(1, 2, 3));
  EXPECT_THAT(modes[2].views, ElementsAre(v1::VIEW_TRAJECTORY));
}

TEST(MergeViews, IsOneToOneByTheLargestOverlap) {
  // With a low threshold, both trajectory groups fit the behaviour group.
  const std::vector<Mode> modes =
      MergeViews(MakeClustering(10, {{{0, 1, 2, 3, 4}, .6f}}),
                 MakeClustering(10, {{{0, 1}, .6f}, {{2, 3, 4}, .6f}}), .2);
  ASSERT_THAT(modes, SizeIs(2));
  EXPECT_THAT(modes[0].members, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(modes[0].views, SizeIs(2));
  EXPECT_THAT(modes[1].members, ElementsAre(0, 1));
}

TEST(MergeViews, OfNothingIsEmpty) {
  EXPECT_THAT(MergeViews({}, {}), IsEmpty());
}

}  // namespace
}  // namespace faultline::cluster
