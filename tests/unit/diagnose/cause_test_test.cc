#include "lib/diagnose/cause_test.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/diagnose/scope.h"
#include "lib/stats/contingency.h"
#include "tests/unit/diagnose/run_world.h"

namespace faultline::diagnose {
namespace {

using ::faultline::testing::RunWorld;
using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr double kRate = 0.05;

CauseSubject MakeCauseSubject(const RunWorld& world,
                              const RunWorld::Choice& chosen) {
  CauseSubject subject;
  subject.held_out_members = RunSet(world.traces().size());
  for (const int32_t run : world.MakeSubject(chosen).held_out_members) {
    subject.held_out_members.Add(run);
  }
  subject.scope_runs = RunSet::All(world.traces().size());
  subject.scope.mutable_all();
  return subject;
}

// Features that pass, as field=value.
std::set<std::string> Passed(const std::vector<CauseTest>& tests) {
  std::set<std::string> passed;
  for (const CauseTest& test : tests) {
    if (!test.Passes(kRate)) continue;
    const v1::Comparison& comparison = test.feature->comparison;
    passed.insert(absl::StrCat(comparison.field(), "=", comparison.text()));
  }
  return passed;
}

// Marks the runs of the mode under test.
void MarkLoop(v1::Trace* trace) {
  RunWorld::AddStep(v1::Step::KIND_TOOL, "loop", trace);
}
bool IsLoop(const v1::Trace& trace) { return trace.steps_size() > 0; }

// Failures of one mode come with the prompt `bad`, and with tasks of the type
// `hard`. Those come mostly from the north, which by itself does nothing.
RunWorld MakeWorld(uint64_t seed, bool planted, int runs = 3000) {
  RunWorld world(seed);
  for (int i = 0; i < runs; ++i) {
    const std::string type = world.Pick({"hard", "easy"});
    const std::string prompt = world.Pick({"bad", "plain", "long"});
    v1::Trace trace = world.Draw(type, "q", world.Pick({"m1", "m2"}));
    trace.mutable_system()->set_prompt_strategy(prompt);
    (*trace.mutable_task()->mutable_labels())["region"] =
        world.random().Bernoulli(type == "hard" ? .9 : .1) ? "north" : "south";
    // Facts that do nothing.
    for (int label = 0; label < 15; ++label) {
      (*trace.mutable_task()->mutable_labels())[absl::StrCat("x", label)] =
          world.Pick({"p", "q", "r"});
    }
    // Other failures know no type, so that they do not lay the region bare.
    const double base = .25;
    const double extra = planted && prompt == "bad" ? .3 : .03;
    // The mode strikes the hard type more, whatever the region.
    const bool loops =
        world.random().Bernoulli(type == "hard" ? 2 * extra : extra / 4);
    if (loops) MarkLoop(&trace);
    world.Add(trace, loops || world.random().Bernoulli(base));
  }
  return world;
}

TEST(CauseTestTest, FindsThePlantedCauseAndRefusesTheConfoundedOne) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const RunWorld world = MakeWorld(seed, /*planted=*/true);
    const ContextTable table(world.window(), {});
    const std::vector<CauseTest> tests =
        TestCauses(table, {MakeCauseSubject(world, IsLoop)});
    const std::set<std::string> passed = Passed(tests);
    EXPECT_THAT(passed, Contains("system.prompt_strategy=bad"));
    EXPECT_THAT(passed, Not(Contains("task.labels.region=north")));
    EXPECT_LE(passed.size(), 3u);  // the type itself may pass, too

    // Without strata, the region would have looked like a cause.
    size_t with_region = 0;
    size_t members = 0;
    size_t successes_with_region = 0;
    size_t successes = 0;
    for (size_t i = 0; i < world.traces().size(); ++i) {
      const v1::Trace& trace = world.traces()[i];
      const bool north = trace.task().labels().at("region") == "north";
      if (IsLoop(trace)) {
        ++members;
        with_region += north ? 1 : 0;
      } else if (trace.evaluation().outcome() == v1::OUTCOME_PASS) {
        ++successes;
        successes_with_region += north ? 1 : 0;
      }
    }
    EXPECT_GT(static_cast<double>(with_region) / members,
              static_cast<double>(successes_with_region) / successes + .1);
  }
}

TEST(CauseTestTest, AssociationsCountTheHeldOutRunsOnly) {
  const RunWorld world = MakeWorld(4, /*planted=*/true, 1000);
  const CauseSubject subject = MakeCauseSubject(world, IsLoop);
  const ContextTable table(world.window(), {});
  const std::vector<CauseTest> tests = TestCauses(table, {subject});
  ASSERT_FALSE(tests.empty());
  for (const CauseTest& test : tests) {
    const v1::Association& a = test.against_successes;
    EXPECT_EQ(a.cases_with() + a.cases_without(),
              subject.held_out_members.Count());
    EXPECT_EQ(a.controls_with() + a.controls_without(),
              (table.held_out() & ~table.failed()).Count());
    const v1::Association& b = test.against_failures;
    EXPECT_EQ(b.controls_with() + b.controls_without(),
              (table.held_out() & table.failed()).Count() -
                  subject.held_out_members.Count());
    EXPECT_GE(test.p_value, a.p_value());
    EXPECT_GE(test.adjusted_p, test.p_value);
  }
}

TEST(CauseTestTest, FindsNothingInNullWorlds) {
  int worlds_with_any = 0;
  for (uint64_t seed = 100; seed < 120; ++seed) {
    const RunWorld world = MakeWorld(seed, /*planted=*/false, 800);
    const ContextTable table(world.window(), {});
    const std::vector<CauseTest> tests =
        TestCauses(table, {MakeCauseSubject(world, IsLoop)});
    // The mode does strike the hard type more than the easy one.
    std::set<std::string> passed = Passed(tests);
    passed.erase("task.type=hard");
    worlds_with_any += passed.empty() ? 0 : 1;
  }
  EXPECT_LE(worlds_with_any, 2);
}

