#include "client/lab/models.h"

#include <utility>
#include <vector>

#include "client/lab/arithmetic_world.h"
#include "client/lab/reasoning_world.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace faultline::lab {
namespace {

constexpr size_t kTaughtQuestions = 12000;
// What a parser that is worse learns from, and the share of wrong answers.
constexpr size_t kFewQuestions = 80;
constexpr double kWrongAnswers = .4;
constexpr size_t kTaughtSums = 2000;
// Share of long questions among those that the short-sighted agent learned
// from.
constexpr double kLongShare = .4;

std::vector<Problem> FewAndPartlyWrong(std::vector<Problem> questions,
                                       base::Random* random) {
  questions.resize(kFewQuestions);
  for (Problem& question : questions) {
    if (random->Bernoulli(kWrongAnswers)) {
      question.answer = question.answer == "yes" ? "no" : "yes";
    }
  }
  return questions;
}

}  // namespace

Models Models::Train(uint64_t seed, World world, bool drifted) {
  base::Random random(base::Mix64(seed));
  std::vector<Problem> questions;
  questions.reserve(kTaughtQuestions);
  for (size_t i = 0; i < kTaughtQuestions; ++i) {
    questions.push_back(MakeReasoningProblem(Phrasing::kTaught, &random));
  }
  std::vector<Problem> short_sums;
  std::vector<Problem> sums;
  while (sums.size() < kTaughtSums) {
    Problem sum = MakeArithmeticProblem(&random);
    if (sum.kind != "plain" && sum.kind != "long") continue;
    if (sum.kind == "plain" || random.Bernoulli(kLongShare)) {
      short_sums.push_back(sum);
    }
    sums.push_back(std::move(sum));
  }
  TextClassifier bag_of_words = TextClassifier::Train(questions, 1, &random);
  TextClassifier bigram = TextClassifier::Train(questions, 2, &random);
  ToolChooser short_sighted =
      ToolChooser::Train(short_sums, ToolChooser::Sight::kLength, &random);
  drifted &= world == World::kDrift;
  // The agent that looked at the numbers looks at the length alone.
  ToolChooser number_aware =
      drifted ? short_sighted
              : ToolChooser::Train(sums, ToolChooser::Sight::kNumbers, &random);
  const bool weak_parser = drifted || world == World::kHarmful;
  QuestionParser parser = QuestionParser::Train(
      weak_parser ? FewAndPartlyWrong(questions, &random) : questions);
  CorpusWorld corpus(seed);
  CorpusAgent corpus_agent(corpus);
  return Models{world,
                std::move(bag_of_words),
                std::move(bigram),
                std::move(parser),
                std::move(short_sighted),
                std::move(number_aware),
                std::move(corpus),
                std::move(corpus_agent)};
}

}  // namespace faultline::lab
