#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/embedding/embedder.h"
#include "tests/unit/embedding/sample_trace.h"

namespace faultline::embedding {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

Run RunWithTokens(const std::vector<uint64_t>& keys) {
  embedding::Run run;
  run.numeric.fill(std::numeric_limits<float>::quiet_NaN());
  for (const uint64_t key : keys) {
    run.tokens.push_back({key, 3, Channel::kTool});
  }
  return run;
}

TEST(CountCorpusTest, CountsRunsNotOccurrences) {
  std::vector<embedding::Run> runs = {RunWithTokens({5, 9}),
                                      RunWithTokens({9})};
  runs[0].sequence = 12;
  runs[1].sequence = 11;
  const v1::CorpusSnapshot corpus = CountCorpus(Pointers(runs), nullptr);
  EXPECT_EQ(corpus.epoch(), 1);
  EXPECT_EQ(corpus.watermark(), 12);
  EXPECT_EQ(corpus.runs(), 2);
  EXPECT_THAT(corpus.token_keys(), ElementsAre(5, 9));
  EXPECT_THAT(corpus.document_frequency(), ElementsAre(1, 2));
}

TEST(CountCorpusTest, HalvesOldCountsInFiveCalls) {
  const std::vector<embedding::Run> runs = {RunWithTokens({5})};
  v1::CorpusSnapshot corpus = CountCorpus(Pointers(runs), nullptr);
  for (int i = 0; i < 5; ++i) corpus = CountCorpus({}, &corpus);
  EXPECT_EQ(corpus.epoch(), 6);
  EXPECT_NEAR(corpus.runs(), 0.5, 1e-6);
  EXPECT_THAT(corpus.document_frequency(), ElementsAre(FloatNear(0.5, 1e-6)));
}

TEST(CountCorpusTest, KeepsTheMostFrequentTokens) {
  std::vector<embedding::Run> runs;
  constexpr uint64_t kPerRun = 10000;
  for (uint64_t r = 0; r < 7; ++r) {
    std::vector<uint64_t> keys;
    for (uint64_t i = 0; i < kPerRun; ++i) keys.push_back(r * kPerRun + i);
    keys.push_back(1'000'000);
    runs.push_back(RunWithTokens(keys));
  }
  const v1::CorpusSnapshot corpus = CountCorpus(Pointers(runs), nullptr);
  EXPECT_EQ(corpus.token_keys_size(), 65536);
  EXPECT_EQ(corpus.token_keys(65535), 1'000'000);
  EXPECT_EQ(corpus.document_frequency(65535), 7);
  EXPECT_EQ(corpus.token_keys(65534), 65534);
}

TEST(CountCorpusTest, ScalesScalarsRobustly) {
  std::vector<embedding::Run> runs;
  for (const float value : {1, 2, 3, 4, 1000}) {
    runs.push_back(RunWithTokens({}));
    runs.back().numeric[0] = value;
  }
  const v1::CorpusSnapshot corpus = CountCorpus(Pointers(runs), nullptr);
  EXPECT_FLOAT_EQ(corpus.numeric_location(0), 3);
  EXPECT_FLOAT_EQ(corpus.numeric_scale(0), 1.4826);
  EXPECT_EQ(corpus.numeric_scale(1), 0);  // known of no run
  const v1::CorpusSnapshot next = CountCorpus({}, &corpus);
  EXPECT_FLOAT_EQ(next.numeric_location(0), 3);
}

TEST(CountCorpusTest, ScalesMostlyEqualScalarsByDeviation) {
  std::vector<embedding::Run> runs(10, RunWithTokens({}));
  for (embedding::Run& run : runs) run.numeric[1] = 0;
  runs[0].numeric[1] = 1;
  const v1::CorpusSnapshot corpus = CountCorpus(Pointers(runs), nullptr);
  EXPECT_EQ(corpus.numeric_location(1), 0);
  EXPECT_NEAR(corpus.numeric_scale(1), 0.3, 1e-6);
}

TEST(CorpusDriftTest, IsTotalVariation) {
  const std::vector<embedding::Run> a = {RunWithTokens({1, 2})};
  const std::vector<embedding::Run> b = {RunWithTokens({2, 3})};
  const std::vector<embedding::Run> c = {RunWithTokens({4})};
  const v1::CorpusSnapshot corpus_a = CountCorpus(Pointers(a), nullptr);
  const v1::CorpusSnapshot corpus_b = CountCorpus(Pointers(b), nullptr);
  const v1::CorpusSnapshot corpus_c = CountCorpus(Pointers(c), nullptr);
  EXPECT_DOUBLE_EQ(CorpusDrift(corpus_a, corpus_a), 0);
  EXPECT_DOUBLE_EQ(CorpusDrift(corpus_a, corpus_b), 0.5);
  EXPECT_DOUBLE_EQ(CorpusDrift(corpus_a, corpus_c), 1);
  EXPECT_DOUBLE_EQ(CorpusDrift(corpus_a, v1::CorpusSnapshot()), 1);
  EXPECT_DOUBLE_EQ(CorpusDrift(v1::CorpusSnapshot(), v1::CorpusSnapshot()), 0);
}

TEST(ComputeContrastTest, WeighsWhatSetsFailuresApart) {
  std::vector<embedding::Run> failures(100, RunWithTokens({1, 2}));
  std::vector<embedding::Run> successes(100, RunWithTokens({1}));
  const ContrastWeights weights =
      ComputeContrast(Pointers(failures), Pointers(successes));
  EXPECT_NEAR(weights.at(1), std::sqrt(0.1), 1e-3);  // in all runs alike
  EXPECT_NEAR(weights.at(2), std::sqrt(3.1), 1e-3);  // clipped at 3
}

TEST(ComputeContrastTest, FewRunsSayLittle) {
  const std::vector<embedding::Run> failures(1, RunWithTokens({1}));
  const std::vector<embedding::Run> successes(1, RunWithTokens({}));
  const ContrastWeights weights =
      ComputeContrast(Pointers(failures), Pointers(successes));
  EXPECT_LT(weights.at(1), 0.6);
}

}  // namespace
}  // namespace faultline::embedding
