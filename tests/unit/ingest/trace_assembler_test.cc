#include "lib/ingest/trace_assembler.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "lib/base/error_detail.h"
#include "lib/base/published.h"
#include "lib/ingest/piece_merge.h"
#include "lib/store/memory_store.h"
#include "lib/trace/trace_validator.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fault_store.h"
#include "tests/support/status_matchers.h"

namespace faultline::ingest {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::_;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;
using Verdict = TraceAssembler::Verdict;

constexpr absl::Duration kQuiet = absl::Seconds(5);
constexpr absl::Duration kIdle = absl::Seconds(60);
constexpr absl::Duration kAmend = absl::Seconds(600);

constexpr int64_t kStart = 1'800'000'000;

// A span of run `trace_id` that calls `tool` at second `second`.
v1::Piece Span(const std::string& trace_id, const std::string& id, int second,
               const std::string& tool, const std::string& parent = "root") {
  v1::Piece piece;
  piece.set_trace_id(trace_id);
  piece.set_id(id);
  piece.set_parent_id(parent);
  piece.set_order(v1::PIECE_ORDER_TIME);
  piece.mutable_part()->mutable_start_time()->set_seconds(kStart + second);
  piece.mutable_part()->mutable_end_time()->set_seconds(kStart + second + 1);
  v1::Step* step = piece.mutable_part()->add_steps();
  step->set_kind(v1::Step::KIND_TOOL);
  step->set_name(tool);
  return piece;
}

v1::Piece Root(const std::string& trace_id) {
  v1::Piece piece = Span(trace_id, "root", 0, "", "");
  piece.mutable_part()->clear_steps();
  piece.mutable_part()->mutable_end_time()->set_seconds(kStart + 9);
  piece.mutable_part()->mutable_system()->set_agent("agent");
  piece.set_ends_run(true);
  return piece;
}

// Piece `index` of a stream.
v1::Piece Part(const std::string& trace_id, uint32_t index, bool last = false) {
  v1::TracePiece piece;
  piece.set_trace_id(trace_id);
  piece.set_index(index);
  piece.set_last(last);
  piece.mutable_part()->mutable_start_time()->set_seconds(kStart);
  v1::Step* step = piece.mutable_part()->add_steps();
  step->set_kind(v1::Step::KIND_TOOL);
  step->set_name(absl::StrCat("tool", index));
  return ToPiece(std::move(piece));
}

class TraceAssemblerTest : public ::testing::Test {
 protected:
  TraceAssemblerTest() : store_(&memory_) {
    Configure(kIdle, 100);
    Open();
  }

  void Configure(absl::Duration idle, uint32_t max_open_runs) {
    v1::ProjectConfig config;
    v1::AssemblyConfig* assembly = config.mutable_assembly();
    assembly->mutable_quiet_period()->set_seconds(absl::ToInt64Seconds(kQuiet));
    assembly->mutable_idle_timeout()->set_seconds(absl::ToInt64Seconds(idle));
    assembly->mutable_amend_window()->set_seconds(absl::ToInt64Seconds(kAmend));
    assembly->set_max_open_runs(max_open_runs);
    config_.Publish(std::make_shared<const v1::ProjectConfig>(config));
  }

  TraceAssembler::Settings Settings() {
    return [this](absl::string_view) { return config_.Get(); };
  }

  // As after a start of the server; the store stays.
  void Open(bool start = true) {
    assembler_.reset();
    log_.reset();
    auto log = trace::TraceLog::Create({}, &store_, &clock_);
    ASSERT_OK(log);
    log_ = *std::move(log);
    auto validator = trace::TraceValidator::Create({});
    ASSERT_OK(validator);
    options_.limits = validator->limits();
    auto assembler =
        TraceAssembler::Create(options_, log_.get(), Settings(), &clock_);
    ASSERT_OK(assembler);
    assembler_ = *std::move(assembler);
    if (start) Start();
  }

