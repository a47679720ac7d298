#include "lib/ingest/ingestor.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "lib/base/error_detail.h"
#include "lib/embedding/run.h"
#include "lib/ingest/piece_merge.h"
#include "lib/store/memory_store.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fault_store.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::ingest {
namespace {

using ::faultline::fakes::FaultStore;
using ::faultline::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using EmbedderPtr = std::shared_ptr<const embedding::Embedder>;

v1::Trace MakeTrace(const std::string& id, const std::string& tool,
                    v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED) {
  v1::Trace trace;
  trace.set_trace_id(id);
  trace.mutable_start_time()->set_seconds(1'800'000'000);
  v1::Step* step = trace.add_steps();
  step->set_kind(v1::Step::KIND_TOOL);
  step->set_name(tool);
  trace.mutable_evaluation()->set_outcome(outcome);
  return trace;
}

v1::OutcomeRecord MakeOutcome(const std::string& id, v1::Outcome outcome) {
  v1::OutcomeRecord record;
  record.set_trace_id(id);
  record.mutable_evaluation()->set_outcome(outcome);
  record.mutable_evaluation()->set_evaluator("judge");
  return record;
}

class IngestorTest : public ::testing::Test {
 protected:
  IngestorTest() : faults_(&store_) {
    auto validator = trace::TraceValidator::Create(v1::TraceLimits());
    EXPECT_OK(validator);
    validator_ = std::make_unique<trace::TraceValidator>(*std::move(validator));
    v1::AssemblyConfig& assembly = *settings_.mutable_assembly();
    assembly.mutable_quiet_period()->set_seconds(5);
    assembly.mutable_idle_timeout()->set_seconds(60);
    assembly.mutable_amend_window()->set_seconds(600);
    assembly.set_max_open_runs(100);
    Open();
  }

  Ingestor::Settings Settings() {
    return [this](absl::string_view) {
      return std::make_shared<const v1::ProjectConfig>(settings_);
    };
  }

  // As after a start of the server; the store stays.
  void Open(const trace::TraceLog::Options& log_options = {}) {
    ingestor_.reset();
    auto log = trace::TraceLog::Create(log_options, &faults_, &clock_);
    ASSERT_OK(log);
    log_ = *std::move(log);
    Ingestor::Options options;
    options.index_batch = 3;  // so that a few traces are several batches
    options.max_backlog_bytes = backlog_bytes_;
    options.max_index_lag = max_index_lag_;
    options.checkpoint_directory = checkpoints_.path();
    auto ingestor = Ingestor::Create(options, log_.get(), validator_.get(),
                                     Settings(), &clock_);
    ASSERT_OK(ingestor);
    ingestor_ = *std::move(ingestor);
  }

  absl::Status Replay(EmbedderPtr embedder = nullptr) {
    return ingestor_->Replay([&](absl::string_view) { return embedder; });
  }

  template <typename Element>
  absl::StatusOr<Ingestor::Result> Await(
      absl::Status (Ingestor::*method)(absl::string_view,
                                       std::vector<Element>&&, Ingestor::Done),
      std::vector<Element> elements) {
    absl::StatusOr<Ingestor::Result> result;
    absl::Notification done;
    const absl::Status status = (ingestor_.get()->*method)(
        "p", std::move(elements), [&](absl::StatusOr<Ingestor::Result> r) {
          result = std::move(r);
          done.Notify();
        });
    if (!status.ok()) return status;
    done.WaitForNotification();
    return result;
  }
  absl::StatusOr<Ingestor::Result> Ingest(std::vector<v1::Trace> traces) {
    return Await(&Ingestor::IngestTraces, std::move(traces));
  }
  absl::StatusOr<Ingestor::Result> Stage(std::vector<v1::Piece> pieces) {
    absl::StatusOr<Ingestor::Result> result;
    absl::Notification done;
    const absl::Status status = ingestor_->IngestPieces(
        "p", std::move(pieces), [&](absl::StatusOr<Ingestor::Result> r) {
          result = std::move(r);
          done.Notify();
        });
    if (!status.ok()) return status;
    done.WaitForNotification();
    return result;
  }
  absl::StatusOr<Ingestor::Result> Judge(
      std::vector<v1::OutcomeRecord> outcomes) {
    return Await(&Ingestor::RecordOutcomes, std::move(outcomes));
  }

  // Ids of the runs near `trace`, nearest first.
  std::vector<std::string> Similar(
      const v1::Trace& trace, int k,
      v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED,
      v1::View view = v1::VIEW_TRAJECTORY) {
    ingestor_->WaitUntilIndexed("p");
    const auto similar = ingestor_->FindSimilar("p", trace, view, k, outcome);
    EXPECT_OK(similar);
    std::vector<std::string> ids;
    if (!similar.ok()) return ids;
    for (const Ingestor::Similar& found : *similar) {
      const auto stored = log_->ReadTrace("p", found.sequence);
      EXPECT_OK(stored);
      ids.push_back(stored->trace_id());
    }
    return ids;
  }

  store::MemoryStore store_;
  FaultStore faults_;
  const testing::TempDir checkpoints_;
  size_t backlog_bytes_ = 64 << 20;
  uint64_t max_index_lag_ = 16384;
  fakes::FakeClock clock_;
  v1::ProjectConfig settings_;
  std::unique_ptr<trace::TraceValidator> validator_;
  std::unique_ptr<trace::TraceLog> log_;
  std::unique_ptr<Ingestor> ingestor_;
};

TEST_F(IngestorTest, CountsStoredAndDuplicates) {
  ASSERT_OK_AND_ASSIGN(const auto first,
                       Ingest({MakeTrace("a", "x"), MakeTrace("b", "x")}));
  EXPECT_EQ(first.stored, 2);
  EXPECT_EQ(first.duplicates, 0);
  EXPECT_EQ(first.durable_sequence, 2);
  ASSERT_OK_AND_ASSIGN(const auto second,
                       Ingest({MakeTrace("b", "x"), MakeTrace("c", "x")}));
  EXPECT_EQ(second.stored, 1);
  EXPECT_EQ(second.duplicates, 1);
  EXPECT_EQ(second.durable_sequence, 3);
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 3);
  EXPECT_EQ(ingestor_->GetCounters("p").duplicates, 1);
}

TEST_F(IngestorTest, RefusesABadTraceAlone) {
  v1::Trace bad = MakeTrace("bad", "x");
  bad.clear_start_time();
  ASSERT_OK_AND_ASSIGN(const auto result,
                       Ingest({MakeTrace("a", "x"), bad, MakeTrace("b", "x")}));
  EXPECT_EQ(result.stored, 2);
  ASSERT_THAT(result.refusals, SizeIs(1));
  EXPECT_EQ(result.refusals[0].index, 1);
  EXPECT_EQ(result.refusals[0].trace_id, "bad");
  EXPECT_EQ(result.refusals[0].error.field(), "start_time");
  EXPECT_EQ(ingestor_->GetCounters("p").rejected, 1);
}

TEST_F(IngestorTest, QuotesALongIdWithoutCuttingACharacter) {
  std::string id(127, 'a');
  ASSERT_OK_AND_ASSIGN(const auto result,
                       Ingest({MakeTrace(id + "\u00e9", "x")}));
  ASSERT_THAT(result.refusals, SizeIs(1));
  EXPECT_EQ(result.refusals[0].trace_id, id);
}

TEST_F(IngestorTest, ABatchWithoutAGoodTraceIsAnsweredToo) {
  ASSERT_OK_AND_ASSIGN(const auto result, Ingest({v1::Trace()}));
  EXPECT_EQ(result.stored, 0);
  EXPECT_THAT(result.refusals, SizeIs(1));
  EXPECT_EQ(log_->LastSequence("p"), 0);
}

TEST_F(IngestorTest, RefusesAMalformedProject) {
  const absl::Status status = ingestor_->IngestTraces(
      "Not A Project", {},
      [](const absl::StatusOr<Ingestor::Result>&) { FAIL(); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_TRUE(base::GetErrorDetail(status).has_value());
}

TEST_F(IngestorTest, AFullLogIsUnavailableAndCallsNothing) {
  trace::TraceLog::Options options;
  options.max_pending_bytes = 2000;
  Open(options);
  faults_.HoldWrites();
  absl::Notification committed;
  ASSERT_OK(ingestor_->IngestTraces(
      "p", {MakeTrace("a", std::string(100, 'x'))},
      [&](const absl::StatusOr<Ingestor::Result>&) { committed.Notify(); }));
  faults_.WaitForHeldWrite();
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = ingestor_->IngestTraces(
        "p", {MakeTrace(absl::StrCat(i), std::string(100, 'x'))},
        [](const absl::StatusOr<Ingestor::Result>& result) {
          EXPECT_OK(result);
        });
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_FALSE(committed.HasBeenNotified());
  faults_.ReleaseWrites();
  committed.WaitForNotification();
}

TEST_F(IngestorTest, AFailedCommitIsReported) {
  faults_.FailWrites(0, 1, FaultStore::Fault::kBeforeApplying);
  EXPECT_THAT(Ingest({MakeTrace("a", "x")}),
              StatusIs(absl::StatusCode::kInternal, _));
  ASSERT_OK_AND_ASSIGN(const auto again, Ingest({MakeTrace("a", "x")}));
  EXPECT_EQ(again.stored, 1);
}

TEST_F(IngestorTest, TheFirstCallerEmbeddingFixesTheDimension) {
  const auto with_embedding = [](const std::string& id, int dimension) {
    v1::Trace trace = MakeTrace(id, "x");
    trace.mutable_task()->set_embedding_model("m");
    for (int i = 0; i < dimension; ++i) {
      trace.mutable_task()->add_embedding(1);
    }
    return trace;
  };
  ASSERT_OK_AND_ASSIGN(
      const auto first,
      Ingest({MakeTrace("a", "x"), with_embedding("b", 4),
              with_embedding("c", 5), with_embedding("d", 4)}));
  EXPECT_EQ(first.stored, 3);
  ASSERT_THAT(first.refusals, SizeIs(1));
  EXPECT_EQ(first.refusals[0].error.reason(),
            v1::ErrorDetail::REASON_DIMENSION_MISMATCH);

  Open();
  ASSERT_OK(Replay());
  ASSERT_OK_AND_ASSIGN(const auto second, Ingest({with_embedding("e", 5)}));
  EXPECT_THAT(second.refusals, SizeIs(1));
}

TEST_F(IngestorTest, FindsSimilarRunsWithoutTheQueryItself) {
  ASSERT_OK(Ingest({MakeTrace("a", "search"), MakeTrace("b", "search"),
                    MakeTrace("c", "pay"), MakeTrace("d", "search"),
                    MakeTrace("e", "pay")}));
  EXPECT_THAT(Similar(MakeTrace("c", "pay"), 1), ElementsAre("e"));
  EXPECT_THAT(Similar(MakeTrace("new", "pay"), 2), ElementsAre("c", "e"));
  EXPECT_THAT(Similar(MakeTrace("a", "search"), 10), SizeIs(4));

  v1::Trace partial = MakeTrace("", "pay");
  partial.clear_start_time();
  EXPECT_THAT(Similar(partial, 2), ElementsAre("c", "e"));
}

TEST_F(IngestorTest, ABadQueryIsInvalid) {
  v1::Trace query = MakeTrace("q", "x");
  query.mutable_steps(0)->clear_kind();
  const auto similar = ingestor_->FindSimilar("p", query, {}, 3, {});
  EXPECT_THAT(similar, StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(IngestorTest, AnUnknownProjectHasNoSimilarRuns) {
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 3), IsEmpty());
}

TEST_F(IngestorTest, FiltersSimilarRunsByOutcomeHoweverFarTheyAre) {
  std::vector<v1::Trace> traces;
  traces.reserve(40);
  for (int i = 0; i < 40; ++i) {
    traces.push_back(
        MakeTrace(absl::StrCat("near", i), "search", v1::OUTCOME_PASS));
  }
  traces.push_back(MakeTrace("far", "pay", v1::OUTCOME_FAIL));
  ASSERT_OK(Ingest(std::move(traces)));
  EXPECT_THAT(Similar(MakeTrace("q", "search"), 1, v1::OUTCOME_FAIL),
              ElementsAre("far"));
  EXPECT_EQ(ingestor_->GetCounters("p").failures, 1);
}

TEST_F(IngestorTest, ALaterOutcomeCounts) {
  ASSERT_OK(Judge({MakeOutcome("b", v1::OUTCOME_FAIL)}));
  ASSERT_OK(Ingest({MakeTrace("a", "x"), MakeTrace("b", "x")}));
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 5, v1::OUTCOME_FAIL),
              ElementsAre("b"));
  ASSERT_OK_AND_ASSIGN(const auto result,
                       Judge({MakeOutcome("a", v1::OUTCOME_ERROR),
                              MakeOutcome("b", v1::OUTCOME_FAIL)}));
  EXPECT_EQ(result.stored, 1);
  EXPECT_EQ(result.duplicates, 1);
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 5, v1::OUTCOME_ERROR),
              ElementsAre("a"));
  EXPECT_EQ(ingestor_->GetCounters("p").failures, 2);
}

