#include "lib/ingest/otlp/judgements.h"

#include "tests/unit/otlp/span_builder.h"

namespace faultline::otlp {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

Judgement Judge(const std::string& name, const std::string& label,
                std::optional<double> score = std::nullopt) {
  Judgement judgement;
  judgement.name = name;
  judgement.label = label;
  judgement.score = score;
  return judgement;
}

TEST(JudgementsTest, ALabelThatNamesAnOutcomeIsOne) {
  EXPECT_EQ(VerdictOf(Judge("any", "Pass")), v1::OUTCOME_PASS);
  EXPECT_EQ(VerdictOf(Judge("any", "incorrect", 1)), v1::OUTCOME_FAIL);
  EXPECT_EQ(VerdictOf(Judge("any", "error")), v1::OUTCOME_ERROR);
  EXPECT_EQ(VerdictOf(Judge("any", "friendly")), v1::OUTCOME_UNSPECIFIED);
  // Good or bad, depending on what was asked.
  EXPECT_EQ(VerdictOf(Judge("toxic", "yes")), v1::OUTCOME_UNSPECIFIED);
}

TEST(JudgementsTest, AScoreIsAnOutcomeWhereItsNameSaysSo) {
  EXPECT_EQ(VerdictOf(Judge("Task_Success", "", 0.5)), v1::OUTCOME_PASS);
  EXPECT_EQ(VerdictOf(Judge("correctness", "", 0.49)), v1::OUTCOME_FAIL);
  EXPECT_EQ(VerdictOf(Judge("correctness", "", 7)), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(VerdictOf(Judge("correctness", "")), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(VerdictOf(Judge("toxicity", "", 0.9)), v1::OUTCOME_UNSPECIFIED);
}

TEST(JudgementsTest, APassNeedsNoExplanation) {
  Judgement judgement = Judge("outcome", "pass");
  judgement.explanation = "as asked";
  const RunJudgements pass =
      JudgeRun({judgement}, "t", absl::FromUnixSeconds(5), "");
  EXPECT_THAT(pass.outcomes, SizeIs(1));
  EXPECT_THAT(pass.annotations, IsEmpty());
  judgement.label = "fail";
  const RunJudgements fail =
      JudgeRun({judgement}, "t", absl::FromUnixSeconds(5), "");
  EXPECT_THAT(fail.outcomes, SizeIs(1));
  ASSERT_THAT(fail.annotations, SizeIs(1));
  EXPECT_EQ(fail.annotations[0].annotation().note(), "as asked");
}

TEST(JudgementsTest, LongTextsAreCut) {
  Judgement judgement = Judge(std::string(200, 'n'), "fail");
  judgement.explanation = std::string(5000, 'e');
  const RunJudgements judged =
      JudgeRun({judgement}, "t", absl::FromUnixSeconds(5), "");
  EXPECT_THAT(judged.outcomes[0].evaluation().evaluator(), SizeIs(128));
  EXPECT_THAT(judged.annotations[0].annotation().note(), SizeIs(4096));
}

}  // namespace
}  // namespace faultline::otlp