  void Start() {
    assembler_->Start({.has_room =
                           [this](const std::string& project) {
                             return project != "p" || !behind_;
                           },
                       .append =
                           [this](const std::string& project,
                                  std::vector<v1::LogRecord> records) {
                             return log_->AppendAndWait(project,
                                                        std::move(records));
                           }});
  }

  absl::StatusOr<std::vector<Verdict>> Stage(std::vector<v1::Piece> pieces,
                                             const std::string& project = "p") {
    absl::StatusOr<std::vector<Verdict>> result;
    absl::Notification done;
    const absl::Status status =
        assembler_->Stage(project, std::move(pieces),
                          [&](absl::StatusOr<std::vector<Verdict>> v) {
                            result = std::move(v);
                            done.Notify();
                          });
    if (!status.ok()) return status;
    done.WaitForNotification();
    return result;
  }

  void MustStage(std::vector<v1::Piece> pieces) {
    const auto verdicts = Stage(std::move(pieces));
    ASSERT_OK(verdicts);
    ASSERT_THAT(*verdicts, Each(Verdict::kStaged));
  }

  void Advance(absl::Duration by) {
    clock_.Advance(by);
    assembler_->WaitUntilAssembled();
  }

  TraceAssembler::Counters counters() { return assembler_->GetCounters("p"); }

  // The run as the log has it now.
  std::optional<v1::Trace> Find(const std::string& trace_id) {
    assembler_->WaitUntilAssembled();
    const auto sequence = log_->FindTrace("p", trace_id);
    if (!sequence.ok()) return std::nullopt;
    const auto trace = log_->ReadTrace("p", *sequence);
    EXPECT_OK(trace);
    return *trace;
  }

  // Names of its steps; `open` where it is not logged.
  std::vector<std::string> Steps(const std::string& trace_id) {
    const std::optional<v1::Trace> trace = Find(trace_id);
    if (!trace.has_value()) return {"open"};
    std::vector<std::string> names;
    for (const v1::Step& step : trace->steps()) names.push_back(step.name());
    return names;
  }

  v1::Closing Closing(const std::string& trace_id) {
    const std::optional<v1::Trace> trace = Find(trace_id);
    return trace.has_value() ? trace->closing() : v1::CLOSING_UNSPECIFIED;
  }

  size_t StagedPieces(const std::string& trace_id) {
    const auto pieces = log_->ReadPieces("p", trace_id);
    EXPECT_OK(pieces);
    return pieces->size();
  }

