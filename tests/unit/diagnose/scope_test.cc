#include "lib/diagnose/scope.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/policy/predicate.h"
#include "tests/unit/diagnose/run_world.h"

namespace faultline::diagnose {
namespace {

using ::faultline::testing::RunWorld;

// Words w0 to w29 at random, and sometimes `not`; two task types.
v1::Trace DrawTask(RunWorld* world) {
  std::string input;
  for (int w = 0; w < 30; ++w) {
    if (world->random().Bernoulli(.2)) absl::StrAppend(&input, " w", w);
  }
  if (world->random().Bernoulli(.25)) absl::StrAppend(&input, " not");
  return world->Draw(world->Pick({"qa", "math"}), input,
                     world->Pick({"m1", "m2", "m3"}));
}

bool HasNot(const v1::Trace& trace) {
  return trace.task().input().find(" not") != std::string::npos;
}

RunSet Members(const RunWorld& world, const RunWorld::Choice& chosen) {
  RunSet members(world.traces().size());
  for (const int32_t run : world.MakeSubject(chosen).members) members.Add(run);
  return members;
}

std::string ScopeText(const RunWorld& world, const RunWorld::Choice& chosen) {
  const RunSet members = Members(world, chosen);
  const ContextTable table(world.window(), {members});
  return policy::PredicateText(FindClusterScope(table, members).predicate);
}

TEST(ScopeTest, FindsTheWordThatMembersShare) {
  RunWorld world(1);
  for (int i = 0; i < 1500; ++i) {
    v1::Trace trace = DrawTask(&world);
    const bool weak = HasNot(trace) && trace.system().model() == "m1";
    world.Add(trace, world.random().Bernoulli(weak ? .9 : .1));
  }
  EXPECT_EQ(ScopeText(world,
                      [](const v1::Trace& trace) {
                        return HasNot(trace) && trace.system().model() == "m1";
                      }),
            "task.input has word \"not\"");
}

TEST(ScopeTest, JoinsTermsWhereOneIsNotEnough) {
  RunWorld world(2);
  const auto hit = [](const v1::Trace& trace) {
    return HasNot(trace) && trace.task().type() == "qa";
  };
  for (int i = 0; i < 1500; ++i) {
    v1::Trace trace = DrawTask(&world);
    world.Add(trace, world.random().Bernoulli(hit(trace) ? .7 : .1));
  }
  EXPECT_EQ(ScopeText(world, hit),
            "task.type = \"qa\" and task.input has word \"not\"");
}

TEST(ScopeTest, PrefersTheTaskTypeToALabelThatSaysTheSame) {
  RunWorld world(3);
  for (int i = 0; i < 1000; ++i) {
    v1::Trace trace = DrawTask(&world);
    const bool qa = trace.task().type() == "qa";
    (*trace.mutable_task()->mutable_labels())["a"] = qa ? "yes" : "no";
    world.Add(trace, world.random().Bernoulli(qa ? .6 : .05));
  }
  EXPECT_EQ(ScopeText(world,
                      [](const v1::Trace& trace) {
                        return trace.task().type() == "qa";
                      }),
            "task.type = \"qa\"");
}

TEST(ScopeTest, IsEverythingWhereNothingTellsMembersApart) {
  for (uint64_t seed = 10; seed < 15; ++seed) {
    RunWorld world(seed);
    for (int i = 0; i < 1000; ++i) {
      world.Add(DrawTask(&world), world.random().Bernoulli(.3));
    }
    // 5 % of the failures, so that chance has every chance.
    const RunSet members = Members(
        world, [&](const v1::Trace&) { return world.random().Bernoulli(.1); });
    const ContextTable table(world.window(), {members});
    const Scope scope = FindClusterScope(table, members);
    EXPECT_EQ(policy::PredicateText(scope.predicate), "everything");
    EXPECT_EQ(scope.runs.Count(), table.size());
  }
}

TEST(ScopeTest, MatchingRunsReadsAPredicateBack) {
  RunWorld world(4);
  for (int i = 0; i < 600; ++i) {
    v1::Trace trace = DrawTask(&world);
    world.Add(trace, world.random().Bernoulli(HasNot(trace) ? .9 : .1));
  }
  const RunSet members = Members(world, HasNot);
  const ContextTable table(world.window(), {members});
  const Scope scope = FindClusterScope(table, members);
  EXPECT_EQ(MatchingRuns(world.window(), scope.predicate), scope.runs);
  EXPECT_EQ(
      MatchingRuns(world.window(), EverythingScope(table).predicate).Count(),
      600u);

  v1::Predicate negated;
  *negated.mutable_not_() = scope.predicate;
  EXPECT_EQ(MatchingRuns(world.window(), negated), ~scope.runs);
  v1::Predicate either;
  *either.mutable_any()->add_predicates() = negated;
  *either.mutable_any()->add_predicates() = scope.predicate;
  EXPECT_EQ(MatchingRuns(world.window(), either).Count(), 600u);
  EXPECT_EQ(MatchingRuns(world.window(), v1::Predicate()).Count(), 0u);
}

}  // namespace
}  // namespace faultline::diagnose
