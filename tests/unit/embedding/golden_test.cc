// What is stored and compared across releases must not move by a bit: keys and
// vectors of a fixed set of runs. Where a change means to move them, raise the
// embedder's code version with the digests.

#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/embedding/sample_trace.h"

namespace faultline::embedding {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

constexpr int kRuns = 300;
constexpr int kCallerDimension = 5;

template <size_t N>
std::string Pick(const char* const (&texts)[N], base::Random* random) {
  return texts[random->Below(N)];
}

std::string RandomText(uint64_t words, base::Random* random) {
  static constexpr const char* kWords[] = {
      "order", "Not", "ANN'S", "taller", "42",     "x9",
      "größe", "of",  "is",    "THE",    "a_name", "a-very-long-compound-word"};
  static constexpr const char* kGaps[] = {" ", "  ", ", ", ".\n", "?"};
  std::string text;
  for (uint64_t i = 0; i < words; ++i) {
    absl::StrAppend(&text, Pick(kWords, random), Pick(kGaps, random));
  }
  return text;
}

void AddRandomStep(base::Random* random, v1::Trace* trace) {
  static constexpr const char* kNames[] = {
      "",
      "search",
      "Get_Order_17",
      "get_order_18",
      "fetch/0123456789abcdef/x",
      "a_tool_with_a_name_that_is_longer_than_a_short_string",
      "Größe"};
  static constexpr const char* kErrors[] = {
      "", "timeout", "HTTP 503", "Bad Argument deadbeef01",
      "an_error_type_that_does_not_fit_into_a_short_string"};
  static constexpr const char* kActors[] = {"", "Planner", "coder_2", "critic"};
  static constexpr const char* kValues[] = {"true", "false", "3.5",
                                            "0",    "id-77", "-2e9"};
  v1::Step* step =
      AddStep(static_cast<v1::Step::Kind>(random->Below(8)), "", trace);
  step->set_name(Pick(kNames, random));
  step->set_actor(Pick(kActors, random));
  if (random->Below(4) == 0) Fail(Pick(kErrors, random), step);
  if (random->Below(3) == 0) step->set_error_message(RandomText(9, random));
  if (random->Below(2) == 0) step->set_output("found");
  step->set_input_tokens(random->Below(900));
  step->set_output_tokens(random->Below(90));
  if (random->Below(2) == 0) step->mutable_duration()->set_nanos(70'000'000);
  step->set_cost(0.001 * static_cast<double>(random->Below(50)));
  for (uint64_t i = random->Below(3); i > 0; --i) {
    (*step->mutable_attributes())[absl::StrCat("key.", i)] =
        Pick(kValues, random);
  }
}

v1::Trace RandomTrace(uint64_t i) {
  base::Random random(i);
  v1::Trace trace = i % 3 == 0 ? SampleTrace() : v1::Trace();
  trace.set_trace_id(absl::StrCat("run-", i));
  trace.mutable_start_time()->set_seconds(1'700'000'000);
  if (i % 2 == 0) trace.mutable_end_time()->set_seconds(1'700'000'000 + i);
  v1::Task* task = trace.mutable_task();
  task->set_input(RandomText(random.Below(i % 50 == 7 ? 900 : 40), &random));
  task->set_type(absl::StrCat("type", i % 4));
  (*task->mutable_labels())["tier"] = absl::StrCat(i % 3);
  if (i % 5 == 0) {
    for (int k = 0; k < kCallerDimension; ++k) {
      task->add_embedding(static_cast<float>(random.Uniform()) - 0.3f);
    }
  }
  (*trace.mutable_system()->mutable_config())["seed"] = absl::StrCat(i % 7);
  trace.mutable_system()->set_model(absl::StrCat("model-", i % 3));
  for (uint64_t step = random.Below(25); step > 0; --step) {
    AddRandomStep(&random, &trace);
  }
  for (uint64_t k = random.Below(4); k > 0; --k) {
    v1::Decision* decision = trace.add_decisions();
    decision->set_kind(static_cast<v1::Decision::Kind>(random.Below(5)));
    decision->set_chosen(absl::StrCat("choice", random.Below(3)));
    if (k == 2) decision->set_step(static_cast<int>(random.Below(3)));
  }
  if (i % 4 == 1) {
    v1::MemoryState* memory = trace.mutable_memory();
    memory->set_size(random.Below(1000));
    memory->add_skipped()->set_reason("Stale 12");
    memory->add_reads()->mutable_age()->set_seconds(
        static_cast<int64_t>(random.Below(4'000'000)));
    memory->add_writes();
  }
  v1::Evaluation* evaluation = trace.mutable_evaluation();
  evaluation->set_outcome(i % 3 == 0 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
  (*evaluation->mutable_signals())["confidence"] = random.Uniform();
  (*evaluation->mutable_signals())["margin"] = 4 * random.Uniform() - 2;
  return trace;
}

class Digest {
 public:
  template <typename Number>
  void Add(Number number) {
    char bytes[sizeof(number)];
    std::memcpy(bytes, &number, sizeof(number));
    bytes_.append(bytes, sizeof(number));
  }
  std::string Hex() const {
    return absl::StrFormat("%016x", base::Hash64(bytes_));
  }

 private:
  std::string bytes_;
};

std::vector<Run> RandomRuns() {
  std::vector<Run> runs;
  runs.reserve(kRuns);
  for (int i = 0; i < kRuns; ++i) {
    runs.push_back(ExtractRun(RandomTrace(i), nullptr));
  }
  return runs;
}

TEST(GoldenTest, RunsAreWhatTheyWere) {
  Digest digest;
  for (const embedding::Run& run : RandomRuns()) {
    for (const TokenCount& token : run.tokens) {
      digest.Add(token.key);
      digest.Add(token.count);
      digest.Add(token.channel);
    }
    for (const uint64_t key : run.context) digest.Add(key);
    for (const auto& [key, value] : run.context_numbers) {
      digest.Add(key);
      digest.Add(value);
    }
  }
  EXPECT_EQ(digest.Hex(), "d5e5608aa3737f95");
}

TEST(GoldenTest, VectorsAreWhatTheyWere) {
  const std::vector<embedding::Run> runs = RandomRuns();
  const std::vector<const embedding::Run*> pointers = Pointers(runs);
  const auto half = absl::MakeConstSpan(pointers).subspan(0, kRuns / 2);
  const ContrastWeights contrast =
      ComputeContrast(half, absl::MakeConstSpan(pointers).subspan(kRuns / 2));
  ASSERT_OK_AND_ASSIGN(
      const auto embedder,
      Embedder::Create(Embedder::Options(), CountCorpus(half, nullptr)));
  // Logarithms may differ by a bit between processors; sums hardly.
  std::array<double, 3> sums{};
  for (const embedding::Run& run : runs) {
    for (const Map map : {Map::kTrajectory, Map::kBehavior, Map::kFailure}) {
      int weight = 0;
      for (const float number : EmbedRun(*embedder, run, map, &contrast)) {
        sums[static_cast<size_t>(map)] += number * (++weight % 7 - 3);
      }
    }
  }
  EXPECT_THAT(sums,
              ElementsAre(DoubleNear(296.535, 0.01), DoubleNear(-396.706, 0.01),
                          DoubleNear(-110.052, 0.01)));
}

TEST(GoldenTest, BothViewsInOnePassAreTheSameVectors) {
  const std::vector<embedding::Run> runs = RandomRuns();
  ASSERT_OK_AND_ASSIGN(const auto embedder,
                       Embedder::Create(Embedder::Options(),
                                        CountCorpus(Pointers(runs), nullptr)));
  std::vector<float> trajectory(embedder->dimension());
  std::vector<float> behavior(embedder->dimension());
  for (const embedding::Run& run : runs) {
    embedder->EmbedViews(run, absl::MakeSpan(trajectory),
                         absl::MakeSpan(behavior));
    EXPECT_EQ(trajectory, EmbedRun(*embedder, run, Map::kTrajectory));
    EXPECT_EQ(behavior, EmbedRun(*embedder, run, Map::kBehavior));
  }
}

TEST(GoldenTest, FeaturesAreThoseOfTheRun) {
  embedding::Run features;  // used again for each
  for (int i = 0; i < kRuns; ++i) {
    const v1::Trace trace = RandomTrace(i);
    const embedding::Run run = ExtractRun(trace, nullptr);
    ExtractFeatures(trace, &features);
    ASSERT_EQ(features.tokens.size(), run.tokens.size());
    for (size_t t = 0; t < run.tokens.size(); ++t) {
      EXPECT_EQ(features.tokens[t].key, run.tokens[t].key);
      EXPECT_EQ(features.tokens[t].count, run.tokens[t].count);
    }
    EXPECT_EQ(features.caller_embedding, run.caller_embedding);
    for (int n = 0; n < kNumericCount; ++n) {
      EXPECT_TRUE(features.numeric[n] == run.numeric[n] ||
                  std::isnan(run.numeric[n]));
    }
  }
}

}  // namespace
}  // namespace faultline::embedding
