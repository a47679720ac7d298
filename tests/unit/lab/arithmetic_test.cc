#include <cmath>
#include <string>

#include "client/lab/arithmetic_agent.h"
#include "client/lab/arithmetic_world.h"
#include "client/lab/calculator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace faultline::lab {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

double Value(absl::string_view expression) {
  const absl::StatusOr<double> value = Calculate(expression);
  EXPECT_OK(value) << expression;
  return value.value_or(NAN);
}

TEST(CalculatorTest, FollowsPrecedenceBracketsAndSigns) {
  EXPECT_EQ(Value("2 + 3 * 4"), 14);
  EXPECT_EQ(Value("(2+3)*4"), 20);
  EXPECT_EQ(Value("20 - 6 - 4"), 10);
  EXPECT_EQ(Value("24 / 4 / 2"), 3);
  EXPECT_EQ(Value("-(1.5 - 4) * -2"), -5);
}

TEST(CalculatorTest, RefusesWhatPeopleWriteAndMachinesDoNot) {
  for (const char* argument :
       {"1,200 + 3", "3 × 4", "5 − 2", "15% of 60", "two + 2", "12 plus 3", "",
        "1 2", "3 +", "(3", "3)", "1..2", ".5", "2.", "1e5"}) {
    EXPECT_THAT(Calculate(argument),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")))
        << argument;
  }
  EXPECT_THAT(Calculate("1,200"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("character 2 is not")));
}

TEST(CalculatorTest, SurvivesHostileArguments) {
  EXPECT_THAT(Calculate("1 / (2 - 2)"),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("zero")));
  EXPECT_FALSE(Calculate(std::string(100000, '(')).ok());
  EXPECT_FALSE(Calculate(std::string(100000, '-')).ok());
  EXPECT_FALSE(Calculate(std::string("1\0+1", 4)).ok());
  EXPECT_FALSE(Calculate(std::string(5000, '9')).ok());
  EXPECT_FALSE(Calculate("\xff\xfe").ok());
}

TEST(NumberTextTest, HasOneTextForEachNumber) {
  EXPECT_EQ(NumberText(1234567), "1234567");
  EXPECT_EQ(NumberText(-0.), "0");
  EXPECT_EQ(NumberText(.5), "0.5");
}

TEST(ExtractExpressionTest, CopiesTheTextAsItStands) {
  EXPECT_EQ(ExtractExpression("What is 1,200 + 34?"), "1,200 + 34");
  EXPECT_EQ(ExtractExpression("Calculate 3 × 4."), "3 × 4");
  EXPECT_EQ(ExtractExpression("How much is half of 12?"), "half of 12");
}

TEST(ExtractExpressionTest, ReadsTheTwoNumbersOfAStory) {
  EXPECT_EQ(ExtractExpression("Ada has 20 pens and buys 5 more. How many pens "
                              "does Ada have now?"),
            "20 + 5");
  EXPECT_EQ(ExtractExpression("Ada has 20 pens and loses 5 of them."),
            "20 - 5");
  EXPECT_EQ(ExtractExpression("Ada has pens."), "");
}

TEST(NormalizeExpressionTest, BringsPeoplesFormsIntoTheCalculatorsGrammar) {
  for (const auto& [written, value] :
       {std::pair("1,200 + 34", 1234.), std::pair("1,234,567 - 1", 1234566.),
        std::pair("3 × 4 − 2", 10.), std::pair("15% of 60", 9.),
        std::pair("2 plus 3 times 4", 14.), std::pair("8 ÷ 2", 4.),
        std::pair("12 + 3", 15.)}) {
    ASSERT_OK_AND_ASSIGN(const std::string normal,
                         NormalizeExpression(written));
    EXPECT_EQ(Value(normal), value) << normal;
  }
  EXPECT_THAT(NormalizeExpression("half of 12"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("word")));
}

TEST(CalculateMentallyTest, IsRightAboutSmallSumsOnly) {
  EXPECT_EQ(CalculateMentally("47 + 35"), 82);
  EXPECT_EQ(CalculateMentally("80 - 13"), 67);
  EXPECT_EQ(CalculateMentally("12 * 8"), 96);
  // No precedence, few digits, no grouping.
  EXPECT_EQ(CalculateMentally("2 + 3 * 4"), 20);
  EXPECT_EQ(CalculateMentally("47 + 85"), 130);
  EXPECT_NE(CalculateMentally("1,200 + 34"), 1234);
  EXPECT_EQ(CalculateMentally(""), 0);
  EXPECT_TRUE(std::isinf(CalculateMentally(std::string(5000, '9'))));
}

TEST(ToolChooserTest, LearnsFromMistakesAndSeesNoFurtherThanItsFeatures) {
  base::Random random(3);
  std::vector<Problem> problems;
  while (problems.size() < 1500) {
    Problem problem = MakeArithmeticProblem(&random);
    if (problem.kind == "plain" || problem.kind == "long") {
      problems.push_back(problem);
    }
  }
  const ToolChooser aware =
      ToolChooser::Train(problems, ToolChooser::Sight::kNumbers, &random);
  EXPECT_GT(aware.ProbabilityOfNeed("What is 12 + 7 * 31 - 4 * 9 + 5?"), .5);
  EXPECT_GT(aware.ProbabilityOfNeed("What is 4812 + 3377?"), .5);
  EXPECT_LT(aware.ProbabilityOfNeed("What is 12 + 7?"), .5);
  const ToolChooser blind =
      ToolChooser::Train(problems, ToolChooser::Sight::kLength, &random);
  EXPECT_EQ(blind.ProbabilityOfNeed("What is 4812 + 3377?"),
            blind.ProbabilityOfNeed("What is 12 + 48 - 7?"));
}

TEST(ArithmeticWorldTest, EveryAnswerIsThatOfItsQuestion) {
  base::Random random(5);
  int checked = 0;
  for (int i = 0; i < 2000; ++i) {
    const Problem problem = MakeArithmeticProblem(&random);
    const auto normal =
        NormalizeExpression(ExtractExpression(problem.question));
    if (problem.kind == "wording") {
      EXPECT_FALSE(normal.ok()) << problem.question;
      continue;
    }
    ASSERT_OK(normal) << problem.question;
    EXPECT_EQ(NumberText(Value(*normal)), problem.answer) << problem.question;
    ++checked;
  }
  EXPECT_GT(checked, 1800);
}

}  // namespace
}  // namespace faultline::lab
