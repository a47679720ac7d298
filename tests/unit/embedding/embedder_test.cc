#include "lib/embedding/embedder.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/embedding/question_world.h"
#include "tests/unit/embedding/sample_trace.h"

namespace faultline::embedding {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr Map kMaps[] = {Map::kTrajectory, Map::kBehavior, Map::kFailure};

std::unique_ptr<const Embedder> MakeEmbedder(
    const Embedder::Options& options = {},
    const v1::CorpusSnapshot& corpus = {}) {
  auto embedder = Embedder::Create(options, corpus);
  EXPECT_OK(embedder);
  return *std::move(embedder);
}

std::vector<float> EmbedTrace(const Embedder& embedder, const v1::Trace& trace,
                              Map map) {
  return EmbedRun(embedder, ExtractRun(trace, nullptr), map);
}

TEST(EmbedderTest, VectorsHaveUnitNorm) {
  for (const int dimension : {128, 256, 512}) {
    const auto embedder = MakeEmbedder({.dimension = dimension});
    for (const Map map : kMaps) {
      const auto x = EmbedTrace(*embedder, SampleTrace(), map);
      EXPECT_EQ(x.size(), dimension);
      EXPECT_NEAR(Dot(x, x), 1, 1e-5);
    }
  }
}

TEST(EmbedderTest, RunWithoutTokensIsZero) {
  const auto embedder = MakeEmbedder();
  for (const Map map : kMaps) {
    EXPECT_THAT(EmbedTrace(*embedder, v1::Trace(), map), Each(0));
  }
}

TEST(EmbedderTest, AnswersNeverChangeAVector) {
  v1::Trace judged = SampleTrace();
  judged.mutable_task()->set_id("[fault]spelled_out");
  judged.mutable_evaluation()->set_outcome(v1::OUTCOME_PASS);
  judged.mutable_evaluation()->set_score(0.25);
  judged.mutable_evaluation()->set_cost(3);
  judged.mutable_evaluation()->mutable_latency()->set_seconds(77);
  judged.mutable_evaluation()->set_evaluator("someone");
  v1::Annotation* annotation = judged.add_annotations();
  annotation->set_failure_mode("loop");
  annotation->set_culprit_step(2);
  judged.mutable_exposure()->set_policy_version(3);
  const auto embedder = MakeEmbedder();
  for (const Map map : kMaps) {
    EXPECT_EQ(EmbedTrace(*embedder, judged, map),
              EmbedTrace(*embedder, SampleTrace(), map));
  }
}

TEST(EmbedderTest, ContextMovesTheTrajectoryViewAlone) {
  v1::Trace other = SampleTrace();
  other.mutable_system()->set_model("large");
  other.mutable_task()->set_input("How many apples are left?");
  other.mutable_memory()->set_schema_version("7");
  other.mutable_decisions(0)->set_chosen("large");
  other.mutable_task()->add_embedding(1);
  const auto embedder = MakeEmbedder();
  for (const Map map : {Map::kBehavior, Map::kFailure}) {
    EXPECT_EQ(EmbedTrace(*embedder, other, map),
              EmbedTrace(*embedder, SampleTrace(), map));
  }
  EXPECT_LT(Dot(EmbedTrace(*embedder, other, Map::kTrajectory),
                EmbedTrace(*embedder, SampleTrace(), Map::kTrajectory)),
            0.9);
}

TEST(EmbedderTest, SignalsMoveEveryMapButTheBehaviorView) {
  v1::Trace other = SampleTrace();
  (*other.mutable_evaluation()->mutable_signals())["confidence"] = 0.1;
  const auto embedder = MakeEmbedder();
  EXPECT_EQ(EmbedTrace(*embedder, other, Map::kBehavior),
            EmbedTrace(*embedder, SampleTrace(), Map::kBehavior));
  EXPECT_NE(EmbedTrace(*embedder, other, Map::kFailure),
            EmbedTrace(*embedder, SampleTrace(), Map::kFailure));
  EXPECT_NE(EmbedTrace(*embedder, other, Map::kTrajectory),
            EmbedTrace(*embedder, SampleTrace(), Map::kTrajectory));
}

TEST(EmbedderTest, WeightZeroLeavesAChannelOut) {
  v1::Trace other = SampleTrace();
  other.mutable_task()->set_input("How many apples are left?");
  Embedder::Options options;
  options.channel_weight[static_cast<size_t>(Channel::kTask)] = 0;
  const auto embedder = MakeEmbedder(options);
  EXPECT_EQ(EmbedTrace(*embedder, other, Map::kTrajectory),
            EmbedTrace(*embedder, SampleTrace(), Map::kTrajectory));
}

TEST(EmbedderTest, AllWeightsZeroGiveTheZeroVector) {
  Embedder::Options options;
  options.channel_weight.fill(0);
  options.caller_weight = 0;
  const auto embedder = MakeEmbedder(options);
  EXPECT_THAT(EmbedTrace(*embedder, SampleTrace(), Map::kTrajectory), Each(0));
}

TEST(EmbedderTest, HeavierChannelMovesVectorsFarther) {
  v1::Trace other = SampleTrace();
  other.mutable_task()->set_input("How many apples are left?");
  const auto similarity = [&](float weight) {
    Embedder::Options options;
    options.channel_weight[static_cast<size_t>(Channel::kTask)] = weight;
    const auto embedder = MakeEmbedder(options);
    return Dot(EmbedTrace(*embedder, other, Map::kTrajectory),
               EmbedTrace(*embedder, SampleTrace(), Map::kTrajectory));
  };
  EXPECT_GT(similarity(0.25), similarity(1));
  EXPECT_GT(similarity(1), similarity(4));
}

TEST(EmbedderTest, RareBehaviorWeighsMore) {
  // 99 runs call `common`, one calls `rare`.
  std::vector<embedding::Run> runs;
  v1::Trace trace;
  AddStep(v1::Step::KIND_TOOL, "common", &trace);
  runs.assign(99, ExtractRun(trace, nullptr));
  AddStep(v1::Step::KIND_TOOL, "rare", &trace);
  runs.push_back(ExtractRun(trace, nullptr));
  const auto flat = MakeEmbedder();
  const auto weighted = MakeEmbedder({}, CountCorpus(Pointers(runs), nullptr));
  const auto similarity = [&](const Embedder& embedder) {
    return Dot(EmbedRun(embedder, runs[0], Map::kBehavior),
               EmbedRun(embedder, runs[99], Map::kBehavior));
  };
  EXPECT_LT(similarity(*weighted), similarity(*flat) - 0.05);
}

TEST(EmbedderTest, WordsWeighByHowTheySplitTheRuns) {
  // Every task has `is`, half have `not`, each has a name of its own.
  std::vector<embedding::Run> runs;
  for (int i = 0; i < 200; ++i) {
    v1::Trace trace;
    trace.mutable_task()->set_input(
        absl::StrCat("is name", i, i % 2 == 0 ? " not" : "", " tall"));
    runs.push_back(ExtractRun(trace, nullptr));
  }
  const auto embedder = MakeEmbedder({}, CountCorpus(Pointers(runs), nullptr));
  const auto negated = EmbedRun(*embedder, runs[0], Map::kTrajectory);
  EXPECT_GT(Dot(negated, EmbedRun(*embedder, runs[2], Map::kTrajectory)),
            Dot(negated, EmbedRun(*embedder, runs[1], Map::kTrajectory)) + 0.5);
}

// Figures: ADR 0003.
TEST(EmbedderTest, TrajectoryViewKeepsModesOfWordsAndModelTogether) {
  const std::vector<QuestionRun> world = QuestionWorld(1500, 1);
  std::vector<embedding::Run> runs;
  runs.reserve(world.size());
  for (const QuestionRun& run : world) {
    runs.push_back(ExtractRun(run.trace, nullptr));
  }
  const auto embedder = MakeEmbedder({}, CountCorpus(Pointers(runs), nullptr));
  const auto purity = [&](Map map) {
    std::vector<std::vector<float>> vectors;
    vectors.reserve(runs.size());
    for (const embedding::Run& run : runs) {
      vectors.push_back(EmbedRun(*embedder, run, map));
    }
    return NeighborPurity(world, vectors, 10);
  };
  EXPECT_GE(purity(Map::kTrajectory), 0.95);
  EXPECT_LE(purity(Map::kBehavior), 0.2);  // the steps are alike
}

TEST(EmbedderTest, ScalarsNeedACorpus) {
  std::vector<embedding::Run> runs;
  for (int seconds = 1; seconds <= 50; ++seconds) {
    v1::Trace trace = SampleTrace();
    trace.mutable_end_time()->set_seconds(trace.start_time().seconds() +
                                          seconds * seconds);
    runs.push_back(ExtractRun(trace, nullptr));
  }
  const auto without = MakeEmbedder();
  EXPECT_EQ(EmbedRun(*without, runs.front(), Map::kBehavior),
            EmbedRun(*without, runs.back(), Map::kBehavior));
  const auto with = MakeEmbedder({}, CountCorpus(Pointers(runs), nullptr));
  EXPECT_NE(EmbedRun(*with, runs.front(), Map::kBehavior),
            EmbedRun(*with, runs.back(), Map::kBehavior));
}

TEST(EmbedderTest, CallersEmbeddingCountsOnceTheCorpusKnowsIt) {
  std::vector<embedding::Run> runs;
  for (int i = 0; i < 20; ++i) {
    v1::Trace trace = SampleTrace();
    trace.mutable_task()->add_embedding(10);  // what all have in common
    trace.mutable_task()->add_embedding(i % 2 == 0 ? 1 : -1);
    runs.push_back(ExtractRun(trace, nullptr));
  }
  const auto without = MakeEmbedder();
  EXPECT_EQ(EmbedRun(*without, runs[0], Map::kTrajectory),
            EmbedRun(*without, runs[1], Map::kTrajectory));
  const auto with = MakeEmbedder({}, CountCorpus(Pointers(runs), nullptr));
  const auto x = EmbedRun(*with, runs[0], Map::kTrajectory);
  EXPECT_NEAR(Dot(x, EmbedRun(*with, runs[2], Map::kTrajectory)), 1, 1e-5);
  EXPECT_LT(Dot(x, EmbedRun(*with, runs[1], Map::kTrajectory)), 0.95);
  EXPECT_EQ(EmbedRun(*with, runs[0], Map::kBehavior),
            EmbedRun(*with, runs[1], Map::kBehavior));
}

TEST(EmbedderTest, CallersEmbeddingOfAnotherLengthIsLeftOut) {
  v1::Trace trace = SampleTrace();
  trace.mutable_task()->add_embedding(1);
  v1::CorpusSnapshot corpus;
  corpus.add_caller_embedding_mean(0);
  corpus.add_caller_embedding_mean(0);
  const auto embedder = MakeEmbedder({}, corpus);
  EXPECT_EQ(EmbedTrace(*embedder, trace, Map::kTrajectory),
            EmbedTrace(*embedder, SampleTrace(), Map::kTrajectory));
}

TEST(EmbedderTest, ContrastWeighsTheFailureMapAlone) {
  const embedding::Run run = ExtractRun(SampleTrace(), nullptr);
  ContrastWeights contrast;
  contrast[run.tokens[0].key] = 2;
  const auto embedder = MakeEmbedder();
  EXPECT_NE(EmbedRun(*embedder, run, Map::kFailure, &contrast),
            EmbedRun(*embedder, run, Map::kFailure));
  for (const Map map : {Map::kTrajectory, Map::kBehavior}) {
    EXPECT_EQ(EmbedRun(*embedder, run, map, &contrast),
              EmbedRun(*embedder, run, map));
  }
}

TEST(EmbedderTest, FingerprintNamesOptionsAndCorpus) {
  const std::string plain = MakeEmbedder()->fingerprint();
  EXPECT_THAT(plain, MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(MakeEmbedder()->fingerprint(), plain);
  Embedder::Options options;
  options.channel_weight[5] = 0.75;
  EXPECT_NE(MakeEmbedder(options)->fingerprint(), plain);
  EXPECT_NE(MakeEmbedder({.dimension = 512})->fingerprint(), plain);

  const std::vector<embedding::Run> runs = {ExtractRun(SampleTrace(), nullptr)};
  const v1::CorpusSnapshot first = CountCorpus(Pointers(runs), nullptr);
  const v1::CorpusSnapshot second = CountCorpus(Pointers(runs), &first);
  const auto at_first = MakeEmbedder({}, first);
  const auto at_second = MakeEmbedder({}, second);
  EXPECT_EQ(at_first->epoch(), 1);
  EXPECT_EQ(at_second->epoch(), 2);
  EXPECT_NE(at_first->fingerprint(), plain);
  EXPECT_NE(at_second->fingerprint(), at_first->fingerprint());
}

TEST(EmbedderTest, RefusesBadOptions) {
  EXPECT_THAT(Embedder::Create({.dimension = 200}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("dimension: is 200 (128, 256 or 512)")));
  Embedder::Options options;
  options.channel_weight[5] = -1;
  EXPECT_THAT(Embedder::Create(options, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("channel_weight.task")));
  EXPECT_THAT(
      Embedder::Create(
          {.numeric_weight = std::numeric_limits<float>::quiet_NaN()}, {}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("numeric_weight")));
}

TEST(EmbedderTest, RefusesABrokenCorpus) {
  const auto refusal = [](const v1::CorpusSnapshot& corpus) {
    return Embedder::Create({}, corpus).status();
  };
  v1::CorpusSnapshot corpus;
  corpus.set_runs(-1);
  EXPECT_THAT(refusal(corpus), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("corpus.runs")));
  corpus.set_runs(2);
  corpus.add_token_keys(7);
  EXPECT_THAT(refusal(corpus),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("corpus.document_frequency")));
  corpus.add_document_frequency(1);
  corpus.add_token_keys(7);
  corpus.add_document_frequency(1);
  EXPECT_THAT(refusal(corpus), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("corpus.token_keys")));
  corpus.set_token_keys(1, 8);
  EXPECT_OK(refusal(corpus));
  corpus.add_numeric_scale(1);
  EXPECT_THAT(refusal(corpus), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("corpus.numeric_location")));
}

}  // namespace
}  // namespace faultline::embedding