  base::Published<v1::ProjectConfig> config_{nullptr};
  TraceAssembler::Options options_;
  std::atomic<bool> behind_ = false;  // nothing of p can be logged
  fakes::FakeClock clock_;
  store::MemoryStore memory_;
  fakes::FaultStore store_;
  std::unique_ptr<trace::TraceLog> log_;
  std::unique_ptr<TraceAssembler> assembler_;
};

TEST_F(TraceAssemblerTest, ARunClosesAQuietPeriodAfterItsRoot) {
  MustStage({Span("a", "2", 2, "second"), Root("a")});
  Advance(kQuiet - absl::Seconds(1));
  MustStage({Span("a", "1", 1, "first")});  // begins the quiet period anew
  Advance(kQuiet - absl::Seconds(1));
  EXPECT_THAT(Steps("a"), ElementsAre("open"));
  EXPECT_EQ(counters().open, 1);
  Advance(absl::Seconds(1));
  EXPECT_THAT(Steps("a"), ElementsAre("first", "second"));
  EXPECT_EQ(Closing("a"), v1::CLOSING_ROOT_ENDED);
  EXPECT_EQ(counters().open, 0);
  EXPECT_EQ(counters().amendable, 1);
  EXPECT_EQ(counters().closed_root_ended, 1);
  EXPECT_EQ(counters().staged, 3);
}

TEST_F(TraceAssemblerTest, ARunIsTheSameInAnyOrderOfItsSpans) {
  const std::vector<v1::Piece> spans = {Root("a"), Span("a", "1", 1, "x"),
                                        Span("a", "2", 2, "y"),
                                        Span("a", "3", 2, "z", "1")};
  std::vector<size_t> order = {0, 1, 2, 3};
  int runs = 0;
  do {
    const std::string id = absl::StrCat("run", runs++);
    for (const size_t i : order) {
      v1::Piece span = spans[i];
      span.set_trace_id(id);
      MustStage({span});  // an export of its own
    }
  } while (std::next_permutation(order.begin(), order.end()));
  Advance(kQuiet);
  for (int i = 0; i < runs; ++i) {
    EXPECT_THAT(Steps(absl::StrCat("run", i)), ElementsAre("x", "y", "z"));
  }
  EXPECT_EQ(runs, 24);
}

TEST_F(TraceAssemblerTest, ASpanSentTwiceIsADuplicate) {
  MustStage({Span("a", "1", 1, "x")});
  ASSERT_OK_AND_ASSIGN(const auto verdicts,
                       Stage({Span("a", "1", 1, "x"), Root("a"), Root("a")}));
  EXPECT_THAT(verdicts, ElementsAre(Verdict::kDuplicate, Verdict::kStaged,
                                    Verdict::kDuplicate));
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
  EXPECT_EQ(counters().duplicates, 2);
  EXPECT_EQ(counters().staged, 2);
}

TEST_F(TraceAssemblerTest, ARunWithoutAnEndHasCrashed) {
  MustStage({Span("a", "1", 1, "x")});
  Advance(kIdle - absl::Seconds(1));
  EXPECT_THAT(Steps("a"), ElementsAre("open"));
  Advance(absl::Seconds(1));
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
  EXPECT_EQ(Closing("a"), v1::CLOSING_IDLE);
  EXPECT_EQ(Find("a")->evaluation().outcome(), v1::OUTCOME_ERROR);
  EXPECT_EQ(counters().closed_idle, 1);
}

TEST_F(TraceAssemblerTest, AMarkClosesARunAtOnce) {
  v1::Piece mark = Span("a", "1", 1, "x");
  mark.set_closes_run(true);
  MustStage({mark});
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
  EXPECT_EQ(Closing("a"), v1::CLOSING_EXPLICIT);
  // What the exporter sends after it makes one replacement, not many.
  MustStage({Span("a", "2", 2, "y")});
  MustStage({Span("a", "3", 3, "z")});
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("x", "y", "z"));
  EXPECT_EQ(log_->LastSequence("p"), 2);
  EXPECT_EQ(Closing("a"), v1::CLOSING_EXPLICIT);
}

TEST_F(TraceAssemblerTest, LatePiecesAmendARun) {
  MustStage({Span("a", "1", 1, "x")});
  Advance(kIdle);
  EXPECT_EQ(Find("a")->evaluation().outcome(), v1::OUTCOME_ERROR);
  MustStage({Root("a"), Span("a", "2", 2, "y")});
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("x", "y"));
  EXPECT_EQ(Closing("a"), v1::CLOSING_ROOT_ENDED);
  EXPECT_EQ(Find("a")->evaluation().outcome(), v1::OUTCOME_UNSPECIFIED);
  ASSERT_OK_AND_ASSIGN(const auto versions, log_->FindVersions("p", "a"));
  EXPECT_THAT(versions, ElementsAre(1, 2));
  EXPECT_EQ(counters().amended, 1);
  EXPECT_EQ(counters().late, 2);
  EXPECT_EQ(counters().amendable, 1);
}

TEST_F(TraceAssemblerTest, ARunThatGoesOnIsAmendedEverMoreRarely) {
  MustStage({Root("a")});
  Advance(kQuiet);
  for (int i = 0; i < 60; ++i) {
    MustStage({Span("a", absl::StrCat("s", i), i, "x")});
    Advance(kQuiet);
  }
  // Waits of 5, 10, 20, ... after each; news begins them anew.
  EXPECT_EQ(counters().amended, 1);
  Advance(kQuiet);
  EXPECT_EQ(counters().amended, 2);
  EXPECT_THAT(Steps("a"), SizeIs(60));
}

