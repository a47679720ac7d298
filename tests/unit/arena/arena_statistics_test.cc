#include "client/arena/arena_statistics.h"

#include "gtest/gtest.h"

namespace faultline::arena {
namespace {

TEST(ArenaStatisticsTest, MeansHaveTIntervals) {
  // Five values: t = 2.776 with 4 degrees of freedom; s = sqrt(2.5).
  const MeanInterval five = MeanOf({1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(five.mean, 3);
  EXPECT_NEAR(five.upper - five.mean, 2.776 * 0.70711, 0.005);
  EXPECT_NEAR(five.mean - five.lower, five.upper - five.mean, 1e-12);
  // Two values: t = 12.706.
  EXPECT_NEAR(MeanOf({0, 2}).upper, 1 + 12.706, 1e-9);
  EXPECT_DOUBLE_EQ(MeanOf({4}).lower, 4);
  EXPECT_DOUBLE_EQ(MeanOf({}).mean, 0);
}

TEST(ArenaStatisticsTest, TheAreaCountsPairsAndTiesHalf) {
  EXPECT_DOUBLE_EQ(AreaUnderCurve({{.9, true}, {.1, false}}), 1);
  EXPECT_DOUBLE_EQ(AreaUnderCurve({{.1, true}, {.9, false}}), 0);
  EXPECT_DOUBLE_EQ(AreaUnderCurve({{.5, true}, {.5, false}}), 0.5);
  // Of four pairs three are in order and one is a tie.
  EXPECT_DOUBLE_EQ(
      AreaUnderCurve({{.3, true}, {.9, true}, {.3, false}, {.1, false}}),
      0.875);
  EXPECT_DOUBLE_EQ(AreaUnderCurve({{.3, true}}), 0.5);
}

TEST(ArenaStatisticsTest, CalibrationComparesGroupsNotRuns) {
  std::vector<Scored> even;
  for (int i = 0; i < 100; ++i) even.push_back({0.5, i % 2 == 0});
  EXPECT_NEAR(CalibrationError(even), 0, 1e-12);
  for (Scored& it : even) it.score = 0.8;
  EXPECT_NEAR(CalibrationError(even), 0.3, 1e-12);
  EXPECT_DOUBLE_EQ(CalibrationError({}), 0);
}

}  // namespace
}  // namespace faultline::arena
