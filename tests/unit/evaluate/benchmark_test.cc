#include "lib/evaluate/benchmark.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace faultline::evaluate {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using v1::BenchmarkItem;

// Two modes: `large` with 30 members and 10 held-out failures, `small` with 4.
class PlanBenchmarkTest : public ::testing::Test {
 protected:
  PlanBenchmarkTest() {
    large_.set_name("projects/p/clusters/large");
    small_.set_name("projects/p/clusters/small");
    modes_ = {{&large_, {}}, {&small_, {}}};
    for (uint64_t s = 1; s <= 30; ++s) AddFailure(0, s);
    for (uint64_t s = 41; s <= 50; ++s)
      AddFailure(0, s, BenchmarkItem::ROLE_MEMBER, true);
    for (uint64_t s = 101; s <= 104; ++s) AddFailure(1, s);
    At(0, 17).role = BenchmarkItem::ROLE_MEDOID;
    At(0, 23).role = BenchmarkItem::ROLE_EXEMPLAR;
    limits_.per_mode = 5;
    limits_.seed = 1;
  }

  void AddFailure(size_t mode, uint64_t sequence,
                  BenchmarkItem::Role role = BenchmarkItem::ROLE_MEMBER,
                  bool held_out = false) {
    modes_[mode].failures.push_back({sequence, role, held_out, .5, {}});
  }
  BenchmarkFailure& At(size_t mode, uint64_t sequence) {
    return *std::find_if(modes_[mode].failures.begin(),
                         modes_[mode].failures.end(),
                         [sequence](const BenchmarkFailure& failure) {
                           return failure.sequence == sequence;
                         });
  }

  BenchmarkPlan Plan() {
    auto plan = PlanBenchmark(modes_, successes_, limits_, [this](uint64_t s) {
      return deleted_.count(s) > 0
                 ? absl::StatusOr<RunFacts>(absl::NotFoundError(""))
                 : RunFacts{absl::StrCat("r", s), keys_[s]};
    });
    EXPECT_OK(plan);
    return plan.ok() ? *std::move(plan) : BenchmarkPlan();
  }
  static std::vector<uint64_t> Sequences(const BenchmarkPlan& plan) {
    std::vector<uint64_t> sequences;
    for (const BenchmarkRun& run : plan.runs) sequences.push_back(run.sequence);
    return sequences;
  }

  v1::Cluster large_, small_;
  std::vector<BenchmarkMode> modes_;
  std::vector<BenchmarkSuccess> successes_;
  BenchmarkLimits limits_;
  std::map<uint64_t, TaskKeys> keys_;
  std::set<uint64_t> deleted_;
};

TEST_F(PlanBenchmarkTest, EachModeAndSplitHasItsShareAndTheRestIsCounted) {
  const BenchmarkPlan plan = Plan();
  ASSERT_EQ(plan.summary.strata_size(), 2);
  const v1::BenchmarkStratum& large = plan.summary.strata(0);
  EXPECT_EQ(large.cluster(), "projects/p/clusters/large");
  EXPECT_EQ(large.members(), 30);
  EXPECT_EQ(large.held_out(), 10);
  EXPECT_EQ(large.members_exported(), 5);
  EXPECT_EQ(large.held_out_exported(), 5);
  EXPECT_EQ(plan.summary.strata(1).members_exported(), 4);
  EXPECT_EQ(plan.summary.items(), 14);
  EXPECT_EQ(plan.summary.over_per_mode(), 25 + 5);
  EXPECT_EQ(plan.summary.over_max_items(), 0);
}

TEST_F(PlanBenchmarkTest, RunsThatStandForTheModeComeFirstAndSplitsStayApart) {
  const BenchmarkPlan plan = Plan();
  EXPECT_EQ(plan.runs[0].sequence, 17);
  EXPECT_EQ(plan.runs[0].role, BenchmarkItem::ROLE_MEDOID);
  EXPECT_EQ(plan.runs[1].sequence, 23);
  for (size_t i = 0; i < 5; ++i) EXPECT_FALSE(plan.runs[i].held_out);
  for (size_t i = 5; i < 10; ++i) {
    EXPECT_TRUE(plan.runs[i].held_out);
    EXPECT_GE(plan.runs[i].sequence, 41);
  }
}

TEST_F(PlanBenchmarkTest, TheSeedDrawsAndTheOrderOfTheInputDoesNot) {
  const std::vector<uint64_t> once = Sequences(Plan());
  std::reverse(modes_[0].failures.begin(), modes_[0].failures.end());
  EXPECT_EQ(Sequences(Plan()), once);
  limits_.seed = 2;
  EXPECT_NE(Sequences(Plan()), once);
}

TEST_F(PlanBenchmarkTest, ModesTakeTurnsUntilTheBenchmarkIsFull) {
  limits_.max_items = 6;
  const BenchmarkPlan plan = Plan();
  EXPECT_EQ(plan.runs.size(), 6);
  EXPECT_EQ(plan.summary.strata(0).members_exported() +
                plan.summary.strata(0).held_out_exported(),
            3);
  EXPECT_EQ(plan.summary.strata(1).members_exported(), 3);
  EXPECT_EQ(plan.summary.over_max_items(), 14 - 6);
}