TEST_F(TraceAssemblerTest, APieceThatSaysNothingNewMakesNoReplacement) {
  MustStage({Root("a"), Span("a", "1", 1, "x")});
  Advance(kQuiet);
  v1::Piece nothing = Span("a", "2", 1, "");
  nothing.mutable_part()->clear_steps();
  MustStage({nothing});
  Advance(kQuiet);
  EXPECT_EQ(log_->LastSequence("p"), 1);
  EXPECT_EQ(counters().amended, 0);
}

TEST_F(TraceAssemblerTest, AfterTheAmendWindowPiecesAreRefusedAndSpaceIsFree) {
  MustStage({Root("a"), Span("a", "1", 1, "x")});
  Advance(kQuiet);
  Advance(kAmend - absl::Seconds(1));
  EXPECT_EQ(StagedPieces("a"), 2);
  Advance(absl::Seconds(1));
  EXPECT_EQ(StagedPieces("a"), 0);
  EXPECT_EQ(counters().amendable, 0);
  ASSERT_OK_AND_ASSIGN(const auto verdicts, Stage({Span("a", "2", 2, "y")}));
  EXPECT_THAT(verdicts, ElementsAre(Verdict::kClosed));
  EXPECT_EQ(counters().refused, 1);
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
}

TEST_F(TraceAssemblerTest, ATraceThatCameWholeTakesNoPieces) {
  std::vector<v1::LogRecord> records(1);
  records[0].mutable_trace()->set_trace_id("a");
  ASSERT_OK(log_->AppendAndWait("p", records));
  ASSERT_OK_AND_ASSIGN(const auto verdicts, Stage({Root("a"), Root("b")}));
  EXPECT_THAT(verdicts, ElementsAre(Verdict::kClosed, Verdict::kStaged));
  EXPECT_EQ(counters().open, 1);

  // The same, while pieces of that name are open.
  records[0].mutable_trace()->set_trace_id("b");
  ASSERT_OK(log_->AppendAndWait("p", records));
  Advance(kQuiet);
  EXPECT_EQ(Closing("b"), v1::CLOSING_UNSPECIFIED);
  EXPECT_EQ(StagedPieces("b"), 0);
  EXPECT_EQ(counters().lost, 1);
  EXPECT_EQ(log_->LastSequence("p"), 2);
}

TEST_F(TraceAssemblerTest, AStreamClosesWhenNoPieceIsMissing) {
  MustStage({Part("a", 0), Part("a", 3, /*last=*/true), Part("a", 1)});
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("open"));
  MustStage({Part("a", 2)});
  EXPECT_THAT(Steps("a"), ElementsAre("tool0", "tool1", "tool2", "tool3"));
  EXPECT_EQ(Closing("a"), v1::CLOSING_EXPLICIT);
}

TEST_F(TraceAssemblerTest, AStreamWithAGapWaitsForTheIdleTimeout) {
  MustStage({Part("a", 0), Part("a", 2, /*last=*/true)});
  Advance(kIdle);
  EXPECT_THAT(Steps("a"), ElementsAre("tool0", "tool2"));
  EXPECT_EQ(Closing("a"), v1::CLOSING_IDLE);
  EXPECT_EQ(Find("a")->evaluation().outcome(), v1::OUTCOME_ERROR);
  // The gap is filled after all.
  MustStage({Part("a", 1)});
  EXPECT_THAT(Steps("a"), ElementsAre("tool0", "tool1", "tool2"));
  EXPECT_EQ(Closing("a"), v1::CLOSING_EXPLICIT);
}

TEST_F(TraceAssemblerTest, SpansAndStreamsDoNotMix) {
  MustStage({Part("a", 0)});
  ASSERT_OK_AND_ASSIGN(const auto verdicts, Stage({Root("a")}));
  EXPECT_THAT(verdicts, ElementsAre(Verdict::kMixed));
}