TEST_F(IngestorTest, AReplacementTakesThePlaceOfItsTraceInTheSpace) {
  const auto replace = [this](const v1::Trace& trace) {
    v1::LogRecord record;
    *record.mutable_replacement() = trace;
    ASSERT_OK(log_->AppendAndWait("p", {record}));
  };
  ASSERT_OK(Ingest({MakeTrace("a", "x", v1::OUTCOME_FAIL), MakeTrace("b", "y"),
                    MakeTrace("c", "y")}));
  ASSERT_OK(Judge({MakeOutcome("b", v1::OUTCOME_FAIL)}));
  // In the same batch of the index, in a later one, and twice.
  replace(MakeTrace("a", "z", v1::OUTCOME_PASS));
  ingestor_->WaitUntilIndexed("p");
  replace(MakeTrace("b", "z", v1::OUTCOME_PASS));
  replace(MakeTrace("b", "w", v1::OUTCOME_PASS));
  for (const bool replayed : {false, true}) {
    SCOPED_TRACE(replayed);
    if (replayed) {
      Open();
      ASSERT_OK(Replay());
    }
    EXPECT_THAT(Similar(MakeTrace("q", "z"), 1), ElementsAre("a"));
    EXPECT_THAT(Similar(MakeTrace("q", "w"), 1), ElementsAre("b"));
    EXPECT_THAT(Similar(MakeTrace("q", "w"), 5), SizeIs(3));
    EXPECT_THAT(Similar(MakeTrace("q", "w"), 5, v1::OUTCOME_FAIL),
                ElementsAre("b"));
    EXPECT_EQ(ingestor_->GetCounters("p").traces, 3);
    EXPECT_EQ(ingestor_->GetCounters("p").failures, 1);
  }
}

