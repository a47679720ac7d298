#include <map>
#include <string>
#include <vector>

#include "client/lab/question_parser.h"
#include "client/lab/reasoning_world.h"
#include "client/lab/text_classifier.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::lab {
namespace {

using ::testing::ElementsAre;

std::vector<Problem> MakeProblems(Phrasing phrasing, int count, uint64_t seed) {
  base::Random random(seed);
  std::vector<Problem> problems;
  problems.reserve(count);
  for (int i = 0; i < count; ++i) {
    problems.push_back(MakeReasoningProblem(phrasing, &random));
  }
  return problems;
}

// Failure rate by kind.
template <typename Solve>
std::map<std::string, double> FailureRates(const std::vector<Problem>& problems,
                                           const Solve& solve) {
  std::map<std::string, double> failed;
  std::map<std::string, double> count;
  for (const Problem& problem : problems) {
    ++count[problem.kind];
    failed[problem.kind] +=
        solve(problem.question) != (problem.answer == "yes");
  }
  for (auto& [kind, failures] : failed) failures /= count[kind];
  return failed;
}

TEST(ReasoningWorldTest, BothAnswersAreEquallyLikelyInEveryKind) {
  const auto always_yes = FailureRates(MakeProblems(Phrasing::kAsked, 4000, 1),
                                       [](const std::string&) { return true; });
  ASSERT_EQ(always_yes.size(), 4u);
  for (const auto& [kind, rate] : always_yes)
    EXPECT_NEAR(rate, .5, .06) << kind;
}

TEST(WordsTest, LowersAndSplits) {
  EXPECT_THAT(Words("Does Ada like 3 pears?"),
              ElementsAre("does", "ada", "like", "3", "pears"));
  EXPECT_THAT(Words(""), ElementsAre());
}

TEST(TextClassifierTest, LearnsSimpleQuestionsAndFailsOnStructure) {
  const auto taught = MakeProblems(Phrasing::kTaught, 12000, 1);
  const auto asked = MakeProblems(Phrasing::kAsked, 2000, 2);
  for (const int max_words : {1, 2}) {
    base::Random random(7);
    const auto model = TextClassifier::Train(taught, max_words, &random);
    const auto rates = FailureRates(asked, [&](const std::string& question) {
      return model.ProbabilityOfYes(question) > .5;
    });
    EXPECT_LT(rates.at("simple"), .2) << max_words;
    EXPECT_GT(rates.at("negation"), .4) << max_words;
    EXPECT_GT(rates.at("transitive"), .35) << max_words;
    EXPECT_GT(rates.at("compositional"), .25) << max_words;
  }
}

TEST(QuestionParserTest, LearnsEveryKindAndFailsOnPhrasingsItNeverMet) {
  const auto parser =
      QuestionParser::Train(MakeProblems(Phrasing::kTaught, 6000, 1));
  const auto solve = [&](const std::string& question) {
    return parser.Solve(question).yes;
  };
  for (const auto& [kind, rate] :
       FailureRates(MakeProblems(Phrasing::kTaught, 1000, 2), solve)) {
    EXPECT_LT(rate, .01) << kind;
  }
  double total = 0;
  for (const auto& [kind, rate] :
       FailureRates(MakeProblems(Phrasing::kAsked, 3000, 3), solve)) {
    EXPECT_LT(rate, .12) << kind;
    total += rate;
  }
  EXPECT_GT(total / 4, .01);
}

TEST(QuestionParserTest, KnowsWhatItDoesNotKnow) {
  const auto parser =
      QuestionParser::Train(MakeProblems(Phrasing::kTaught, 3000, 1));
  const auto known =
      parser.Solve("Ada likes tea. Ben owns maps. Does Ada like tea?");
  EXPECT_TRUE(known.yes);
  EXPECT_GT(known.confidence, .95);
  EXPECT_EQ(known.unknown_sentences, 0);
  EXPECT_EQ(known.frame, "does N V O ?");
  const auto unknown = parser.Solve("Ada likes tea. Whatever might Ada like?");
  EXPECT_EQ(unknown.unknown_sentences, 1);
  EXPECT_EQ(unknown.confidence, .5);
}

TEST(QuestionParserTest, FollowsOppositesThroughAChain) {
  const auto parser =
      QuestionParser::Train(MakeProblems(Phrasing::kTaught, 3000, 1));
  const std::string facts =
      "Ada is taller than Ben. Cleo is shorter than Ben. Cleo is older than "
      "Ada. ";
  EXPECT_TRUE(parser.Solve(facts + "Is Ada taller than Cleo?").yes);
  EXPECT_TRUE(parser.Solve(facts + "Is Cleo shorter than Ada?").yes);
  EXPECT_FALSE(parser.Solve(facts + "Is Cleo taller than Ada?").yes);
  EXPECT_TRUE(parser.Solve(facts + "Is Ada younger than Cleo?").yes);
}

TEST(QuestionParserTest, SurvivesAnyText) {
  const auto parser =
      QuestionParser::Train(MakeProblems(Phrasing::kTaught, 500, 1));
  for (const char* text : {"", "?", "....", "Ada", "likes likes likes?",
                           "than taller Ada is?", "\xff\xfe?"}) {
    const auto answer = parser.Solve(text);
    EXPECT_GE(answer.confidence, 0);
    EXPECT_LE(answer.confidence, 1);
  }
}

}  // namespace
}  // namespace faultline::lab