TEST_F(TraceAssemblerTest, TooManyOpenRunsCloseTheLongestSilent) {
  Configure(kIdle, 2);
  MustStage({Span("a", "1", 1, "x")});
  clock_.Advance(absl::Seconds(1));
  MustStage({Root("b")});
  clock_.Advance(absl::Seconds(1));
  MustStage({Span("a", "2", 2, "y")});
  MustStage({Span("c", "1", 1, "z")});
  EXPECT_EQ(Closing("b"), v1::CLOSING_ROOT_ENDED);
  MustStage({Span("d", "1", 1, "z")});
  EXPECT_EQ(Closing("a"), v1::CLOSING_EVICTED);
  EXPECT_EQ(Find("a")->evaluation().outcome(), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(counters().open, 2);
  EXPECT_EQ(counters().closed_evicted, 1);
}

TEST_F(TraceAssemblerTest, TooManyClosedRunsForgetTheOldest) {
  Configure(kIdle, 2);
  for (const char* id : {"a", "b", "c", "d"}) {
    v1::Piece mark = Span(id, "1", 1, "x");
    mark.set_closes_run(true);
    MustStage({mark});
    Advance(absl::Seconds(1));
  }
  EXPECT_EQ(counters().amendable, 2);
  EXPECT_EQ(StagedPieces("a"), 0);
  EXPECT_EQ(StagedPieces("d"), 1);
}

TEST_F(TraceAssemblerTest, ARunIsBoundedInPiecesAndBytes) {
  options_.max_pieces = 3;
  options_.max_bytes = 1000;
  Open();
  ASSERT_OK_AND_ASSIGN(const auto many,
                       Stage({Part("a", 0), Part("a", 1), Part("a", 3),
                              Part("a", 2), Part("a", 0)}));
  EXPECT_THAT(many,
              ElementsAre(Verdict::kStaged, Verdict::kStaged, Verdict::kTooMany,
                          Verdict::kStaged, Verdict::kTooMany));
  MustStage({Span("b", "1", 1, std::string(1000, 'x'))});
  ASSERT_OK_AND_ASSIGN(const auto large, Stage({Span("b", "2", 1, "x")}));
  EXPECT_THAT(large, ElementsAre(Verdict::kTooLarge));
  EXPECT_EQ(counters().refused, 3);
}

TEST_F(TraceAssemblerTest, SpansThatTellOfNoAgentMakeNoRun) {
  v1::Piece request = Root("a");
  request.mutable_part()->clear_system();
  MustStage({request});
  Advance(kQuiet);
  EXPECT_EQ(log_->LastSequence("p"), 0);
  EXPECT_EQ(StagedPieces("a"), 0);
  EXPECT_EQ(counters().empty, 1);
  EXPECT_EQ(counters().open, 0);
}

TEST_F(TraceAssemblerTest, GoesOnAfterARestart) {
  MustStage({Span("open", "1", 1, "x")});
  MustStage({Span("ended", "1", 1, "x"), Root("ended")});
  MustStage({Part("stream", 0), Part("stream", 2, /*last=*/true)});
  v1::Piece mark = Span("closed", "1", 1, "x");
  mark.set_closes_run(true);
  MustStage({mark});
  EXPECT_THAT(Steps("closed"), ElementsAre("x"));
  MustStage({Span("closed", "2", 2, "late")});

  Open();
  EXPECT_EQ(counters().open, 3);
  EXPECT_EQ(counters().amendable, 1);
  ASSERT_OK_AND_ASSIGN(const auto again, Stage({Span("open", "1", 1, "x")}));
  EXPECT_THAT(again, ElementsAre(Verdict::kDuplicate));
  MustStage({Part("stream", 1)});
  EXPECT_THAT(Steps("stream"), ElementsAre("tool0", "tool1", "tool2"));
  Advance(kQuiet);
  EXPECT_THAT(Steps("ended"), ElementsAre("x"));
  EXPECT_THAT(Steps("closed"), ElementsAre("x", "late"));
  EXPECT_THAT(Steps("open"), ElementsAre("open"));
  Advance(kIdle);
  EXPECT_EQ(Closing("open"), v1::CLOSING_IDLE);
}

TEST_F(TraceAssemblerTest, ARestartAssemblesNothingTwice) {
  MustStage({Span("idle", "1", 1, "x")});
  Advance(kIdle);
  MustStage({Root("root"), Part("stream", 0, /*last=*/true)});
  Advance(kQuiet);
  ASSERT_EQ(log_->LastSequence("p"), 3);
  for (int i = 0; i < 3; ++i) {
    Open();
    Advance(kIdle);
    EXPECT_EQ(log_->LastSequence("p"), 3);
  }
  EXPECT_EQ(counters().amendable, 3);
  Advance(kAmend);
  EXPECT_EQ(StagedPieces("idle"), 0);
}

TEST_F(TraceAssemblerTest, ACrashBeforeTheRunIsLoggedLosesNothing) {
  MustStage({Span("a", "1", 1, "x"), Root("a")});
  store_.HoldWrites();
  clock_.Advance(kQuiet);
  store_.WaitForHeldWrite();
  store_.FailWrites(0, 2, fakes::FaultStore::Fault::kAfterApplying);
  store_.ReleaseWrites();
  Open(/*start=*/false);
  store_.Crash();
  Open();
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
  EXPECT_EQ(log_->LastSequence("p"), 1);
}

TEST_F(TraceAssemblerTest, ARunThatCannotBeLoggedIsTriedAgain) {
  MustStage({Span("a", "1", 1, "x"), Root("a")});
  store_.HoldWrites();
  store_.FailWrites(0, 1, fakes::FaultStore::Fault::kBeforeApplying);
  clock_.Advance(kQuiet);
  store_.WaitForHeldWrite();
  store_.ReleaseWrites();
  clock_.WaitForWaiters(1);
  Advance(absl::Seconds(1));
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
  EXPECT_EQ(counters().closed_root_ended, 1);
}

TEST_F(TraceAssemblerTest, AFailedCommitStagesNothingAndForgetsTheRun) {
  store_.FailWrites(0, 1, fakes::FaultStore::Fault::kBeforeApplying);
  EXPECT_THAT(Stage({Root("a")}), StatusIs(absl::StatusCode::kInternal, _));
  EXPECT_EQ(counters().open, 0);
  EXPECT_EQ(counters().staged, 0);
  MustStage({Root("a"), Span("a", "1", 1, "x")});
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("x"));
}