TEST_F(PlanBenchmarkTest, BoundaryCasesComeWhenAskedForAndOnce) {
  for (size_t mode : {0, 1}) {
    AddFailure(mode, 201, BenchmarkItem::ROLE_BOUNDARY);
    AddFailure(mode, 202 + mode, BenchmarkItem::ROLE_BOUNDARY);
  }
  EXPECT_EQ(Plan().summary.strata(0).boundary_exported(), 0);
  limits_.boundary_per_mode = 2;
  const BenchmarkPlan plan = Plan();
  EXPECT_EQ(plan.summary.strata(0).boundary_exported() +
                plan.summary.strata(1).boundary_exported(),
            3);  // 201 is at the edge of both
  EXPECT_EQ(plan.summary.strata(0).members(), 30);  // these are no members
  EXPECT_EQ(plan.runs.back().role, BenchmarkItem::ROLE_BOUNDARY);
}

TEST_F(PlanBenchmarkTest, ARunOfTwoModesStandsForOneAndTheOtherTakesTheNext) {
  // Every failure of the small mode is one of the large mode, too.
  for (BenchmarkFailure& failure : modes_[1].failures) failure.sequence -= 100;
  for (uint64_t s = 105; s <= 110; ++s) AddFailure(1, s - 100);
  At(0, 17).role = BenchmarkItem::ROLE_MEMBER;
  At(0, 23).role = BenchmarkItem::ROLE_MEMBER;
  const BenchmarkPlan plan = Plan();
  std::vector<uint64_t> sequences = Sequences(plan);
  EXPECT_EQ(plan.summary.strata(0).members_exported(), 5);
  EXPECT_EQ(plan.summary.strata(1).members_exported(), 5);
  std::sort(sequences.begin(), sequences.end());
  EXPECT_EQ(std::unique(sequences.begin(), sequences.end()), sequences.end());
  EXPECT_EQ(plan.summary.over_per_mode(), 30 + 10 - 15);
}

TEST_F(PlanBenchmarkTest, SuccessesMatchTheTaskThenTheKindOnTheSameSide) {
  modes_.erase(modes_.begin());
  modes_[0].failures.resize(1);  // 101
  keys_[101] = {7, 9};
  successes_ = {{301, false, {7, 9}},   // the same task
                {302, true, {7, 9}},    // the other side
                {303, false, {8, 9}},   // the same kind
                {304, false, {0, 5}},   // another kind
                {305, false, {0, 0}}};  // says nothing
  limits_.successes_per_failure = 2;
  const BenchmarkPlan plan = Plan();
  EXPECT_THAT(Sequences(plan), ElementsAre(101, 301, 303));
  EXPECT_TRUE(plan.runs[1].same_task);
  EXPECT_FALSE(plan.runs[2].same_task);
  EXPECT_EQ(plan.runs[1].matched_to, "r101");
  EXPECT_EQ(plan.summary.short_of_successes(), 0);
  limits_.successes_per_failure = 3;
  EXPECT_EQ(Plan().summary.short_of_successes(), 1);
  modes_[0].failures[0].held_out = true;
  EXPECT_THAT(Sequences(Plan()), ElementsAre(101, 302));
}

TEST_F(PlanBenchmarkTest, ASuccessIsMatchedOnce) {
  modes_.erase(modes_.begin());
  for (uint64_t s = 101; s <= 104; ++s) keys_[s] = {0, 9};
  successes_ = {{301, false, {0, 9}}, {302, false, {0, 9}}};
  limits_.successes_per_failure = 1;
  const BenchmarkPlan plan = Plan();
  EXPECT_EQ(plan.summary.strata(0).successes_exported(), 2);
  EXPECT_EQ(plan.summary.short_of_successes(), 2);
}

TEST_F(PlanBenchmarkTest, DeletedRunsAreSkippedAndCounted) {
  deleted_ = {17, 101};
  const BenchmarkPlan plan = Plan();
  EXPECT_EQ(plan.summary.deleted(), 2);
  EXPECT_EQ(plan.summary.items(), 5 + 5 + 3);  // the next one takes the place
  EXPECT_EQ(plan.runs[0].sequence, 23);
}

TEST_F(PlanBenchmarkTest, OtherErrorsAreReturned) {
  EXPECT_EQ(
      PlanBenchmark(modes_, {}, limits_,
                    [](uint64_t) { return absl::DataLossError("broken"); })
          .status()
          .code(),
      absl::StatusCode::kDataLoss);
}

TEST_F(PlanBenchmarkTest, WithoutModesThereIsNothing) {
  modes_.clear();
  EXPECT_THAT(Plan().runs, IsEmpty());
}

TEST(TaskKeysOf, TellTasksAndKindsApart) {
  v1::Trace trace;
  EXPECT_EQ(TaskKeysOf(trace).task, 0);
  EXPECT_EQ(TaskKeysOf(trace).kind, 0);
  trace.mutable_task()->set_id("1");
  trace.mutable_task()->set_type("a");
  const TaskKeys keys = TaskKeysOf(trace);
  EXPECT_NE(keys.task, 0);
  trace.mutable_task()->set_dataset("d");
  EXPECT_EQ(TaskKeysOf(trace).task, keys.task);
  EXPECT_NE(TaskKeysOf(trace).kind, keys.kind);
}

}  // namespace
}  // namespace faultline::evaluate