TEST_F(IngestorTest, ReplayRebuildsEverything) {
  ASSERT_OK(Ingest({MakeTrace("a", "x", v1::OUTCOME_FAIL), MakeTrace("b", "y"),
                    MakeTrace("c", "x"), MakeTrace("d", "x")}));
  ASSERT_OK(Judge({MakeOutcome("c", v1::OUTCOME_FAIL)}));
  Open();
  EXPECT_EQ(ingestor_->GetCounters("p").indexed, 0);
  ASSERT_OK(Replay());
  const Ingestor::Counters counters = ingestor_->GetCounters("p");
  EXPECT_EQ(counters.traces, 4);
  EXPECT_EQ(counters.failures, 2);
  EXPECT_EQ(counters.indexed, 4);
  EXPECT_EQ(counters.indexed_sequence, 5);
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 3, v1::OUTCOME_FAIL),
              ElementsAre("a", "c"));
}

TEST_F(IngestorTest, ReplayReportsALogThatCannotBeRead) {
  ASSERT_OK(Ingest({MakeTrace("a", "x")}));
  Open();
  faults_.FailReads(0, 1, absl::DataLossError("torn"));
  EXPECT_THAT(Replay(), StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_THAT(ingestor_->FindSimilar("p", MakeTrace("q", "x"), {}, 1, {}),
              StatusIs(absl::StatusCode::kDataLoss, _));
  // The next record gives it another try.
  ASSERT_OK(Ingest({MakeTrace("b", "x")}));
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 5), ElementsAre("a", "b"));
}

TEST_F(IngestorTest, WhatIsAcceptedAndNotIndexedIsBounded) {
  ASSERT_OK(Ingest({MakeTrace("a", "x"), MakeTrace("b", "x")}));
  ingestor_->WaitUntilIndexed("p");
  max_index_lag_ = 3;
  Open();  // nothing is indexed before Replay
  // What the start finds is not counted: the space may be rebuilt for long.
  ASSERT_OK(Ingest({MakeTrace("c", "x"), MakeTrace("d", "x")}));
  ASSERT_OK(Ingest({MakeTrace("e", "x")}));
  std::vector<v1::Trace> late = {MakeTrace("f", "x")};
  const absl::Status refused =
      ingestor_->IngestTraces("p", std::move(late), [](const auto&) {});
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnavailable,
                                HasSubstr("5 records behind")));
  EXPECT_TRUE(base::GetErrorDetail(refused)->has_retry_delay());
  // What is refused stays with the caller.
  // NOLINTNEXTLINE(bugprone-use-after-move)
  ASSERT_THAT(late, SizeIs(1));
  EXPECT_THAT(ingestor_->CheckRoom("p", /*pieces=*/false),
              StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_EQ(ingestor_->GetCounters("p").held, 2);
  EXPECT_OK(ingestor_->CheckRoom("other", /*pieces=*/false));
  ASSERT_OK(Replay());
  ingestor_->WaitUntilIndexed("p");
  ASSERT_OK(Ingest(late));
  EXPECT_EQ(ingestor_->GetCounters("p").held, 2);
}