TEST_F(TraceAssemblerTest, AFullLogLeavesThePiecesToTheCaller) {
  assembler_.reset();
  auto log =
      trace::TraceLog::Create({.max_pending_bytes = 1}, &store_, &clock_);
  ASSERT_OK(log);
  log_ = *std::move(log);
  assembler_ =
      *TraceAssembler::Create(options_, log_.get(), Settings(), &clock_);
  store_.HoldWrites();
  absl::Notification settled;
  ASSERT_OK(assembler_->Stage(
      "p", {Root("a")},
      [&](const absl::StatusOr<std::vector<Verdict>>&) { settled.Notify(); }));
  store_.WaitForHeldWrite();
  std::vector<v1::Piece> pieces = {Root("b"), Span("b", "1", 1, "x")};
  EXPECT_THAT(assembler_->Stage("p", std::move(pieces), [](const auto&) {}),
              StatusIs(absl::StatusCode::kUnavailable, _));
  // What is refused stays with the caller.
  // NOLINTNEXTLINE(bugprone-use-after-move)
  ASSERT_THAT(pieces, SizeIs(2));
  EXPECT_EQ(pieces[1].part().steps(0).name(), "x");
  EXPECT_EQ(counters().open, 1);
  store_.ReleaseWrites();
  settled.WaitForNotification();
}

