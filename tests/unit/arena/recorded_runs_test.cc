#include "client/arena/recorded_runs.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/arena/recorded_world.h"

namespace faultline::arena {
namespace {

using ::faultline::testing::MakeRun;
using ::faultline::testing::MakeRuns;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<int> AllTasks(const RecordedRuns& recorded) {
  std::vector<int> tasks;
  for (size_t i = 0; i < recorded.tasks().size(); ++i) {
    tasks.push_back(static_cast<int>(i));
  }
  return tasks;
}

TEST(RecordedRunsTest, SortsRunsByTaskAndModelWhateverTheirOrder) {
  std::vector<v1::Trace> runs = MakeRuns(4);
  ASSERT_OK_AND_ASSIGN(const RecordedRuns one, RecordedRuns::Create(runs));
  base::Random(7).Shuffle(&runs);
  ASSERT_OK_AND_ASSIGN(const RecordedRuns other, RecordedRuns::Create(runs));
  EXPECT_THAT(one.models(), ElementsAre("a", "b"));
  ASSERT_THAT(one.tasks(), SizeIs(8));
  ASSERT_THAT(other.tasks(), SizeIs(8));
  for (size_t t = 0; t < 8; ++t) {
    for (size_t m = 0; m < 2; ++m) {
      ASSERT_THAT(one.tasks()[t].runs[m], SizeIs(2));
      EXPECT_EQ(one.tasks()[t].runs[m][1].trace_id(),
                other.tasks()[t].runs[m][1].trace_id());
    }
  }
}

TEST(RecordedRunsTest, LeavesOutWhatTellsAnAnswer) {
  std::vector<v1::Trace> runs = MakeRuns(1);
  for (v1::Trace& run : runs) {
    run.add_annotations()->set_failure_mode("answer");
    run.add_decisions()->set_chosen("a");
    run.mutable_exposure()->set_policy_version(3);
    run.mutable_evaluation()->set_cost(1);
    run.mutable_evaluation()->mutable_latency()->set_seconds(1);
  }
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded, RecordedRuns::Create(runs));
  const v1::Trace& run = recorded.tasks()[0].runs[0][0];
  EXPECT_THAT(run.task().id(), IsEmpty());
  EXPECT_THAT(run.annotations(), IsEmpty());
  EXPECT_THAT(run.decisions(), IsEmpty());
  EXPECT_FALSE(run.has_exposure());
  EXPECT_FALSE(run.evaluation().has_cost());
  EXPECT_FALSE(run.evaluation().has_latency());
  EXPECT_EQ(run.task().input(), "do the x");
  EXPECT_NE(run.evaluation().outcome(), v1::OUTCOME_UNSPECIFIED);
}

TEST(RecordedRunsTest, SaysWhatIsMissing) {
  std::vector<v1::Trace> runs = MakeRuns(2);
  runs[3].clear_evaluation();
  EXPECT_THAT(RecordedRuns::Create(runs).status().message(),
              HasSubstr("has no outcome"));
  runs = MakeRuns(2);
  runs[0].mutable_task()->clear_id();
  EXPECT_THAT(RecordedRuns::Create(runs).status().message(),
              HasSubstr("has no task.id"));
  runs = MakeRuns(2);
  runs.push_back(MakeRun("x", "task9", "a", 0, true));
  EXPECT_THAT(RecordedRuns::Create(runs).status().message(),
              HasSubstr("task task9 of dataset made up has no run of model b"));
  EXPECT_THAT(RecordedRuns::Create({}).status().message(),
              HasSubstr("at least 2 of each"));
}

TEST(RecordedRunsTest, SplitsWholeTasksBySeed) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(10)));
  const TaskSplit split = SplitTasks(recorded, 0.2, 3);
  EXPECT_THAT(split.unseen, SizeIs(4));
  std::vector<int> both = split.unseen;
  both.insert(both.end(), split.learning.begin(), split.learning.end());
  std::sort(both.begin(), both.end());
  EXPECT_EQ(both, AllTasks(recorded));
  EXPECT_EQ(SplitTasks(recorded, 0.2, 3).unseen, split.unseen);
  EXPECT_NE(SplitTasks(recorded, 0.2, 4).unseen, split.unseen);
  EXPECT_THAT(SplitTasks(recorded, 0.01, 3).unseen, SizeIs(1));
  EXPECT_THAT(SplitTasks(recorded, 0.99, 3).learning, SizeIs(1));
}

TEST(RecordedRunsTest, BaselinesKnowEveryAnswer) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(4)));
  const Baselines all = ComputeBaselines(recorded, AllTasks(recorded));
  // The strong model of a type fails in one of the eight runs.
  EXPECT_DOUBLE_EQ(all.best_per_type, 0.125);
  EXPECT_DOUBLE_EQ(all.best_per_task, 0.125);
  EXPECT_DOUBLE_EQ(all.best_model, 0.5625);
  EXPECT_DOUBLE_EQ(all.uniform, 0.5625);

  // One task is better off with the model that is weak on its type.
  std::vector<v1::Trace> runs = MakeRuns(4);
  for (v1::Trace& run : runs) {
    if (run.task().id() == "x1") {
      run.mutable_evaluation()->set_outcome(
          run.system().model() == "a" ? v1::OUTCOME_PASS : v1::OUTCOME_ERROR);
    }
  }
  ASSERT_OK_AND_ASSIGN(const RecordedRuns other, RecordedRuns::Create(runs));
  const Baselines odd = ComputeBaselines(other, AllTasks(other));
  EXPECT_DOUBLE_EQ(odd.best_per_type, 0.25);
  EXPECT_DOUBLE_EQ(odd.best_per_task, 0.125);
}

TEST(RecordedRunsTest, WhatTheLearningTasksSayIsAppliedToOthers) {
  ASSERT_OK_AND_ASSIGN(const RecordedRuns recorded,
                       RecordedRuns::Create(MakeRuns(4)));
  std::vector<int> x;
  std::vector<int> y;
  for (const int task : AllTasks(recorded)) {
    (recorded.tasks()[task].type == "x" ? x : y).push_back(task);
  }
  EXPECT_DOUBLE_EQ(LearnedPerType(recorded, x, x), 0.125);
  // Of type y nothing is known; the best model of x is the weak one there.
  EXPECT_DOUBLE_EQ(LearnedPerType(recorded, x, y), 1);
}

}  // namespace
}  // namespace faultline::arena