TEST_F(IngestorTest, WhatIsOnItsWayToTheDiskCountsAsNotIndexed) {
  ASSERT_OK(Ingest({MakeTrace("a", "x")}));
  ingestor_->WaitUntilIndexed("p");
  max_index_lag_ = 2;
  Open();
  ASSERT_OK(Replay());
  faults_.HoldWrites();
  absl::Notification settled;
  ASSERT_OK(ingestor_->IngestTraces(
      "p", {MakeTrace("b", "x"), MakeTrace("c", "x")},
      [&](const absl::StatusOr<Ingestor::Result>&) { settled.Notify(); }));
  EXPECT_THAT(ingestor_->CheckRoom("p", /*pieces=*/false),
              StatusIs(absl::StatusCode::kUnavailable, _));
  faults_.ReleaseWrites();
  settled.WaitForNotification();
  ingestor_->WaitUntilIndexed("p");
  EXPECT_OK(ingestor_->CheckRoom("p", /*pieces=*/false));
}

TEST_F(IngestorTest, WhereIndexingStandsStillCallsAreTaken) {
  ASSERT_OK(Ingest({MakeTrace("a", "x"), MakeTrace("b", "x")}));
  max_index_lag_ = 1;
  Open();
  faults_.FailReads(0, 1, absl::DataLossError("torn"));
  EXPECT_THAT(Replay(), StatusIs(absl::StatusCode::kDataLoss, _));
  // Nothing but a new record sets it going.
  ASSERT_OK(Ingest({MakeTrace("c", "x")}));
  ingestor_->WaitUntilIndexed("p");
  EXPECT_EQ(ingestor_->GetCounters("p").indexed, 3);
}

TEST_F(IngestorTest, ANewEmbedderReplacesTheSpace) {
  std::vector<v1::Trace> traces;
  traces.reserve(20);
  for (int i = 0; i < 20; ++i) {
    traces.push_back(MakeTrace(absl::StrCat("t", i), i % 2 == 0 ? "x" : "y"));
  }
  std::vector<embedding::Run> runs;
  std::vector<const embedding::Run*> pointers;
  runs.reserve(traces.size());
  for (const v1::Trace& trace : traces) {
    runs.push_back(embedding::ExtractRun(trace, nullptr));
  }
  pointers.reserve(runs.size());
  for (const embedding::Run& run : runs) pointers.push_back(&run);
  ASSERT_OK_AND_ASSIGN(EmbedderPtr embedder,
                       embedding::Embedder::Create(
                           {}, embedding::CountCorpus(pointers, nullptr)));

  ASSERT_OK(Ingest(traces));
  ingestor_->WaitUntilIndexed("p");
  EXPECT_EQ(ingestor_->GetCounters("p").embedding_epoch, 0);
  ingestor_->SetEmbedder("p", embedder);
  ASSERT_OK(Ingest({MakeTrace("late", "y")}));
  ingestor_->WaitUntilIndexed("p");
  const Ingestor::Counters counters = ingestor_->GetCounters("p");
  EXPECT_EQ(counters.embedding_epoch, 1);
  EXPECT_EQ(counters.indexed, 21);
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 20), SizeIs(20));

  Open();
  ASSERT_OK(Replay(embedder));
  EXPECT_EQ(ingestor_->GetCounters("p").embedding_epoch, 1);
}

TEST_F(IngestorTest, TracesMayArriveBeforeReplay) {
  ASSERT_OK(Ingest({MakeTrace("a", "x")}));
  Open();
  ASSERT_OK(Ingest({MakeTrace("b", "x")}));
  ASSERT_OK(Replay());
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 5), ElementsAre("a", "b"));
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 2);
}

TEST_F(IngestorTest, TheViewDecidesWhatIsSimilar) {
  v1::Trace other_model = MakeTrace("same-steps", "x");
  other_model.mutable_system()->set_model("large");
  v1::Trace other_steps = MakeTrace("same-model", "y");
  other_steps.mutable_system()->set_model("small");
  v1::Trace query = MakeTrace("q", "x");
  query.mutable_system()->set_model("small");
  ASSERT_OK(Ingest({other_steps, other_model}));
  EXPECT_THAT(Similar(query, 1, v1::OUTCOME_UNSPECIFIED, v1::VIEW_BEHAVIOR),
              ElementsAre("same-steps"));
}

// Many traces in calls of different sizes, some of them twice, judgements and
// changes of settings between them.
class IndexingTest : public IngestorTest {
 protected:
  void IngestMany(int begin, int end) {
    for (int i = begin; i < end;) {
      std::vector<v1::Trace> traces;
      for (const int stop = std::min(end, i + 1 + i % 97); i < stop; ++i) {
        traces.push_back(MakeTrace(
            absl::StrCat("t", i), absl::StrCat("tool-", i % 23 / 10, i % 7),
            i % 3 == 0 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS));
        if (i % 11 == 0) traces.push_back(traces.front());
      }
      ASSERT_OK(Ingest(std::move(traces)));
      ASSERT_OK(
          Judge({MakeOutcome(absl::StrCat("t", i / 2), v1::OUTCOME_FAIL),
                 MakeOutcome(absl::StrCat("t", i + 40), v1::OUTCOME_ERROR)}));
      std::vector<v1::LogRecord> records(1);
      records[0].mutable_config()->set_max_trials(i % 64);
      ASSERT_OK(log_->AppendAndWait("p", records));
    }
  }