TEST_F(TraceAssemblerTest, PiecesAreRefusedWhileTooManyRunsAreDue) {
  options_.max_due = 2;
  Open(/*start=*/false);
  MustStage({Part("a", 0, /*last=*/true)});
  EXPECT_OK(assembler_->CheckRoom("p"));
  MustStage({Part("b", 0, /*last=*/true)});
  const absl::Status refused = assembler_->CheckRoom("p");
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_TRUE(base::GetErrorDetail(refused)->has_retry_delay());
  EXPECT_THAT(Stage({Root("c")}), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_OK(assembler_->CheckRoom("other"));
  Start();
  assembler_->WaitUntilAssembled();
  EXPECT_EQ(log_->LastSequence("p"), 2);
  MustStage({Root("c")});
}

TEST_F(TraceAssemblerTest, AProjectThatCannotBeLoggedYetDelaysNoOther) {
  behind_ = true;
  MustStage({Part("a", 0, /*last=*/true)});
  ASSERT_OK(Stage({Part("b", 0, /*last=*/true)}, "other"));
  while (log_->LastSequence("other") == 0) {
  }
  EXPECT_EQ(log_->LastSequence("p"), 0);
  behind_ = false;
  // As soon as it is tried again.
  while (log_->LastSequence("p") == 0) clock_.Advance(absl::Milliseconds(10));
  assembler_->WaitUntilAssembled();
  EXPECT_EQ(counters().closed_explicit, 1);
}

TEST_F(TraceAssemblerTest, PiecesThatAreNotHeldAreReadAgain) {
  options_.max_held_bytes = 200;  // of one span, not of three
  Open();
  MustStage({Root("a"), Span("a", "2", 2, "second")});
  MustStage({Span("b", "1", 1, "other")});
  MustStage({Span("a", "1", 1, "first"), Root("b")});
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("first", "second"));
  EXPECT_THAT(Steps("b"), ElementsAre("other"));
  // Nothing of these is held any more.
  MustStage({Root("c"), Span("c", "1", 1, "third")});
  Advance(kQuiet);
  EXPECT_THAT(Steps("c"), ElementsAre("third"));
}

TEST_F(TraceAssemblerTest, WhatIsHeldOfADeletedRunIsForgotten) {
  MustStage({Root("a"), Span("a", "1", 1, "x")});
  v1::LogRecord whole;
  whole.mutable_trace()->set_trace_id("a");
  ASSERT_OK(log_->AppendAndWait("p", {whole}));
  ASSERT_OK(log_->Delete("p", {1}, v1::DELETION_REASON_REQUESTED).status());
  assembler_->OnDeletion("p");
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("open")) << "it is not logged";
  EXPECT_EQ(counters().lost, 1);
}

TEST_F(TraceAssemblerTest, ADeletedRunStaysDeleted) {
  MustStage({Root("a"), Span("a", "1", 1, "x")});
  Advance(kQuiet);
  ASSERT_OK_AND_ASSIGN(const uint64_t sequence, log_->FindTrace("p", "a"));
  ASSERT_OK(
      log_->Delete("p", {sequence}, v1::DELETION_REASON_REQUESTED).status());
  MustStage({Span("a", "2", 2, "late")});
  Advance(kQuiet);
  EXPECT_THAT(Steps("a"), ElementsAre("open"));
  EXPECT_EQ(StagedPieces("a"), 0);
  EXPECT_EQ(counters().lost, 1);
  EXPECT_EQ(counters().amendable, 0);
}

TEST_F(TraceAssemblerTest, SettingsTakeEffectOnOpenRuns) {
  MustStage({Span("a", "1", 1, "x")});
  Configure(absl::Seconds(2), 100);
  Advance(absl::Seconds(2));
  EXPECT_EQ(Closing("a"), v1::CLOSING_IDLE);
}

TEST_F(TraceAssemblerTest, TellsWhenRunsWereAssembled) {
  absl::Notification told;
  options_.on_assembled = [&](const std::string& project) {
    EXPECT_EQ(project, "p");
    told.Notify();
  };
  Open();
  MustStage({Part("a", 0, /*last=*/true)});
  told.WaitForNotification();
  EXPECT_THAT(Steps("a"), ElementsAre("tool0"));
}

}  // namespace
}  // namespace faultline::ingest
