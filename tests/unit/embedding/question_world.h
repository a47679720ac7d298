#ifndef FAULTLINE_TESTS_UNIT_EMBEDDING_QUESTION_WORLD_H_
#define FAULTLINE_TESTS_UNIT_EMBEDDING_QUESTION_WORLD_H_

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/random.h"
#include "tests/unit/embedding/sample_trace.h"

namespace faultline::embedding {

// One run of the world of yes/no questions, and what made it fail.
struct QuestionRun {
  v1::Trace trace;
  int mode;  // 3 * kind + model where that pair is weak, else -1
};

// Yes/no questions of four kinds about named people, answered in one model
// turn by one of three models, each weak on one kind. Steps look alike: only
// the words and the model tell the modes apart. Names and adjectives vary, so
// most words are about who and what, not about the form.
inline std::vector<QuestionRun> QuestionWorld(int runs, uint64_t seed) {
  static constexpr std::array<const char*, 3> kModels = {"bow", "bigram",
                                                         "parser"};
  static constexpr std::array<const char*, 12> kAdjectives = {
      "tall", "old",  "fast",  "rich",  "calm", "kind",
      "loud", "thin", "brave", "clean", "wise", "young"};
  static constexpr int kNames = 60;
  base::Random random(seed);
  std::vector<QuestionRun> world;
  for (int i = 0; i < runs; ++i) {
    const auto name = [&] {
      return absl::StrCat("name", random.Below(kNames));
    };
    const auto adjective = [&] { return kAdjectives[random.Below(12)]; };
    const int kind = static_cast<int>(random.Below(4));
    const int model = static_cast<int>(random.Below(3));
    std::string facts =
        absl::StrCat(name(), " is ", adjective(), ". ", name(), " is ",
                     random.Bernoulli(0.3) ? "very " : "", adjective(), ". ");
    switch (kind) {
      case 0:
        absl::StrAppend(&facts, "Is ", name(), " ", adjective(), "?");
        break;
      case 1:
        absl::StrAppend(&facts, "Is ", name(), " not ", adjective(), "?");
        break;
      case 2:
        absl::StrAppend(&facts, "Is ", name(), " ", adjective(),
                        random.Bernoulli(0.5) ? " and " : " or ", adjective(),
                        "?");
        break;
      default:
        absl::StrAppend(&facts, name(), " is ", adjective(), "er than ", name(),
                        ". Is ", name(), " ", adjective(), "er than ", name(),
                        "?");
    }
    const bool weak = kind >= 1 && model == kind - 1;
    const bool failed = random.Bernoulli(weak ? 0.7 : 0.1);

    v1::Trace trace;
    trace.set_trace_id(absl::StrCat("run-", i));
    trace.mutable_start_time()->set_seconds(1'700'000'000 + i);
    trace.mutable_end_time()->set_seconds(
        1'700'000'000 + i + static_cast<int64_t>(random.Below(3)));
    trace.mutable_task()->set_input(facts);
    trace.mutable_task()->set_type("yes-no");
    trace.mutable_system()->set_agent("lab");
    trace.mutable_system()->set_model(kModels[model]);
    trace.mutable_system()->set_prompt_strategy("direct");
    v1::Decision* route = trace.add_decisions();
    route->set_kind(v1::Decision::KIND_ROUTE);
    route->set_chosen(kModels[model]);
    AddStep(v1::Step::KIND_LLM, "answer", &trace);
    trace.mutable_evaluation()->set_outcome(failed ? v1::OUTCOME_FAIL
                                                   : v1::OUTCOME_PASS);
    (*trace.mutable_evaluation()->mutable_signals())["confidence"] =
        0.5 + 0.5 * random.Uniform();
    world.push_back({std::move(trace), weak ? 3 * kind + model : -1});
  }
  return world;
}

// Share of the failed runs of a planted mode most of whose k nearest failed
// runs (of all of them, planted or not) are of the same mode.
inline double NeighborPurity(const std::vector<QuestionRun>& world,
                             const std::vector<std::vector<float>>& vectors,
                             int k) {
  std::vector<size_t> failed;
  for (size_t i = 0; i < world.size(); ++i) {
    if (world[i].trace.evaluation().outcome() == v1::OUTCOME_FAIL) {
      failed.push_back(i);
    }
  }
  int planted = 0;
  int pure = 0;
  for (const size_t i : failed) {
    if (world[i].mode < 0) continue;
    ++planted;
    std::vector<std::pair<double, size_t>> near;
    for (const size_t j : failed) {
      if (j != i) near.emplace_back(-Dot(vectors[i], vectors[j]), j);
    }
    std::partial_sort(near.begin(), near.begin() + k, near.end());
    int same = 0;
    for (int n = 0; n < k; ++n) {
      same += world[near[n].second].mode == world[i].mode ? 1 : 0;
    }
    pure += 2 * same > k ? 1 : 0;
  }
  return static_cast<double>(pure) / planted;
}

}  // namespace faultline::embedding

#endif  // FAULTLINE_TESTS_UNIT_EMBEDDING_QUESTION_WORLD_H_