  // What the index says.
  std::string Report() {
    ingestor_->WaitUntilIndexed("p");
    const Ingestor::Counters counters = ingestor_->GetCounters("p");
    std::string report = absl::StrCat(
        counters.traces, " traces, ", counters.failures, " failed, ",
        counters.indexed, " indexed up to ", counters.indexed_sequence, ":");
    for (const v1::View view : {v1::VIEW_TRAJECTORY, v1::VIEW_BEHAVIOR}) {
      const auto similar = ingestor_->FindSimilar(
          "p", MakeTrace("q", "tool-13"), view, 300, v1::OUTCOME_FAIL);
      EXPECT_OK(similar);
      for (const Ingestor::Similar& run : *similar) {
        absl::StrAppend(&report, " ", run.sequence, "@", run.distance);
      }
    }
    return report;
  }

  std::string CheckpointFile() const { return checkpoints_.path() + "/p.ckpt"; }
};

TEST_F(IndexingTest, WhatWaitsTooLongIsReadFromTheLog) {
  IngestMany(0, 600);
  const std::string report = Report();
  Open();
  ASSERT_OK(Replay());
  EXPECT_EQ(Report(), report);

  backlog_bytes_ = 1;
  Open();
  ASSERT_OK(Replay());
  IngestMany(600, 900);
  const std::string later = Report();
  EXPECT_NE(later, report);
  Open();
  ASSERT_OK(Replay());
  EXPECT_EQ(Report(), later);
}

TEST_F(IndexingTest, AStartGoesOnFromTheCheckpoint) {
  IngestMany(0, 1200);
  std::string report = Report();
  Open();
  ASSERT_TRUE(std::filesystem::exists(CheckpointFile()));
  // No read of a record that is in the checkpoint but the last.
  const uint64_t watermark = log_->LastSequence("p");
  ASSERT_OK(Replay());
  EXPECT_EQ(ingestor_->GetCounters("p").indexed_sequence, watermark);
  EXPECT_EQ(Report(), report);

  IngestMany(1200, 1300);  // too little for another one
  report = Report();
  const auto written = std::filesystem::last_write_time(CheckpointFile());
  Open();
  EXPECT_EQ(std::filesystem::last_write_time(CheckpointFile()), written);
  ASSERT_OK(Replay());
  EXPECT_EQ(Report(), report);
}

TEST_F(IndexingTest, ADamagedCheckpointIsRemovedAndMadeAgain) {
  IngestMany(0, 1200);
  const std::string report = Report();
  Open();
  std::string bytes;
  {
    std::ifstream file(CheckpointFile(), std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  ASSERT_GT(bytes.size(), 1000);
  for (const size_t at : {size_t{9}, bytes.size() / 2, bytes.size() - 3}) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    std::ofstream(CheckpointFile(), std::ios::binary) << flipped;
    Open();
    ASSERT_OK(Replay());
    EXPECT_FALSE(std::filesystem::exists(CheckpointFile())) << at;
    EXPECT_EQ(Report(), report);
    Open();  // it is made again
    EXPECT_TRUE(std::filesystem::exists(CheckpointFile())) << at;
  }
}

TEST_F(IndexingTest, TheCheckpointOfAnotherLogIsNotTaken) {
  IngestMany(0, 1200);
  ingestor_->WaitUntilIndexed("p");
  Open();
  ASSERT_TRUE(std::filesystem::exists(CheckpointFile()));
  // As long as the log of which it is, a minute later.
  store::MemoryStore store;
  clock_.Advance(absl::Minutes(1));
  ASSERT_OK_AND_ASSIGN(const auto log,
                       trace::TraceLog::Create({}, &store, &clock_));
  std::vector<v1::LogRecord> records(5000);
  for (v1::LogRecord& record : records) record.mutable_config();
  ASSERT_OK(log->AppendAndWait("p", std::move(records)));
  Ingestor::Options options;
  options.checkpoint_directory = checkpoints_.path();
  ASSERT_OK_AND_ASSIGN(const auto ingestor,
                       Ingestor::Create(options, log.get(), validator_.get(),
                                        Settings(), &clock_));
  ASSERT_OK(ingestor->Replay([](absl::string_view) { return nullptr; }));
  EXPECT_FALSE(std::filesystem::exists(CheckpointFile()));
  EXPECT_EQ(ingestor->GetCounters("p").traces, 0);
  EXPECT_EQ(ingestor->GetCounters("p").indexed_sequence, 5000);
}

TEST_F(IndexingTest, AnotherEmbedderIsServedWhileTheRunsAreEmbeddedAgain) {
  IngestMany(0, 1200);
  ingestor_->WaitUntilIndexed("p");
  Open();
  std::vector<embedding::Run> runs = {
      embedding::ExtractRun(MakeTrace("a", "tool-13"), nullptr)};
  ASSERT_OK_AND_ASSIGN(EmbedderPtr embedder,
                       embedding::Embedder::Create(
                           {}, embedding::CountCorpus({&runs[0]}, nullptr)));
  ASSERT_OK(Replay(embedder));  // does not wait
  ingestor_->WaitUntilIndexed("p");
  const Ingestor::Counters counters = ingestor_->GetCounters("p");
  EXPECT_EQ(counters.embedding_epoch, 1);
  EXPECT_EQ(counters.indexed, 1200);
  EXPECT_EQ(counters.traces, 1200);
}

v1::Piece MakePiece(const std::string& id, uint32_t index,
                    const std::string& tool, bool last = false) {
  v1::TracePiece piece;
  piece.set_trace_id(id);
  piece.set_index(index);
  piece.set_last(last);
  *piece.mutable_part() = MakeTrace("", tool);
  return ToPiece(std::move(piece));
}

TEST_F(IngestorTest, ARunInPiecesIsFoundWhenItIsWhole) {
  ASSERT_OK(Replay());
  ASSERT_OK(Ingest({MakeTrace("a", "search"), MakeTrace("b", "pay")}));
  ASSERT_OK_AND_ASSIGN(const auto staged, Stage({MakePiece("run", 0, "pay"),
                                                 MakePiece("run", 0, "pay")}));
  EXPECT_EQ(staged.stored, 1);
  EXPECT_EQ(staged.duplicates, 1);
  ingestor_->WaitUntilAssembled();
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 2);
  EXPECT_EQ(ingestor_->GetCounters("p").assembly.open, 1);
  ASSERT_OK(Stage({MakePiece("run", 1, "pay", /*last=*/true)}));
  ingestor_->WaitUntilAssembled();
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 3);
  EXPECT_EQ(ingestor_->GetCounters("p").assembly.closed_explicit, 1);
  EXPECT_THAT(Similar(MakeTrace("q", "pay"), 2),
              ::testing::UnorderedElementsAre("run", "b"));
}

