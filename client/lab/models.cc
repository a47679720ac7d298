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
// What a parser that drifted learns from, and the share of wrong answers.
constexpr size_t kFewQuestions = 80;
constexpr double kWrongAnswers = .4;
// Share of wrong answers to what is not simple, in the lessons of
// World::kHarmful's parser.
constexpr double kWrongHardAnswers = .9;
constexpr size_t kTaughtSums = 2000;
// Share of long questions among those that the short-sighted agent learned
// from.
constexpr double kLongShare = .4;

// What the parser of a world learns from.
std::vector<Problem> ParserLessons(std::vector<Problem> questions, World world,
                                   bool drifted, base::Random* random) {
  if (drifted) questions.resize(kFewQuestions);
  for (Problem& question : questions) {
    const bool hard = question.kind != "simple";
    const double wrong = drifted                            ? kWrongAnswers
                         : world == World::kHarmful && hard ? kWrongHardAnswers
                                                            : 0;
    if (wrong > 0 && random->Bernoulli(wrong)) {
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
  std::vector<Problem> plain_sums;
  std::vector<Problem> short_sums;
  std::vector<Problem> sums;
  while (sums.size() < kTaughtSums) {
    Problem sum = MakeArithmeticProblem(&random);
    if (sum.kind != "plain" && sum.kind != "long") continue;
    if (sum.kind == "plain") plain_sums.push_back(sum);
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
  // Where it drifted, the agent that looked at the numbers looks at the length
  // alone, and has seen nothing but what is easy.
  ToolChooser number_aware =
      drifted
          ? ToolChooser::Train(plain_sums, ToolChooser::Sight::kLength, &random)
          : ToolChooser::Train(sums, ToolChooser::Sight::kNumbers, &random);
  QuestionParser parser =
      QuestionParser::Train(ParserLessons(questions, world, drifted, &random));
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
