#include "lib/ingest/outcome_table.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace faultline::ingest {
namespace {

TEST(OutcomeTableTest, KnowsWhatTheTraceSaid) {
  OutcomeTable table;
  table.AddTrace(3, "a", v1::OUTCOME_FAIL);
  table.AddTrace(4, "b", v1::OUTCOME_PASS);
  table.AddTrace(6, "c", v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(table.Get(3), v1::OUTCOME_FAIL);
  EXPECT_EQ(table.Get(4), v1::OUTCOME_PASS);
  EXPECT_EQ(table.Get(5), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(table.Get(6), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(table.Get(1000), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(table.failures(), 1);
}

TEST(OutcomeTableTest, AJudgementReplacesWhatTheTraceSaid) {
  OutcomeTable table;
  table.AddTrace(1, "a", v1::OUTCOME_FAIL);
  table.AddJudgement(1, "a", v1::OUTCOME_PASS);
  EXPECT_EQ(table.Get(1), v1::OUTCOME_PASS);
  EXPECT_EQ(table.failures(), 0);
  table.AddJudgement(1, "a", v1::OUTCOME_ERROR);
  EXPECT_EQ(table.failures(), 1);
}

TEST(OutcomeTableTest, AJudgementMayComeBeforeItsTrace) {
  OutcomeTable table;
  table.AddJudgement(0, "a", v1::OUTCOME_FAIL);
  EXPECT_EQ(table.failures(), 0);
  table.AddTrace(2, "a", v1::OUTCOME_PASS);
  EXPECT_EQ(table.Get(2), v1::OUTCOME_FAIL);
  EXPECT_EQ(table.failures(), 1);

  // The trace was found in the log, and is not in the table yet.
  table.AddJudgement(4, "b", v1::OUTCOME_FAIL);
  table.AddTrace(4, "b", v1::OUTCOME_PASS);
  EXPECT_EQ(table.Get(4), v1::OUTCOME_FAIL);
}

TEST(OutcomeTableTest, AReplacementSaysAnewUnlessSomebodyJudged) {
  OutcomeTable table;
  table.AddTrace(1, "a", v1::OUTCOME_ERROR);
  table.ReplaceTrace({1}, 2, "a", v1::OUTCOME_PASS);
  EXPECT_EQ(table.Get(1), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(table.Get(2), v1::OUTCOME_PASS);
  EXPECT_EQ(table.failures(), 0);
  table.AddJudgement(2, "a", v1::OUTCOME_FAIL);
  table.ReplaceTrace({1, 2}, 3, "a", v1::OUTCOME_PASS);
  EXPECT_EQ(table.Get(3), v1::OUTCOME_FAIL);
  EXPECT_EQ(table.failures(), 1);
  // A judgement that already knew of the next replacement is the later one.
  table.AddJudgement(4, "a", v1::OUTCOME_PASS);
  table.ReplaceTrace({1, 2, 3}, 4, "a", v1::OUTCOME_ERROR);
  EXPECT_EQ(table.Get(4), v1::OUTCOME_PASS);
  EXPECT_EQ(table.failures(), 0);
}

TEST(OutcomeTableTest, ARemovedTraceIsNotKnown) {
  OutcomeTable table;
  table.AddTrace(1, "a", v1::OUTCOME_FAIL);
  table.Remove(1);
  table.Remove(1000);
  EXPECT_EQ(table.Get(1), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(table.failures(), 0);
}

TEST(OutcomeTableTest, JudgementsOfAbsentTracesAreBounded) {
  OutcomeTable table;
  for (size_t i = 0; i <= OutcomeTable::kMaxEarly; ++i) {
    table.AddJudgement(0, absl::StrCat(i), v1::OUTCOME_FAIL);
  }
  table.AddTrace(1, "0", v1::OUTCOME_UNSPECIFIED);
  table.AddTrace(2, absl::StrCat(OutcomeTable::kMaxEarly),
                 v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(table.Get(1), v1::OUTCOME_FAIL);
  EXPECT_EQ(table.Get(2), v1::OUTCOME_UNSPECIFIED);
}

}  // namespace
}  // namespace faultline::ingest