TEST_F(IngestorTest, AnAmendedRunIsFoundAsItIsNow) {
  ASSERT_OK(Replay());
  ASSERT_OK(Ingest({MakeTrace("a", "search"), MakeTrace("b", "pay")}));
  ASSERT_OK(Stage({MakePiece("run", 0, "search")}));
  clock_.Advance(absl::Seconds(60));
  ingestor_->WaitUntilAssembled();
  EXPECT_THAT(Similar(MakeTrace("q", "search"), 5, v1::OUTCOME_ERROR),
              ElementsAre("run"));
  // Somebody judges it; then the rest of it comes.
  ASSERT_OK(Judge({MakeOutcome("run", v1::OUTCOME_FAIL)}));
  ASSERT_OK(Stage({MakePiece("run", 1, "refund"),
                   MakePiece("run", 2, "refund", /*last=*/true)}));
  ingestor_->WaitUntilAssembled();
  EXPECT_THAT(Similar(MakeTrace("q", "refund"), 1), ElementsAre("run"));
  EXPECT_THAT(Similar(MakeTrace("q", "refund"), 5, v1::OUTCOME_FAIL),
              ElementsAre("run"));
  EXPECT_THAT(Similar(MakeTrace("q", "refund"), 5), SizeIs(3));
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 3);
}

TEST_F(IngestorTest, ARunThatIsDeletedBeforeItIsIndexedIsNotCounted) {
  ASSERT_OK(Replay());
  ASSERT_OK(Ingest({MakeTrace("a", "x"), MakeTrace("b", "x")}));
  Open();  // and nothing is indexed before Replay
  ASSERT_OK(Ingest({MakeTrace("c", "x"), MakeTrace("d", "x")}));
  ASSERT_OK(log_->Delete("p", {1, 3}, v1::DELETION_REASON_REQUESTED));
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 2);
  ASSERT_OK(Replay());
  ingestor_->WaitUntilIndexed("p");
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 2);
  ASSERT_OK(log_->Delete("p", {2}, v1::DELETION_REASON_REQUESTED));
  EXPECT_EQ(ingestor_->GetCounters("p").traces, 1);
}

TEST_F(IngestorTest, AnOutcomeMayComeBeforeTheRunIsWhole) {
  ASSERT_OK(Replay());
  ASSERT_OK(Stage({MakePiece("run", 0, "x")}));
  ASSERT_OK(Judge({MakeOutcome("run", v1::OUTCOME_FAIL)}));
  ASSERT_OK(Stage({MakePiece("run", 1, "x", /*last=*/true)}));
  ingestor_->WaitUntilAssembled();
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 5, v1::OUTCOME_FAIL),
              ElementsAre("run"));
}

// Everything that goes on goes on: timers and quotas look at steady time, and
// the order of records is that of their sequences.
TEST_F(IngestorTest, AWallClockThatJumpsBackLosesAndStallsNothing) {
  ASSERT_OK(Replay());
  settings_.mutable_quota()->set_records_per_second(1);  // so, 10 at once
  ASSERT_OK(Ingest({MakeTrace("a", "x"), MakeTrace("b", "x")}));
  ASSERT_OK(Stage({MakePiece("idle", 0, "x"), MakePiece("marked", 0, "x")}));
  const absl::Time before = clock_.Now();
  clock_.SetWallTime(before - absl::Hours(5));

  // Known is known, new is new, and what was open closes when it is due.
  ASSERT_OK_AND_ASSIGN(const auto again,
                       Ingest({MakeTrace("a", "x"), MakeTrace("c", "x")}));
  EXPECT_EQ(again.duplicates, 1);
  EXPECT_EQ(again.durable_sequence, 3);
  ASSERT_OK(Judge({MakeOutcome("a", v1::OUTCOME_FAIL)}));
  ASSERT_OK_AND_ASSIGN(const auto staged,
                       Stage({MakePiece("marked", 0, "x"),
                              MakePiece("marked", 1, "x", /*last=*/true)}));
  EXPECT_EQ(staged.duplicates, 1);
  EXPECT_THAT(Ingest({MakeTrace("d", "x"), MakeTrace("e", "x")}),
              StatusIs(absl::StatusCode::kResourceExhausted, _));
  clock_.Advance(absl::Seconds(60));
  ingestor_->WaitUntilAssembled();
  ASSERT_OK(Ingest({MakeTrace("d", "x"), MakeTrace("e", "x")}));

  // The same after a start, with the clock still behind.
  Open();
  ASSERT_OK(Replay());
  ingestor_->WaitUntilAssembled();
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 20),
              ::testing::UnorderedElementsAre("a", "b", "c", "d", "e", "idle",
                                              "marked"));
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 20, v1::OUTCOME_FAIL),
              ElementsAre("a"));
  std::vector<uint64_t> sequences;
  std::vector<std::string> ids;
  ASSERT_OK(log_->Scan("p", 1, log_->LastSequence("p"),
                       [&](const v1::LogRecord& record) {
                         sequences.push_back(record.sequence());
                         ids.push_back(record.trace().trace_id());
                         return true;
                       }));
  EXPECT_THAT(sequences, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(ids, ElementsAre("a", "b", "c", "", "marked", "idle", "d", "e"));
  // Amending ends when it would have: the start made them quiet once more.
  for (const int seconds : {5, 600}) {
    clock_.Advance(absl::Seconds(seconds));
    ingestor_->WaitUntilAssembled();
  }
  EXPECT_EQ(ingestor_->GetCounters("p").assembly.amendable, 0);
  ASSERT_OK_AND_ASSIGN(const auto pieces, log_->ReadPieces("p", "idle"));
  EXPECT_THAT(pieces, IsEmpty());
  // Removed is removed, whatever time it was received at.
  ASSERT_OK(log_->Delete("p", {1, 3}, v1::DELETION_REASON_AGE));
  clock_.SetWallTime(before + absl::Hours(5));
  EXPECT_THAT(Similar(MakeTrace("q", "x"), 20),
              ::testing::UnorderedElementsAre("b", "d", "e", "idle", "marked"));
}

