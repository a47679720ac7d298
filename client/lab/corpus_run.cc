#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/lab/corpus_agent.h"
#include "client/lab/family_run.h"

namespace faultline::lab {
namespace {

constexpr Price kSearchPrice = {2, .00002};
constexpr Price kWideSearchPrice = {3, .00003};
constexpr Price kReadPrice = {1, .00001};
constexpr Price kCitePrice = {1.5, .000015};
constexpr Price kSplitPrice = {1.5, .000015};
// Sure of what it remembers, as such models are.
constexpr double kRecallConfidence = .95;
constexpr size_t kWidePassages = 8;

class CorpusRun final : public FamilyRun {
 public:
  CorpusRun(const Models& models, const Problem& problem, RunRecorder* run)
      : models_(models), problem_(problem), run_(*run) {
    run_.trace().mutable_system()->set_toolset(kCorpusSearch);
  }

  std::string Answer(const std::string& route,
                     const std::string& strategy) override {
    route_ = route;
    strategy_ = strategy;
    // In World::kNull the agent remembers nothing.
    const std::optional<std::string> remembered =
        models_.world == World::kNull
            ? std::nullopt
            : models_.corpus_agent.Recall(problem_.question);
    if (!remembered.has_value()) return LookUp();
    run_.AddStep(v1::Step::KIND_LLM, "recall", kReadPrice, problem_.question,
                 *remembered);
    run_.AddSignal("confidence", kRecallConfidence);
    return Say(*remembered);
  }

  bool Require(v1::Step::Kind kind, const std::string& name,
               std::string* answer) override {
    if (kind != v1::Step::KIND_RETRIEVAL ||
        (!name.empty() && name != kCorpusSearch)) {
      return false;
    }
    *answer = LookUp();
    return true;
  }

  std::string Abstention() const override { return kNotStated; }

 private:
  // One retrieval and what was read in it.
  CorpusAgent::Reading Search(const std::string& question) {
    CorpusAgent::Search search;
    // In World::kNull one retriever serves all routes.
    if (models_.world != World::kNull && route_ != kBm25) {
      search.tuned = route_ == kBm25Tuned;
      search.passages = kWidePassages;
    }
    const CorpusAgent::Found found =
        models_.corpus_agent.Retrieve(question, search);
    std::string text;
    for (const size_t passage : found.passages) {
      absl::StrAppend(&text, text.empty() ? "" : " ",
                      models_.corpus_agent.passage(passage));
    }
    v1::Step* step = run_.AddStep(
        v1::Step::KIND_RETRIEVAL, kCorpusSearch,
        search.passages > 1 ? kWideSearchPrice : kSearchPrice, question, text);
    (*step->mutable_attributes())["full_match"] =
        found.full_match ? "true" : "false";
    run_.AddSignal("retrieval_score", found.score);
    CorpusAgent::Reading reading =
        models_.corpus_agent.Read(question, found.passages);
    run_.AddStep(v1::Step::KIND_LLM, "read", kReadPrice, text, reading.answer);
    return reading;
  }

  std::string LookUp() {
    std::string question = problem_.question;
    // In World::kNull every strategy is the same prompt.
    const bool direct = strategy_ == kDirect || models_.world == World::kNull;
    if (!direct && strategy_ == kDecompose) {
      const auto parts = Decompose(question);
      run_.AddStep(v1::Step::KIND_LLM, "split", kSplitPrice, question,
                   parts.has_value()
                       ? absl::StrCat(parts->first, " ", parts->second)
                       : "");
      if (parts.has_value()) {
        const CorpusAgent::Reading first = Search(parts->first);
        question = absl::StrReplaceAll(parts->second, {{"$0", first.answer}});
      }
    }
    const CorpusAgent::Reading reading = Search(question);
    run_.AddSignal("confidence", reading.confidence);
    run_.AddSignal("ungrounded", reading.ungrounded);
    std::string answer = reading.answer;
    if (!direct && strategy_ == kCiteFirst) {
      const bool supported =
          reading.passage.has_value() &&
          models_.corpus_agent.Supports(*reading.passage, question);
      run_.AddStep(
          v1::Step::KIND_LLM, "cite", kCitePrice, question,
          supported ? models_.corpus_agent.passage(*reading.passage) : "");
      if (!supported) answer = kNotStated;
    }
    return Say(answer);
  }

  std::string Say(const std::string& answer) {
    run_.AddStep(v1::Step::KIND_LLM, "answer", kAnswerPrice, problem_.question,
                 answer);
    return answer;
  }

  const Models& models_;
  const Problem& problem_;
  RunRecorder& run_;
  std::string route_;
  std::string strategy_;
};

}  // namespace

std::unique_ptr<FamilyRun> MakeCorpusRun(const Models& models,
                                         const Problem& problem,
                                         RunRecorder* run) {
  return std::make_unique<CorpusRun>(models, problem, run);
}

}  // namespace faultline::lab
