#include "lib/evaluate/mode_detector.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace faultline::evaluate {
namespace {

using diagnose::RunSet;
using embedding::Channel;

// Runs of a window, made one by one.
class ModeDetectorTest : public ::testing::Test {
 protected:
  size_t Add(v1::Outcome outcome, std::vector<uint64_t> keys,
             bool discovery = true, Channel channel = Channel::kTask) {
    auto run = std::make_unique<embedding::Run>();
    run->outcome = outcome;
    for (const uint64_t key : keys) run->tokens.push_back({key, 1, channel});
    window_.runs.push_back(run.get());
    window_.discovery.push_back(discovery);
    window_.names = &names_;
    runs_.push_back(std::move(run));
    return runs_.size() - 1;
  }

  void AddMany(int count, std::vector<uint64_t> keys, bool member,
               bool discovery = true, Channel channel = Channel::kTask) {
    for (int i = 0; i < count; ++i) {
      const size_t row = Add(v1::OUTCOME_FAIL, keys, discovery, channel);
      if (member) members_.push_back(row);
    }
  }

  v1::ModeDetector Train() const {
    RunSet members(runs_.size());
    for (const size_t row : members_) members.Add(row);
    return TrainModeDetector(window_, members, RunSet::All(runs_.size()));
  }

  embedding::FeatureNames names_;
  diagnose::Window window_;
  std::vector<std::unique_ptr<embedding::Run>> runs_;
  std::vector<size_t> members_;
};

TEST_F(ModeDetectorTest, LearnsWhatTellsTheModeFromOtherFailures) {
  names_.tokens[1] = "tool search";
  AddMany(40, {1, 3}, true);
  AddMany(10, {3}, true);
  AddMany(60, {2, 3}, false);
  const v1::ModeDetector detector = Train();
  EXPECT_FALSE(detector.every_failure());
  EXPECT_EQ(detector.members(), 50u);
  EXPECT_EQ(detector.others(), 60u);
  ASSERT_EQ(detector.tokens_size(), 3);
  EXPECT_EQ(detector.tokens(0).text(), "tool search");
  EXPECT_EQ(detector.tokens(0).weight(), 3);   // clipped
  EXPECT_EQ(detector.tokens(1).weight(), -3);  // clipped
  EXPECT_EQ(detector.precision(), 1);
  EXPECT_EQ(detector.recall(), 1);
  EXPECT_TRUE(IsOfMode(detector, *runs_[0]));
  EXPECT_TRUE(IsOfMode(detector, *runs_[45]));
  EXPECT_FALSE(IsOfMode(detector, *runs_[60]));
}

TEST_F(ModeDetectorTest, ASuccessIsOfNoMode) {
  AddMany(40, {1}, true);
  AddMany(40, {2}, false);
  const size_t success = Add(v1::OUTCOME_PASS, {1});
  EXPECT_FALSE(IsOfMode(Train(), *runs_[success]));
}

TEST_F(ModeDetectorTest, TheThresholdHasTheBestF1) {
  // With the token: 30 of 40 are members; all: 40 of 120.
  AddMany(30, {1}, true);
  AddMany(10, {}, true);
  AddMany(10, {1}, false);
  AddMany(70, {}, false);
  const v1::ModeDetector detector = Train();
  EXPECT_DOUBLE_EQ(detector.precision(), .75);
  EXPECT_DOUBLE_EQ(detector.recall(), .75);
  EXPECT_TRUE(IsOfMode(detector, *runs_[0]));
  EXPECT_FALSE(IsOfMode(detector, *runs_[35]));
}

TEST_F(ModeDetectorTest, WhatATreatmentMayChangeIsNotRead) {
  for (const Channel channel :
       {Channel::kTool, Channel::kTransition, Channel::kError,
        Channel::kRetrieval, Channel::kSignal, Channel::kSystem,
        Channel::kRoute, Channel::kMemory, Channel::kPrompt}) {
    AddMany(40, {1}, true, true, channel);
    AddMany(40, {2}, false, true, channel);
  }
  const v1::ModeDetector detector = Train();
  EXPECT_TRUE(detector.every_failure());
  EXPECT_EQ(detector.tokens_size(), 0);
}

TEST_F(ModeDetectorTest, HeldOutRunsTeachNothing) {
  AddMany(40, {1}, true, false);
  AddMany(40, {2}, false, false);
  const v1::ModeDetector detector = Train();
  EXPECT_EQ(detector.members(), 0u);
  EXPECT_EQ(detector.others(), 0u);
}

TEST_F(ModeDetectorTest, TooFewToLearnFromCountsEveryFailure) {
  AddMany(9, {1}, true);
  AddMany(40, {2}, false);
  const v1::ModeDetector detector = Train();
  EXPECT_TRUE(detector.every_failure());
  EXPECT_TRUE(IsOfMode(detector, *runs_[20]));
  EXPECT_EQ(detector.recall(), 1);
  EXPECT_NEAR(detector.precision(), 9.0 / 49, 1e-12);
}

TEST_F(ModeDetectorTest, KeepsTheMostSignificantTokens) {
  for (int i = 0; i < 60; ++i) {
    AddMany(20, {1, 100 + static_cast<uint64_t>(i)}, true);
    AddMany(20, {2}, false);
  }
  const v1::ModeDetector detector = Train();
  EXPECT_EQ(detector.tokens_size(), 40);
  EXPECT_EQ(detector.tokens(0).key(), 1u);
  EXPECT_EQ(detector.tokens(1).key(), 2u);
}

TEST_F(ModeDetectorTest, NothingFromNothing) {
  const v1::ModeDetector detector = Train();
  EXPECT_TRUE(detector.every_failure());
}

}  // namespace
}  // namespace faultline::evaluate
