#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/lab/family_run.h"

namespace faultline::lab {
namespace {

constexpr Price kParsePrice = {5, .00005};

class ReasoningRun final : public FamilyRun {
 public:
  ReasoningRun(const Models& models, const Problem& problem, RunRecorder* run)
      : models_(models), problem_(problem), run_(*run) {}

  std::string Answer(const std::string& route, const std::string&) override {
    // In World::kNull one model answers for all of them.
    if (route == kParser && models_.world != World::kNull) return Parse();
    const TextClassifier& model =
        route == kBigram && models_.world != World::kNull
            ? models_.bigram
            : models_.bag_of_words;
    const double yes = model.ProbabilityOfYes(problem_.question);
    run_.AddSignal("confidence", std::max(yes, 1 - yes));
    std::string text = yes > .5 ? "yes" : "no";
    run_.AddStep(v1::Step::KIND_LLM, "answer", kAnswerPrice, problem_.question,
                 text);
    return text;
  }

 private:
  std::string Parse() {
    const QuestionParser::Answer answer =
        models_.parser.Solve(problem_.question);
    v1::Step* parse = run_.AddStep(v1::Step::KIND_LLM, "parse", kParsePrice,
                                   problem_.question, answer.frame);
    (*parse->mutable_attributes())["unknown_sentences"] =
        absl::StrCat(answer.unknown_sentences);
    run_.AddSignal("confidence", answer.confidence);
    std::string text = answer.yes ? "yes" : "no";
    run_.AddStep(v1::Step::KIND_LLM, "answer", kAnswerPrice, answer.frame,
                 text);
    return text;
  }

  const Models& models_;
  const Problem& problem_;
  RunRecorder& run_;
};

}  // namespace

std::unique_ptr<FamilyRun> MakeReasoningRun(const Models& models,
                                            const Problem& problem,
                                            RunRecorder* run) {
  return std::make_unique<ReasoningRun>(models, problem, run);
}

}  // namespace faultline::lab