TEST(CauseTestTest, NegativeControlsKeepTheirLevel) {
  double sum = 0;
  constexpr int kWorlds = 10;
  for (uint64_t seed = 200; seed < 200 + kWorlds; ++seed) {
    const RunWorld world = MakeWorld(seed, /*planted=*/true, 800);
    const ContextTable table(world.window(), {});
    sum +=
        TestNegativeControls(table, {MakeCauseSubject(world, IsLoop)}).rate();
  }
  EXPECT_LE(sum / kWorlds, .1);
}

TEST(CauseTestTest, ATrajectoryClusterIsTestedInsideItsScope) {
  RunWorld world(5);
  for (int i = 0; i < 3000; ++i) {
    const std::string type = world.Pick({"negated", "plain"});
    const std::string model = world.Pick({"weak", "strong", "other"});
    v1::Trace trace = world.Draw(type, "q", model);
    const bool hit = type == "negated" && model == "weak";
    world.Add(trace, world.random().Bernoulli(hit ? .8 : .15));
  }
  const ContextTable table(world.window(), {});
  const auto chosen = [](const v1::Trace& trace) {
    return trace.task().type() == "negated";
  };
  CauseSubject subject = MakeCauseSubject(world, chosen);
  subject.trajectory_only = true;
  RunSet members(table.size());
  for (const int32_t run : world.MakeSubject(chosen).members) members.Add(run);
  const Scope scope = FindClusterScope(table, members);
  subject.scope = scope.predicate;
  subject.scope_runs = scope.runs;

  const std::vector<CauseTest> tests = TestCauses(table, {subject});
  for (const CauseTest& test : tests) {
    EXPECT_FALSE(test.feature->about_task);
    EXPECT_FALSE(test.has_against_failures);
  }
  EXPECT_THAT(Passed(tests), UnorderedElementsAre("system.model=weak",
                                                  "decisions.route.chosen="
                                                  "weak"));
}

// More strata than octiles: every type of task is one of its own.
TEST(CauseTestTest, CountsWhatTheSetsHoldInManyStrataWithAnyThreads) {
  RunWorld world(7);
  for (int i = 0; i < 4000; ++i) {
    const auto type = static_cast<int>(world.random().Below(16));
    v1::Trace trace = world.Draw(absl::StrCat("type ", type), "q",
                                 world.Pick({"m1", "m2", "m3"}));
    if (world.random().Bernoulli(.2)) MarkLoop(&trace);
    world.Add(trace, world.random().Bernoulli(.05 * type));
  }
  const ContextTable table(world.window(), {});
  ASSERT_GT(table.Strata(Prognostic::kNone).size(), 16u);
  CauseSubject inside = MakeCauseSubject(world, IsLoop);
  inside.trajectory_only = true;
  inside.scope_runs = table.Values("task.type").front()->runs;
  const std::vector<CauseSubject> subjects = {MakeCauseSubject(world, IsLoop),
                                              inside};

  const std::vector<CauseTest> tests = TestCauses(table, subjects);
  const std::vector<CauseTest> shared_out = TestCauses(table, subjects, 3);
  ASSERT_EQ(tests.size(), shared_out.size());
  const RunSet failures = table.held_out() & table.failed();
  const RunSet successes = table.held_out() & ~table.failed();
  for (size_t t = 0; t < tests.size(); ++t) {
    const CauseTest& test = tests[t];
    const RunSet& feature = test.feature->runs;
    const RunSet& members = subjects[0].held_out_members;
    const RunSet cases =
        test.subject == 0 ? members : failures & inside.scope_runs;
    const RunSet passed =
        test.subject == 0 ? successes : successes & inside.scope_runs;
    EXPECT_EQ(test.against_successes.cases_with(), cases.CountBoth(feature));
    EXPECT_EQ(test.against_successes.controls_with(),
              passed.CountBoth(feature));
    EXPECT_EQ(test.against_successes.controls_without(),
              passed.CountBoth(~feature));
    if (test.subject == 0) {
      EXPECT_EQ(test.against_failures.controls_with(),
                failures.CountAll(~members, feature));
      EXPECT_EQ(test.against_failures.controls_without(),
                failures.CountAll(~members, ~feature));
    }
    std::vector<stats::Table> strata;
    for (const RunSet& stratum : table.Strata(test.feature->variable)) {
      strata.push_back(
          {static_cast<double>(cases.CountAll(stratum, feature)),
           static_cast<double>(cases.CountAll(stratum, ~feature)),
           static_cast<double>(passed.CountAll(stratum, feature)),
           static_cast<double>(passed.CountAll(stratum, ~feature))});
    }
    EXPECT_EQ(test.against_successes.p_value(),
              stats::MantelHaenszel(strata).p_value);
    EXPECT_EQ(test.feature, shared_out[t].feature);
    EXPECT_EQ(test.adjusted_p, shared_out[t].adjusted_p);
  }
  EXPECT_EQ(TestNegativeControls(table, subjects).significant,
            TestNegativeControls(table, subjects, 3).significant);
}

TEST(CauseTestTest, NoSubjectMeansNoTest) {
  const RunWorld world = MakeWorld(6, true, 200);
  const ContextTable table(world.window(), {});
  EXPECT_THAT(TestCauses(table, {}), IsEmpty());
  EXPECT_EQ(TestNegativeControls(table, {}).rate(), 0);
}

}  // namespace
}  // namespace faultline::diagnose
