#include "lib/diagnose/context_table.h"

#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/policy/predicate.h"
#include "tests/unit/diagnose/run_world.h"

namespace faultline::diagnose {
namespace {

using ::faultline::testing::RunWorld;
using ::testing::Contains;
using ::testing::Not;

std::vector<std::string> Texts(const ContextTable& table) {
  std::vector<std::string> texts;
  for (const Feature& feature : table.features()) {
    v1::Predicate predicate;
    *predicate.mutable_comparison() = feature.comparison;
    texts.push_back(policy::PredicateText(predicate));
  }
  return texts;
}

RunWorld MakeWorld() {
  RunWorld world(1);
  for (int i = 0; i < 1000; ++i) {
    const std::string type = world.Pick({"a", "b"});
    v1::Trace trace = world.Draw(
        type, absl::StrCat("always unique", i, i % 3 == 0 ? " third" : ""),
        world.Pick({"m1", "m2", "m3"}));
    (*trace.mutable_memory()->mutable_stats())["stale_share"] = i % 11 / 10.0;
    if (i == 5) (*trace.mutable_task()->mutable_labels())["rare"] = "yes";
    world.Add(trace, world.random().Bernoulli(type == "a" ? .7 : .2));
  }
  return world;
}

TEST(ContextTableTest, KeepsWhatIsNeitherRareNorCommon) {
  const RunWorld world = MakeWorld();
  const ContextTable table(world.window(), {});
  const std::vector<std::string> texts = Texts(table);
  EXPECT_THAT(texts, Contains("task.type = \"a\""));
  EXPECT_THAT(texts, Contains("system.model = \"m2\""));
  EXPECT_THAT(texts, Contains("decisions.route.chosen = \"m3\""));
  EXPECT_THAT(texts, Contains("task.input has word \"third\""));
  EXPECT_THAT(texts, Not(Contains("task.input has word \"always\"")));
  EXPECT_THAT(texts, Not(Contains("task.input has word \"unique5\"")));
  EXPECT_THAT(texts, Not(Contains("task.labels.rare = \"yes\"")));
  EXPECT_EQ(texts.front(), "task.type = \"a\"");
}

TEST(ContextTableTest, EveryFeatureHoldsWhereItsPredicateDoes) {
  const RunWorld world = MakeWorld();
  const ContextTable table(world.window(), {});
  int numbers = 0;
  for (const Feature& feature : table.features()) {
    numbers += feature.comparison.op() == v1::Comparison::OPERATOR_AT_LEAST;
    v1::Predicate predicate;
    *predicate.mutable_comparison() = feature.comparison;
    const auto compiled = policy::CompiledPredicate::Compile(predicate);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    for (size_t i = 0; i < world.traces().size(); ++i) {
      ASSERT_EQ(feature.runs.Has(i), compiled->Matches(world.traces()[i]))
          << policy::PredicateText(predicate) << " on run " << i;
    }
  }
  EXPECT_EQ(numbers, 4);
}

TEST(ContextTableTest, OnlyWhatARouterKnowsBeforehandMayScope) {
  const RunWorld world = MakeWorld();
  const ContextTable table(world.window(), {});
  for (const Feature& feature : table.features()) {
    const std::string& field = feature.comparison.field();
    EXPECT_EQ(feature.may_scope,
              field != "system.model" && field != "decisions.route.chosen")
        << field;
  }
}

TEST(ContextTableTest, StrataPartTheHeldOutSideByRisk) {
  const RunWorld world = MakeWorld();
  const ContextTable table(world.window(), {});
  for (const Prognostic left_out :
       {Prognostic::kNone, Prognostic::kTaskType, Prognostic::kAnswerer}) {
    RunSet all(table.size());
    size_t sum = 0;
    for (const RunSet& stratum : table.Strata(left_out)) {
      all = all | stratum;
      sum += stratum.Count();
    }
    EXPECT_EQ(all, table.held_out());
    EXPECT_EQ(sum, table.held_out().Count());
  }
  // Without the task type, no stratum knows it.
  const Feature& type_a = table.features().front();
  for (const RunSet& stratum : table.Strata(Prognostic::kTaskType)) {
    const double share = static_cast<double>(stratum.CountBoth(type_a.runs)) /
                         static_cast<double>(stratum.Count());
    EXPECT_GT(share, .2);
    EXPECT_LT(share, .8);
  }
  // With it, the riskiest stratum is of that type alone.
  EXPECT_EQ(table.Strata(Prognostic::kAnswerer).back().CountBoth(type_a.runs),
            table.Strata(Prognostic::kAnswerer).back().Count());
}

TEST(ContextTableTest, CellsPartTheWindowByTaskAndAgent) {
  const RunWorld world = MakeWorld();
  const ContextTable table(world.window(), {});
  ASSERT_EQ(table.cells().size(), 2u);
  EXPECT_EQ(table.cells()[0] | table.cells()[1], RunSet::All(1000));
  EXPECT_EQ(table.cells()[0].CountBoth(table.cells()[1]), 0u);
  const RunSet& type_a = table.features().front().runs;
  EXPECT_TRUE(table.cells()[0] == type_a || table.cells()[1] == type_a);
}

TEST(ContextTableTest, RareCellsShareOne) {
  RunWorld world(3);
  for (int i = 0; i < 900; ++i) {
    world.Add(world.Draw(absl::StrCat("type", i % 30), "q", "m"), i % 2 == 0);
  }
  const ContextTable table(world.window(), {});
  EXPECT_EQ(table.cells().size(), 17u);
  size_t sum = 0;
  for (const RunSet& cell : table.cells()) sum += cell.Count();
  EXPECT_EQ(sum, 900u);
  EXPECT_EQ(table.cells().back().Count(), 14u * 30);
}

TEST(ContextTableTest, ControlBitsHoldForHalfTheRuns) {
  const RunWorld world = MakeWorld();
  const ContextTable table(world.window(), {});
  ASSERT_FALSE(table.controls().empty());
  for (const RunSet& control : table.controls()) {
    EXPECT_NEAR(static_cast<double>(control.Count()), 500, 80);
  }
}

TEST(ContextTableTest, WordsOfATargetSurviveAShortList) {
  RunWorld world(2);
  RunSet target(3000);
  for (int i = 0; i < 3000; ++i) {
    std::string input;
    for (int w = 0; w < 40; ++w) {
      if (world.random().Bernoulli(.3)) absl::StrAppend(&input, " w", w);
    }
    const bool marked = i % 25 == 0;
    if (marked) absl::StrAppend(&input, " marker");
    world.Add(world.Draw("t", input, "m"), world.random().Bernoulli(.5));
    if (marked && world.discovery().back()) target.Add(i);
  }
  ContextTableOptions options;
  options.max_words = 5;
  const ContextTable table(world.window(), {target}, options);
  EXPECT_EQ(table.features().size(), 5u);
  EXPECT_THAT(Texts(table), Contains("task.input has word \"marker\""));
}

TEST(ContextTableTest, ToleratesAnEmptyWindow) {
  const RunWorld world(1);
  const ContextTable table(world.window(), {});
  EXPECT_TRUE(table.features().empty());
  EXPECT_EQ(table.size(), 0u);
}

TEST(StandardizedLogOddsTest, HasTheSignOfTheDifferenceAndGrowsWithIt) {
  EXPECT_EQ(StandardizedLogOdds(0, 10, 0, 10), 0);
  EXPECT_EQ(StandardizedLogOdds(0, 0, 5, 10), 0);
  EXPECT_GT(StandardizedLogOdds(90, 100, 10, 1000), 6);
  EXPECT_LT(StandardizedLogOdds(1, 100, 800, 1000), -6);
  EXPECT_NEAR(StandardizedLogOdds(50, 100, 500, 1000), 0, 1e-12);
}

}  // namespace
}  // namespace faultline::diagnose
