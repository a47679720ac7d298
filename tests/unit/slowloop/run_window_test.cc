#include "lib/slowloop/run_window.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::slowloop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::LogRecord TraceRecord(uint64_t sequence, const std::string& id,
                          v1::Outcome outcome) {
  v1::LogRecord record;
  record.set_sequence(sequence);
  record.mutable_trace()->set_trace_id(id);
  record.mutable_trace()->mutable_start_time()->set_seconds(1'800'000'000);
  record.mutable_trace()->mutable_evaluation()->set_outcome(outcome);
  return record;
}

v1::LogRecord LateOutcome(uint64_t sequence, const std::string& id,
                          v1::Outcome outcome) {
  v1::LogRecord record;
  record.set_sequence(sequence);
  record.mutable_outcome()->set_trace_id(id);
  record.mutable_outcome()->mutable_evaluation()->set_outcome(outcome);
  return record;
}

std::vector<std::string> Ids(const std::vector<const embedding::Run*>& runs) {
  std::vector<std::string> ids;
  ids.reserve(runs.size());
  for (const embedding::Run* run : runs) ids.push_back(run->trace_id);
  return ids;
}

TEST(RunWindowTest, OrdersRunsByTraceIdWhateverTheirArrival) {
  RunWindow window({});
  window.Apply(TraceRecord(1, "c", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(2, "a", v1::OUTCOME_PASS));
  window.Apply(TraceRecord(3, "b", v1::OUTCOME_ERROR));
  EXPECT_THAT(Ids(window.KnownRuns()), ElementsAre("a", "b", "c"));
}

TEST(RunWindowTest, RunWithoutOutcomeWaitsForIt) {
  RunWindow window({});
  window.Apply(TraceRecord(1, "a", v1::OUTCOME_UNSPECIFIED));
  EXPECT_THAT(window.KnownRuns(), IsEmpty());
  EXPECT_THAT(Ids(window.PendingRuns()), ElementsAre("a"));
  window.Apply(LateOutcome(2, "a", v1::OUTCOME_FAIL));
  ASSERT_THAT(Ids(window.KnownRuns()), ElementsAre("a"));
  EXPECT_TRUE(window.KnownRuns()[0]->failed());
  EXPECT_THAT(window.PendingRuns(), IsEmpty());
}

TEST(RunWindowTest, OutcomeMayComeBeforeItsTrace) {
  RunWindow window({});
  window.Apply(LateOutcome(1, "a", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(2, "a", v1::OUTCOME_UNSPECIFIED));
  ASSERT_THAT(Ids(window.KnownRuns()), ElementsAre("a"));
  EXPECT_TRUE(window.KnownRuns()[0]->failed());
}

TEST(RunWindowTest, LaterOutcomeReplacesAnEarlierOne) {
  RunWindow window({});
  window.Apply(TraceRecord(1, "a", v1::OUTCOME_PASS));
  window.Apply(LateOutcome(2, "a", v1::OUTCOME_FAIL));
  EXPECT_TRUE(window.KnownRuns()[0]->failed());
}

TEST(RunWindowTest, RemembersWhichRecordFirstToldTheOutcome) {
  RunWindow window({});
  window.Apply(TraceRecord(1, "a", v1::OUTCOME_PASS));
  window.Apply(LateOutcome(2, "a", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(3, "b", v1::OUTCOME_UNSPECIFIED));
  window.Apply(LateOutcome(4, "c", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(5, "c", v1::OUTCOME_UNSPECIFIED));
  window.Apply(LateOutcome(6, "b", v1::OUTCOME_PASS));
  const auto runs = window.KnownRuns();
  ASSERT_THAT(Ids(runs), ElementsAre("a", "b", "c"));
  EXPECT_EQ(runs[0]->known_sequence, 1);
  EXPECT_EQ(runs[1]->known_sequence, 6);
  EXPECT_EQ(runs[2]->known_sequence, 5);
}

TEST(RunWindowTest, EachOutcomeKeepsItsLatestRuns) {
  RunWindow::Capacity capacity;
  capacity.failures = 2;
  capacity.successes = 1;
  RunWindow window(capacity);
  window.Apply(TraceRecord(1, "f1", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(2, "s1", v1::OUTCOME_PASS));
  window.Apply(TraceRecord(3, "f2", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(4, "f3", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(5, "s2", v1::OUTCOME_PASS));
  EXPECT_THAT(Ids(window.KnownRuns()), ElementsAre("f2", "f3", "s2"));
  // An outcome of a run that has left changes nothing.
  window.Apply(LateOutcome(6, "f1", v1::OUTCOME_PASS));
  EXPECT_THAT(Ids(window.KnownRuns()), ElementsAre("f2", "f3", "s2"));
}

TEST(RunWindowTest, SmallerCapacityEvictsAtOnce) {
  RunWindow window({});
  window.Apply(TraceRecord(1, "a", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(2, "b", v1::OUTCOME_FAIL));
  RunWindow::Capacity capacity;
  capacity.failures = 1;
  window.SetCapacity(capacity);
  EXPECT_THAT(Ids(window.KnownRuns()), ElementsAre("b"));
}

TEST(RunWindowTest, OtherRecordsAreIgnored) {
  RunWindow window({});
  v1::LogRecord review;
  review.set_sequence(1);
  review.mutable_review()->set_intervention_id("x");
  window.Apply(review);
  EXPECT_THAT(window.KnownRuns(), IsEmpty());
}

// A run that was put together of pieces.
v1::LogRecord Assembled(uint64_t sequence, const std::string& id,
                        v1::Outcome outcome) {
  v1::LogRecord record = TraceRecord(sequence, id, outcome);
  record.mutable_trace()->set_closing(v1::CLOSING_ROOT_ENDED);
  return record;
}

v1::LogRecord Replacement(uint64_t sequence, const std::string& id,
                          v1::Outcome outcome) {
  v1::LogRecord record = Assembled(sequence, id, outcome);
  const v1::Trace trace = record.trace();
  *record.mutable_replacement() = trace;
  return record;
}

v1::LogRecord Deletion(uint64_t sequence, std::vector<uint64_t> deleted) {
  v1::LogRecord record;
  record.set_sequence(sequence);
  record.mutable_deletion()->mutable_sequences()->Assign(deleted.begin(),
                                                         deleted.end());
  return record;
}

TEST(RunWindowTest, AReplacementTakesThePlaceOfItsRun) {
  RunWindow window({});
  window.Apply(Assembled(1, "a", v1::OUTCOME_ERROR));
  window.Apply(Replacement(2, "a", v1::OUTCOME_PASS));
  ASSERT_THAT(Ids(window.KnownRuns()), ElementsAre("a"));
  EXPECT_FALSE(window.KnownRuns()[0]->failed());
  EXPECT_EQ(window.KnownRuns()[0]->sequence, 2);
  // Later records find it at its new place.
  window.Apply(LateOutcome(3, "a", v1::OUTCOME_FAIL));
  ASSERT_THAT(Ids(window.KnownRuns()), ElementsAre("a"));
  EXPECT_TRUE(window.KnownRuns()[0]->failed());
}

TEST(RunWindowTest, AJudgementOutlastsAReplacement) {
  RunWindow window({});
  v1::LogRecord cost = LateOutcome(2, "a", v1::OUTCOME_FAIL);
  cost.mutable_outcome()->mutable_evaluation()->set_cost(7);
  window.Apply(Assembled(1, "a", v1::OUTCOME_UNSPECIFIED));
  window.Apply(cost);
  window.Apply(LateOutcome(3, "a", v1::OUTCOME_ERROR));
  window.Apply(Replacement(4, "a", v1::OUTCOME_PASS));
  ASSERT_THAT(Ids(window.KnownRuns()), ElementsAre("a"));
  EXPECT_EQ(window.KnownRuns()[0]->outcome, v1::OUTCOME_ERROR);
  EXPECT_EQ(window.KnownRuns()[0]->cost, 7);
  window.Apply(Replacement(5, "a", v1::OUTCOME_PASS));
  EXPECT_EQ(window.KnownRuns()[0]->outcome, v1::OUTCOME_ERROR);
}

TEST(RunWindowTest, AJudgementBeforeTheRunOutlastsAReplacement) {
  RunWindow window({});
  window.Apply(LateOutcome(1, "a", v1::OUTCOME_FAIL));
  window.Apply(Assembled(2, "a", v1::OUTCOME_PASS));
  window.Apply(Replacement(3, "a", v1::OUTCOME_PASS));
  EXPECT_TRUE(window.KnownRuns()[0]->failed());
}

TEST(RunWindowTest, AReplacementOfARunThatHasLeftKeepsItsJudgement) {
  RunWindow::Capacity capacity;
  capacity.successes = 1;
  RunWindow window(capacity);
  window.Apply(Assembled(1, "a", v1::OUTCOME_UNSPECIFIED));
  window.Apply(LateOutcome(2, "a", v1::OUTCOME_PASS));
  window.Apply(TraceRecord(3, "b", v1::OUTCOME_PASS));
  EXPECT_THAT(Ids(window.KnownRuns()), ElementsAre("b"));
  window.Apply(Replacement(4, "a", v1::OUTCOME_ERROR));
  ASSERT_THAT(Ids(window.KnownRuns()), ElementsAre("a"));
  EXPECT_FALSE(window.KnownRuns()[0]->failed());
}

TEST(RunWindowTest, DeletedRunsLeave) {
  RunWindow window({});
  window.Apply(Assembled(1, "a", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(2, "b", v1::OUTCOME_PASS));
  window.Apply(TraceRecord(3, "c", v1::OUTCOME_UNSPECIFIED));
  window.Apply(LateOutcome(4, "a", v1::OUTCOME_PASS));
  window.Apply(Replacement(5, "a", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(6, "d", v1::OUTCOME_PASS));
  window.Apply(Deletion(7, {1, 5, 3, 99}));
  EXPECT_THAT(Ids(window.KnownRuns()), ElementsAre("b", "d"));
  EXPECT_THAT(window.PendingRuns(), IsEmpty());
  // Nothing of them is left for a run of the same name.
  window.Apply(Assembled(8, "a", v1::OUTCOME_FAIL));
  EXPECT_TRUE(window.KnownRuns()[0]->failed());
}

TEST(RunWindowTest, APinnedRunOutlivesTheWindow) {
  RunWindow::Capacity capacity;
  capacity.failures = 1;
  RunWindow window(capacity);
  window.Apply(TraceRecord(1, "f1", v1::OUTCOME_FAIL));
  window.Pin({1});
  window.Apply(TraceRecord(2, "f2", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(3, "f3", v1::OUTCOME_FAIL));
  EXPECT_THAT(Ids(window.KnownRuns()), ElementsAre("f3"));
  ASSERT_NE(window.Find(1), nullptr);
  EXPECT_EQ(window.Find(1)->trace_id, "f1");
  EXPECT_EQ(window.Find(2), nullptr) << "not pinned";
  EXPECT_EQ(window.Find(3)->trace_id, "f3") << "in the window";
  window.Pin({3});
  EXPECT_EQ(window.Find(1), nullptr) << "not pinned any more";
}

TEST(RunWindowTest, ARunMayBePinnedBeforeTheLogIsReadAgain) {
  RunWindow::Capacity capacity;
  capacity.failures = 1;
  RunWindow window(capacity);
  window.Pin({1});
  window.Apply(TraceRecord(1, "f1", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(2, "f2", v1::OUTCOME_FAIL));
  EXPECT_NE(window.Find(1), nullptr);
}

TEST(RunWindowTest, ADeletedRunIsGoneThoughItIsPinned) {
  RunWindow::Capacity capacity;
  capacity.failures = 1;
  RunWindow window(capacity);
  window.Pin({1, 2});
  window.Apply(TraceRecord(1, "f1", v1::OUTCOME_FAIL));
  window.Apply(TraceRecord(2, "f2", v1::OUTCOME_FAIL));
  window.Apply(Deletion(3, {1}));
  window.Apply(Deletion(4, {2}));
  EXPECT_EQ(window.Find(1), nullptr);
  EXPECT_EQ(window.Find(2), nullptr);
}

}  // namespace
}  // namespace faultline::slowloop
