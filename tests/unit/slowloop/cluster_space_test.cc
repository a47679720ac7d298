#include "lib/slowloop/cluster_space.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::slowloop {
namespace {

// Runs that use one of four tools, whatever comes of them; every third run
// fails, and half of the failures end with tool "bad", which few others use.
class ClusterSpaceTest : public ::testing::Test {
 protected:
  ClusterSpaceTest() {
    base::Random random(5);
    for (int i = 0; i < 600; ++i) {
      v1::Trace trace;
      trace.set_trace_id(absl::StrCat("run-", i));
      trace.mutable_task()->set_type(absl::StrCat("task-", i % 3));
      // Who ran it has no part in what comes of it.
      model_.push_back(absl::StrCat("model-", random.Below(2)));
      trace.mutable_system()->set_model(model_.back());
      v1::Decision& route = *trace.add_decisions();
      route.set_kind(v1::Decision::KIND_ROUTE);
      route.set_chosen(model_.back());
      const bool failed = i % 3 == 0;
      trace.mutable_evaluation()->set_outcome(failed ? v1::OUTCOME_FAIL
                                                     : v1::OUTCOME_PASS);
      const std::string tool(1, "abcd"[random.Below(4)]);
      const bool bad = random.Bernoulli(failed ? .5 : .02);
      for (const std::string& name :
           {tool, tool + "-next", std::string(bad ? "bad" : "end")}) {
        v1::Step& step = *trace.add_steps();
        step.set_kind(v1::Step::KIND_TOOL);
        step.set_name(name);
      }
      tool_.push_back(tool);
      bad_.push_back(bad);
      owned_.push_back(embedding::ExtractRun(trace, nullptr));
      (failed ? failures_ : successes_).push_back(i);
    }
    for (const embedding::Run& run : owned_) runs_.push_back(&run);
    v1::CorpusSnapshot corpus = embedding::CountCorpus(runs_, nullptr);
    corpus.set_epoch(1);
    embedding::Embedder::Options options;
    options.dimension = 128;
    embedder_ = *embedding::Embedder::Create(options, corpus);
    trajectory_ = {128, std::vector<float>(runs_.size() * 128)};
    for (size_t i = 0; i < runs_.size(); ++i) {
      embedder_->Embed(*runs_[i], embedding::Map::kTrajectory, nullptr,
                       trajectory_.row(i));
    }
  }

  EmbeddedRuns Embedded(int threads = 1) const {
    return {embedder_.get(), runs_,      &trajectory_,
            failures_,       successes_, threads};
  }

  // Mean distance of pairs of failures that both end badly, with the same tool
  // first or with another.
  double MeanDistance(const Matrix& vectors, bool same_tool) const {
    double sum = 0;
    int pairs = 0;
    for (size_t i = 0; i < failures_.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (!bad_[failures_[i]] || !bad_[failures_[j]]) continue;
        if ((tool_[failures_[i]] == tool_[failures_[j]]) != same_tool) continue;
        sum += embedding::Distance(vectors.row(i), vectors.row(j));
        ++pairs;
      }
    }
    return sum / pairs;
  }

  std::vector<embedding::Run> owned_;
  std::vector<const embedding::Run*> runs_;
  std::vector<std::string> tool_;
  std::vector<bool> bad_;
  std::vector<std::string> model_;
  std::vector<int32_t> failures_, successes_;
  std::unique_ptr<const embedding::Embedder> embedder_;
  Matrix trajectory_;
};

TEST_F(ClusterSpaceTest, WhatSuccessesVaryInCountsLess) {
  const ClusterSpace space(Embedded());
  EmbeddedRuns alone = Embedded();
  alone.successes = {};
  const ClusterSpace unscaled(alone);
  for (const v1::View view : {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY}) {
    EXPECT_LT(MeanDistance(space.Vectors(view, failures_), false),
              .9 * MeanDistance(unscaled.Vectors(view, failures_), false))
        << v1::View_Name(view);
  }
}

TEST_F(ClusterSpaceTest, WhoRanATaskMovesNothing) {
  const ClusterSpace space(Embedded());
  for (const v1::View view : {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY}) {
    const Matrix vectors = space.Vectors(view, failures_);
    for (size_t i = 1; i < failures_.size(); ++i) {
      const int32_t a = failures_[0];
      const int32_t b = failures_[i];
      if (tool_[a] != tool_[b] || bad_[a] != bad_[b] ||
          model_[a] == model_[b]) {
        continue;
      }
      EXPECT_EQ(embedding::Distance(vectors.row(0), vectors.row(i)), 0);
      EXPECT_GT(embedding::Distance(trajectory_.row(a), trajectory_.row(b)),
                .1);
    }
  }
}

TEST_F(ClusterSpaceTest, VectorsAreOfUnitLengthInTheOrderOfTheRows) {
  const ClusterSpace space(Embedded());
  for (const v1::View view : {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY}) {
    const Matrix all = space.Vectors(view, failures_);
    const Matrix some = space.Vectors(view, {failures_[7], failures_[2]});
    ASSERT_EQ(some.values.size(), 2 * 128);
    EXPECT_THAT(some.row(0), ::testing::ElementsAreArray(all.row(7)));
    EXPECT_THAT(some.row(1), ::testing::ElementsAreArray(all.row(2)));
    const std::vector<float> zero(128);
    EXPECT_NEAR(embedding::Distance(some.row(0), zero), 1, 1e-5);
  }
}

TEST_F(ClusterSpaceTest, DoesNotDependOnThreads) {
  const ClusterSpace one(Embedded(1));
  const ClusterSpace two(Embedded(2));
  for (const v1::View view : {v1::VIEW_BEHAVIOR, v1::VIEW_TRAJECTORY}) {
    EXPECT_EQ(one.Vectors(view, failures_).values,
              two.Vectors(view, failures_).values);
  }
}

}  // namespace
}  // namespace faultline::slowloop
