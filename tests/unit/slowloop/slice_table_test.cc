#include "lib/slowloop/slice_table.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::slowloop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Runs {
  std::vector<std::unique_ptr<embedding::Run>> owned;
  std::vector<const embedding::Run*> all;
  std::vector<int32_t> rows;
  embedding::FeatureNames names;

  void Add(const v1::Trace& trace) {
    owned.push_back(
        std::make_unique<embedding::Run>(embedding::ExtractRun(trace, &names)));
    rows.push_back(static_cast<int32_t>(all.size()));
    all.push_back(owned.back().get());
  }
  std::vector<SliceVariable> List(int threads = 1) const {
    return ListSlices(all, rows, names, threads);
  }
};

v1::Trace Trace(const std::string& model, const std::string& type, int size) {
  v1::Trace trace;
  trace.mutable_system()->set_model(model);
  trace.mutable_task()->set_type(type);
  trace.mutable_task()->set_input("words of the task");
  if (size > 0) trace.mutable_memory()->set_size(size);
  return trace;
}

TEST(ListSlices, PrimaryVariablesComeFirstAndNumbersAreCutIntoThirds) {
  Runs runs;
  for (int i = 0; i < 9; ++i) {
    v1::Trace trace = Trace(i < 5 ? "a" : "b", i < 3 ? "x" : "y", 10 + i);
    trace.mutable_system()->set_agent(i == 0 ? "one" : "two");
    runs.Add(trace);
  }
  const std::vector<SliceVariable> slices = runs.List();
  ASSERT_THAT(slices, SizeIs(4));
  EXPECT_EQ(slices[0].name, "task.type");
  EXPECT_EQ(slices[1].name, "system.model");
  EXPECT_EQ(slices[2].name, "memory.size");
  EXPECT_EQ(slices[3].name, "system.agent");
  EXPECT_TRUE(slices[2].primary);
  EXPECT_FALSE(slices[3].primary);
  EXPECT_THAT(slices[0].values, ElementsAre("y", "x"));
  EXPECT_THAT(slices[0].level, ElementsAre(1, 1, 1, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(slices[2].values,
              ElementsAre("below 13", "13 to 16", "16 or more"));
  EXPECT_THAT(slices[2].level, ElementsAre(0, 0, 0, 1, 1, 1, 2, 2, 2));
}

TEST(ListSlices, WhatDoesNotPartTheRunsIsNoVariable) {
  Runs runs;
  for (int i = 0; i < 5; ++i) runs.Add(Trace("a", "x", 7));
  EXPECT_THAT(runs.List(), IsEmpty());
  EXPECT_THAT(Runs().List(), IsEmpty());
}

TEST(ListSlices, RareTextsShareALevelAndMissingOnesHaveNone) {
  Runs runs;
  for (int i = 0; i < 500; ++i) {
    runs.Add(Trace(i < 3 ? absl::StrCat("rare-", i) : "common",
                   i < 10 ? "" : (i < 200 ? "x" : "y"), 0));
  }
  const std::vector<SliceVariable> slices = runs.List();
  ASSERT_THAT(slices, SizeIs(2));
  EXPECT_THAT(slices[0].values, ElementsAre("y", "x"));
  EXPECT_EQ(slices[0].level[0], -1);
  EXPECT_THAT(slices[1].values, ElementsAre("common", "(other)"));
  EXPECT_EQ(slices[1].level[0], 1);
  EXPECT_EQ(slices[1].level[3], 0);
}

TEST(ListSlices, SkewedNumbersAreCutWhereTheyCanBe) {
  Runs runs;
  for (int i = 0; i < 10; ++i) runs.Add(Trace("a", "x", i < 8 ? 1 : 5));
  const std::vector<SliceVariable> slices = runs.List();
  ASSERT_THAT(slices, SizeIs(1));
  EXPECT_THAT(slices[0].values, ElementsAre("below 5", "5 or more"));
  EXPECT_EQ(slices[0].level[7], 0);
  EXPECT_EQ(slices[0].level[8], 1);
}

TEST(HashFields, TellsCellsApartByTheFieldsAskedFor) {
  Runs runs;
  runs.Add(Trace("a", "b", 0));
  runs.Add(Trace("b", "a", 0));
  runs.Add(Trace("a", "c", 0));
  runs.Add(Trace("a", "b", 5));
  const std::vector<uint64_t> both =
      HashFields(runs.all, runs.names, {"task.type", "system.model"});
  EXPECT_EQ(both[0], both[3]);
  EXPECT_NE(both[0], both[1]);
  EXPECT_NE(both[0], both[2]);
  const std::vector<uint64_t> model =
      HashFields(runs.all, runs.names, {"system.model"});
  EXPECT_EQ(model[0], model[2]);
  EXPECT_NE(model[0], model[1]);
}

}  // namespace
}  // namespace faultline::slowloop