TEST_F(IngestorTest, RefusesABadPieceAloneAndSaysWhy) {
  v1::Piece bad = MakePiece("run", 0, "x");
  bad.mutable_part()->mutable_steps(0)->clear_kind();
  ASSERT_OK(Ingest({MakeTrace("whole", "x")}));
  ASSERT_OK_AND_ASSIGN(
      const auto result,
      Stage({MakePiece("run", 1, "x"), bad, MakePiece("whole", 0, "x"),
             MakePiece("run", 16384, "x")}));
  EXPECT_EQ(result.stored, 1);
  ASSERT_THAT(result.refusals, SizeIs(3));
  EXPECT_EQ(result.refusals[0].index, 1);
  EXPECT_EQ(result.refusals[0].error.field(), "part.steps[0].kind");
  EXPECT_EQ(result.refusals[1].index, 2);
  EXPECT_EQ(result.refusals[1].trace_id, "whole");
  EXPECT_EQ(result.refusals[1].error.reason(), v1::ErrorDetail::REASON_CLOSED);
  EXPECT_EQ(result.refusals[2].error.reason(),
            v1::ErrorDetail::REASON_TOO_MANY);
  EXPECT_EQ(ingestor_->GetCounters("p").rejected, 3);
}

TEST_F(IngestorTest, PiecesOfACallThatFindsTheLogFullStayWithTheCaller) {
  trace::TraceLog::Options options;
  options.max_pending_bytes = 1;
  Open(options);
  faults_.HoldWrites();
  absl::Notification settled;
  const auto done = [&](const absl::StatusOr<Ingestor::Result>&) {
    settled.Notify();
  };
  ASSERT_OK(ingestor_->IngestPieces("p", {MakePiece("a", 0, "x")}, done));
  faults_.WaitForHeldWrite();
  std::vector<v1::Piece> pieces = {v1::Piece(), MakePiece("b", 0, "x")};
  EXPECT_THAT(ingestor_->IngestPieces("p", std::move(pieces), done),
              StatusIs(absl::StatusCode::kUnavailable, _));
  // NOLINTNEXTLINE(bugprone-use-after-move)
  ASSERT_THAT(pieces, SizeIs(2));
  EXPECT_EQ(pieces[1].trace_id(), "b");
  EXPECT_THAT(pieces[1].part().steps(), SizeIs(1));
  faults_.ReleaseWrites();
  settled.WaitForNotification();
}

TEST_F(IngestorTest, ABatchOverTheQuotaIsRefusedWholeAndMayComeAgain) {
  settings_.mutable_quota()->set_records_per_second(1);
  std::vector<v1::Trace> burst;
  burst.reserve(10);
  for (int i = 0; i < 10; ++i) {
    burst.push_back(MakeTrace(absl::StrCat("burst", i), "t"));
  }
  ASSERT_OK(Ingest(burst));
  std::vector<v1::Trace> traces = {MakeTrace("a", "t"), MakeTrace("b", "t")};
  const absl::Status refused = ingestor_->IngestTraces(
      "p", std::move(traces), [](const auto&) { FAIL() << "was called"; });
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted,
                                HasSubstr("records_per_second")));
  const auto detail = base::GetErrorDetail(refused);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason(), v1::ErrorDetail::REASON_QUOTA);
  EXPECT_EQ(detail->retry_delay().seconds(), 2);
  // NOLINTNEXTLINE(bugprone-use-after-move)
  ASSERT_EQ(traces.size(), 2) << "it was taken all the same";
  EXPECT_EQ(traces[1].trace_id(), "b");
  EXPECT_THAT(Judge({MakeOutcome("burst1", v1::OUTCOME_FAIL)}),
              StatusIs(absl::StatusCode::kResourceExhausted, _));

  clock_.Advance(absl::Seconds(2));
  ASSERT_OK_AND_ASSIGN(const auto result, Ingest(std::move(traces)));
  EXPECT_EQ(result.stored, 2);
  const Ingestor::Counters counters = ingestor_->GetCounters("p");
  EXPECT_EQ(counters.refused.at(v1::ErrorDetail::REASON_QUOTA), 3);
  EXPECT_EQ(counters.rejected, 0);
}

