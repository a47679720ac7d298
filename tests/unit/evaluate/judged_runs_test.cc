#include "lib/evaluate/judged_runs.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::evaluate {
namespace {

using ::testing::ElementsAre;

v1::LogRecord TraceRecord(uint64_t sequence, const std::string& id,
                          v1::Outcome outcome, bool replacement = false) {
  v1::LogRecord record;
  record.set_sequence(sequence);
  v1::Trace& trace =
      replacement ? *record.mutable_replacement() : *record.mutable_trace();
  trace.set_trace_id(id);
  trace.mutable_evaluation()->set_outcome(outcome);
  return record;
}

v1::LogRecord OutcomeRecord(uint64_t sequence, const std::string& id,
                            v1::Outcome outcome) {
  v1::LogRecord record;
  record.set_sequence(sequence);
  record.mutable_outcome()->set_trace_id(id);
  record.mutable_outcome()->mutable_evaluation()->set_outcome(outcome);
  return record;
}

TEST(JudgedRuns, TheLastJudgementHolds) {
  std::vector<std::string> visits;
  JudgedRuns runs([&](size_t row, uint64_t sequence, const v1::Trace& trace) {
    visits.push_back(absl::StrCat(row, ":", sequence, ":", trace.trace_id()));
  });
  // Judged before it came.
  runs.Apply(OutcomeRecord(1, "early", v1::OUTCOME_FAIL));
  runs.Apply(TraceRecord(2, "early", v1::OUTCOME_UNSPECIFIED));
  runs.Apply(TraceRecord(3, "never", v1::OUTCOME_UNSPECIFIED));
  runs.Apply(TraceRecord(4, "again", v1::OUTCOME_PASS));
  runs.Apply(OutcomeRecord(5, "again", v1::OUTCOME_ERROR));
  // Judged, then replaced: the judgement holds.
  runs.Apply(TraceRecord(6, "again", v1::OUTCOME_PASS, true));
  runs.Apply(TraceRecord(7, "whole", v1::OUTCOME_PASS));
  v1::LogRecord other;
  other.set_sequence(8);
  other.mutable_tombstone();
  runs.Apply(other);

  EXPECT_THAT(visits, ElementsAre("0:2:early", "1:3:never", "2:4:again",
                                  "2:6:again", "3:7:whole"));
  EXPECT_THAT(runs.outcomes(),
              ElementsAre(v1::OUTCOME_FAIL, v1::OUTCOME_UNSPECIFIED,
                          v1::OUTCOME_ERROR, v1::OUTCOME_PASS));
}

}  // namespace
}  // namespace faultline::evaluate
