#include "lib/diagnose/logged_choices.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/diagnose/run_world.h"

namespace faultline::diagnose {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::Trace Routed(testing::RunWorld* world, const std::string& type,
                 const std::vector<std::string>& candidates,
                 const std::string& chosen, double propensity) {
  v1::Trace trace = world->Draw(type, "", chosen);
  v1::Decision& route = *trace.mutable_decisions(0);
  for (const std::string& name : candidates) {
    route.add_candidates()->set_name(name);
  }
  if (propensity > 0) route.set_propensity(propensity);
  return trace;
}

RunSet Everything(const testing::RunWorld& world) {
  return RunSet::All(world.runs().size());
}

TEST(LoggedChoicesTest, RowsHoldCellArmPropensityAndFailure) {
  testing::RunWorld world(1);
  world.Add(Routed(&world, "sum", {"small", "large"}, "small", .75), true);
  world.Add(Routed(&world, "quote", {"large", "small"}, "large", .25), false);
  const Window window = world.window();
  const ChoiceCells cells =
      CellsOfField(window, Everything(world), "task.type", 1);
  EXPECT_THAT(cells.names, ElementsAre("", "quote", "sum"));

  const LoggedChoices logged =
      CollectLoggedChoices(window, Everything(world), cells);
  EXPECT_THAT(logged.arms, ElementsAre("large", "small"));
  EXPECT_EQ(logged.offered, 2);
  EXPECT_THAT(logged.runs, ElementsAre(0, 1));
  ASSERT_EQ(logged.choices.size(), 2);
  EXPECT_EQ(logged.choices[0].cell, 2);
  EXPECT_EQ(logged.choices[0].arm, 1);
  EXPECT_EQ(logged.choices[0].propensity, .75);
  EXPECT_EQ(logged.choices[0].loss, 1);
  EXPECT_EQ(logged.choices[1].cell, 1);
  EXPECT_EQ(logged.choices[1].arm, 0);
  EXPECT_EQ(logged.choices[1].loss, 0);
  EXPECT_EQ(logged.left_out.total(), 0);
}

TEST(LoggedChoicesTest, EachRunThatTellsNothingIsCountedOnce) {
  testing::RunWorld world(2);
  const std::vector<std::string> both = {"a", "b"};
  world.Add(Routed(&world, "t", both, "a", .5), false);
  world.Add(Routed(&world, "t", both, "a", .5), false);
  world.Add(Routed(&world, "t", both, "a", 0), false);  // no propensity
  world.Add(Routed(&world, "t", {}, "a", .5), false);   // no candidates
  world.Add(Routed(&world, "t", {"b"}, "a", .5), false);
  world.Add(Routed(&world, "t", {"a"}, "a", 1), false);  // no b
  v1::Trace twice = Routed(&world, "t", both, "a", .5);
  *twice.add_decisions() = twice.decisions(0);
  world.Add(twice, false);
  v1::Trace none = world.Draw("t", "", "a");
  none.clear_decisions();
  world.Add(none, false);

  const Window window = world.window();
  const LoggedChoices logged =
      CollectLoggedChoices(window, Everything(world), OneCell(window));
  EXPECT_EQ(logged.choices.size(), 2);
  EXPECT_EQ(logged.left_out.no_propensity, 1);
  EXPECT_EQ(logged.left_out.no_candidates, 2);
  EXPECT_EQ(logged.left_out.arm_missing, 1);
  EXPECT_EQ(logged.left_out.several_decisions, 1);
  EXPECT_EQ(logged.left_out.no_decision, 1);
  EXPECT_EQ(logged.left_out.total(), 6);
}

TEST(LoggedChoicesTest, RunsOutOfScopeAreNotLookedAt) {
  testing::RunWorld world(3);
  world.Add(Routed(&world, "t", {"a", "b"}, "a", .5), false);
  world.Add(Routed(&world, "t", {"a", "b"}, "a", 0), false);
  RunSet scope(2);
  scope.Add(0);
  const Window window = world.window();
  const LoggedChoices logged =
      CollectLoggedChoices(window, scope, OneCell(window));
  EXPECT_THAT(logged.runs, ElementsAre(0));
  EXPECT_EQ(logged.left_out.total(), 0);
}

TEST(LoggedChoicesTest, GivenArmsKeepTheirOrderAndOthersFollow) {
  testing::RunWorld world(4);
  world.Add(Routed(&world, "t", {"a", "b", "c"}, "c", .2), false);
  world.Add(Routed(&world, "t", {"a", "b"}, "a", .5), false);
  world.Add(Routed(&world, "t", {"a", "c"}, "a", .5), false);  // no b
  const Window window = world.window();
  const LoggedChoices logged = CollectLoggedChoices(
      window, Everything(world), OneCell(window), {"b", "a"});
  EXPECT_THAT(logged.arms, ElementsAre("b", "a", "c"));
  EXPECT_EQ(logged.offered, 2);
  ASSERT_EQ(logged.choices.size(), 2);
  EXPECT_EQ(logged.choices[0].arm, 2);
  EXPECT_EQ(logged.choices[1].arm, 1);
  EXPECT_EQ(logged.left_out.arm_missing, 1);
}

TEST(LoggedChoicesTest, SmallCellsAndMissingValuesShareACell) {
  testing::RunWorld world(5);
  for (int i = 0; i < 3; ++i) {
    world.Add(Routed(&world, "often", {"a", "b"}, "a", .5), false);
  }
  world.Add(Routed(&world, "rare", {"a", "b"}, "a", .5), false);
  world.Add(Routed(&world, "", {"a", "b"}, "a", .5), false);
  const ChoiceCells cells =
      CellsOfField(world.window(), Everything(world), "task.type", 3);
  EXPECT_THAT(cells.names, ElementsAre("", "often"));
  EXPECT_THAT(cells.cell_of, ElementsAre(1, 1, 1, 0, 0));
}

TEST(LoggedChoicesTest, NothingComesOfNothing) {
  const testing::RunWorld world(6);
  const Window window = world.window();
  const LoggedChoices logged =
      CollectLoggedChoices(window, RunSet(), OneCell(window));
  EXPECT_THAT(logged.arms, IsEmpty());
  EXPECT_THAT(logged.choices, IsEmpty());
  EXPECT_EQ(logged.left_out.total(), 0);
}

}  // namespace
}  // namespace faultline::diagnose