TEST_F(IngestorTest, StorageIsLimitedByTheQuotaUntilRunsAreDeleted) {
  v1::Trace large = MakeTrace("large", "t");
  large.mutable_task()->set_input(std::string(10'000, 'x'));
  ASSERT_OK(Ingest({large}));
  settings_.mutable_quota()->set_stored_bytes(10'000);
  EXPECT_THAT(Ingest({MakeTrace("a", "t")}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("stored_bytes")));
  ASSERT_OK(log_->Delete("p", {1}, v1::DELETION_REASON_REQUESTED));
  EXPECT_OK(Ingest({MakeTrace("a", "t")}));
}

TEST_F(IngestorTest, AFullLogLeavesTheBatchToTheCaller) {
  Open({.max_pending_bytes = 100});
  ASSERT_OK(Replay());
  faults_.HoldWrites();
  v1::Trace large = MakeTrace("large", "t");
  large.mutable_task()->set_input(std::string(1000, 'x'));
  std::vector<v1::Trace> first = {large};
  absl::Notification done;
  ASSERT_OK(ingestor_->IngestTraces("p", std::move(first),
                                    [&](const auto&) { done.Notify(); }));
  std::vector<v1::Trace> traces = {MakeTrace("a", "t")};
  EXPECT_THAT(
      ingestor_->IngestTraces("p", std::move(traces), [](const auto&) {}),
      StatusIs(absl::StatusCode::kUnavailable, _));
  // NOLINTNEXTLINE(bugprone-use-after-move)
  EXPECT_EQ(traces.size(), 1);
  faults_.ReleaseWrites();
  done.WaitForNotification();
  EXPECT_OK(Ingest(std::move(traces)));
  EXPECT_EQ(ingestor_->GetCounters("p").refused.at(
                v1::ErrorDetail::REASON_OVERLOADED),
            1);
}

TEST_F(IngestorTest, TextsAreHiddenBeforeTheyAreStored) {
  settings_.set_content(v1::CONTENT_POLICY_NONE);
  v1::Trace trace = MakeTrace("a", "t");
  trace.mutable_task()->set_input("a secret");
  ASSERT_OK(Ingest({trace}));
  v1::AnnotationRecord annotation;
  annotation.set_trace_id("a");
  annotation.mutable_annotation()->set_annotator("person");
  annotation.mutable_annotation()->set_note("a secret, too");
  ASSERT_OK(
      Await<v1::AnnotationRecord>(&Ingestor::AnnotateTraces, {annotation}));
  ASSERT_OK_AND_ASSIGN(const v1::LogRecord stored, log_->Read("p", 1));
  EXPECT_EQ(stored.trace().task().input(), "");
  EXPECT_EQ(stored.trace().steps(0).name(), "t");
  ASSERT_OK_AND_ASSIGN(const v1::LogRecord note, log_->Read("p", 2));
  EXPECT_EQ(note.annotation().annotation().note(), "");
}

TEST_F(IngestorTest, EveryRefusalIsListedWithItsSourceAndCounted) {
  v1::Trace bad = MakeTrace("bad", "t");
  bad.set_session_id(std::string(200, 'x'));
  ASSERT_OK(Ingest({MakeTrace("good", "t"), bad}));
  ASSERT_OK(Judge({MakeOutcome("good", v1::OUTCOME_UNSPECIFIED)}));
  ingestor_->AddRejection(
      "p", v1::RECORD_SOURCE_OTLP, "span",
      base::MakeErrorDetail(v1::ErrorDetail::REASON_MALFORMED, "span_id",
                            "8 bytes", "has 3"));
  const auto entries = ingestor_->rejections().List("p", 0, 10);
  ASSERT_EQ(entries.size(), 3);
  EXPECT_EQ(entries[0].record.source(), v1::RECORD_SOURCE_OTLP);
  EXPECT_EQ(entries[1].record.source(), v1::RECORD_SOURCE_OUTCOME);
  EXPECT_EQ(entries[2].record.source(), v1::RECORD_SOURCE_TRACE);
  EXPECT_EQ(entries[2].record.trace_id(), "bad");
  EXPECT_EQ(entries[2].record.error().field(), "session_id");
  const Ingestor::Counters counters = ingestor_->GetCounters("p");
  EXPECT_EQ(counters.rejected, 3);
  EXPECT_EQ(counters.refused.at(v1::ErrorDetail::REASON_TOO_LONG), 1);
}

TEST_F(IngestorTest, WhatWasSampledAndWhatWasRemovedIsCounted) {
  v1::Trace one_of_four = MakeTrace("a", "t");
  one_of_four.set_keep_probability(0.25);
  v1::Trace one_of_two = MakeTrace("b", "t");
  one_of_two.set_keep_probability(0.5);
  ASSERT_OK(Ingest({one_of_four, one_of_two, MakeTrace("c", "t")}));
  ASSERT_OK(log_->Delete("p", {1, 2}, v1::DELETION_REASON_AGE));
  const Ingestor::Counters counters = ingestor_->GetCounters("p");
  EXPECT_EQ(counters.sampled, 2);
  EXPECT_DOUBLE_EQ(counters.unsent, 4);
  EXPECT_EQ(counters.removed.at(v1::DELETION_REASON_AGE), 2);
}

TEST_F(IngestorTest, OutcomesAreTakenBySequence) {
  ASSERT_OK(Replay());
  ASSERT_OK(Ingest({MakeTrace("a", "t", v1::OUTCOME_PASS),
                    MakeTrace("b", "t", v1::OUTCOME_FAIL)}));
  ASSERT_OK(Judge({MakeOutcome("a", v1::OUTCOME_ERROR)}));
  ingestor_->WaitUntilIndexed("p");
  EXPECT_THAT(ingestor_->GetOutcomes("p", {1, 2, 77}),
              ElementsAre(v1::OUTCOME_ERROR, v1::OUTCOME_FAIL,
                          v1::OUTCOME_UNSPECIFIED));
}

}  // namespace
}  // namespace faultline::ingest
