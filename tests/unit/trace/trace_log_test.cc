#include "lib/trace/trace_log.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "lib/base/error_detail.h"
#include "lib/store/memory_store.h"
#include "lib/store/ordered_key.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fault_store.h"
#include "tests/support/status_matchers.h"

namespace faultline::trace {

// Shows in gtest's messages, and compares.
bool operator==(const TraceLog::Appended& a, const TraceLog::Appended& b) {
  return a.sequence == b.sequence && a.duplicate == b.duplicate;
}
void PrintTo(const TraceLog::Appended& appended, std::ostream* out) {
  *out << appended.sequence << (appended.duplicate ? " (duplicate)" : "");
}

namespace {

using ::faultline::fakes::FaultStore;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Appended = TraceLog::Appended;
using Result = absl::StatusOr<std::vector<Appended>>;

v1::LogRecord TraceRecord(const std::string& id, const std::string& type = "") {
  v1::LogRecord record;
  record.mutable_trace()->set_trace_id(id);
  record.mutable_trace()->mutable_task()->set_type(type);
  return record;
}

v1::LogRecord OutcomeRecord(const std::string& trace_id, v1::Outcome outcome,
                            const std::string& evaluator = "judge") {
  v1::LogRecord record;
  record.mutable_outcome()->set_trace_id(trace_id);
  v1::Evaluation* evaluation = record.mutable_outcome()->mutable_evaluation();
  evaluation->set_outcome(outcome);
  evaluation->set_evaluator(evaluator);
  return record;
}

v1::LogRecord AnnotationRecord(const std::string& trace_id,
                               const std::string& mode,
                               const std::string& note) {
  v1::LogRecord record;
  record.mutable_annotation()->set_trace_id(trace_id);
  v1::Annotation* annotation =
      record.mutable_annotation()->mutable_annotation();
  annotation->set_annotator("person");
  annotation->set_failure_mode(mode);
  annotation->set_note(note);
  return record;
}

v1::LogRecord ReplacementRecord(const std::string& id,
                                const std::string& type) {
  v1::LogRecord record;
  record.mutable_replacement()->set_trace_id(id);
  record.mutable_replacement()->mutable_task()->set_type(type);
  return record;
}

v1::Piece MakePiece(const std::string& trace_id, const std::string& id,
                    const std::string& type = "") {
  v1::Piece piece;
  piece.set_trace_id(trace_id);
  piece.set_id(id);
  piece.mutable_part()->mutable_task()->set_type(type);
  return piece;
}

std::vector<v1::LogRecord> Traces(const std::vector<std::string>& ids) {
  std::vector<v1::LogRecord> records;
  records.reserve(ids.size());
  for (const std::string& id : ids) records.push_back(TraceRecord(id));
  return records;
}

constexpr Appended Fresh(uint64_t sequence) { return {sequence, false}; }
constexpr Appended Duplicate(uint64_t sequence) { return {sequence, true}; }

class TraceLogTest : public ::testing::Test {
 protected:
  TraceLogTest() { Open(); }

  // Closes the log, where one is open, and opens it on the same store.
  void Open(const TraceLog::Options& options = {}) {
    log_.reset();
    auto log = TraceLog::Create(options, &store_, &clock_);
    ASSERT_OK(log);
    log_ = *std::move(log);
  }

  Result Append(std::vector<v1::LogRecord> records,
                const std::string& project = "p") {
    return log_->AppendAndWait(project, std::move(records));
  }

  std::vector<Appended> MustAppend(std::vector<v1::LogRecord> records,
                                   const std::string& project = "p") {
    Result result = Append(std::move(records), project);
    EXPECT_OK(result);
    return result.ok() ? *std::move(result) : std::vector<Appended>();
  }

  // `sequence:id` of each record of a scan.
  std::vector<std::string> Scan(uint64_t first = 0, uint64_t last = UINT64_MAX,
                                const std::string& project = "p") {
    std::vector<std::string> records;
    EXPECT_OK(log_->Scan(project, first, last, [&](const v1::LogRecord& r) {
      records.push_back(absl::StrCat(r.sequence(), ":", r.trace().trace_id()));
      return true;
    }));
    return records;
  }

  // Verdicts on the pieces: whether each is a duplicate.
  absl::StatusOr<std::vector<bool>> Stage(std::vector<v1::Piece> pieces,
                                          const std::string& project = "p") {
    Result result;
    absl::Notification settled;
    const absl::Status status = log_->AppendPieces(
        project, absl::MakeSpan(pieces), [&](Result appended) {
          result = std::move(appended);
          settled.Notify();
        });
    if (!status.ok()) return status;
    settled.WaitForNotification();
    if (!result.ok()) return result.status();
    std::vector<bool> duplicates;
    for (const Appended& appended : *result) {
      EXPECT_EQ(appended.sequence, 0);
      duplicates.push_back(appended.duplicate);
    }
    return duplicates;
  }

  // `id:task type` of the staged pieces of a run.
  std::vector<std::string> Pieces(const std::string& trace_id,
                                  const std::string& project = "p") {
    std::vector<std::string> found;
    const auto pieces = log_->ReadPieces(project, trace_id);
    EXPECT_OK(pieces);
    if (!pieces.ok()) return found;
    for (const v1::Piece& piece : *pieces) {
      found.push_back(
          absl::StrCat(piece.id(), ":", piece.part().task().type()));
    }
    return found;
  }

  // `project/trace/id` of every staged piece.
  std::vector<std::string> AllPieces() {
    std::vector<std::string> found;
    EXPECT_OK(log_->ScanPieces(
        [&](absl::string_view project, const v1::Piece& piece) {
          found.push_back(
              absl::StrCat(project, "/", piece.trace_id(), "/", piece.id()));
        }));
    return found;
  }

  fakes::FakeClock clock_;
  store::MemoryStore memory_;
  FaultStore store_{&memory_};
  std::unique_ptr<TraceLog> log_;
};

// What the log's callbacks did, in order.
class Journal {
 public:
  void Add(const std::string& event) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    events_.push_back(event);
  }

  std::vector<std::string> events() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return events_;
  }

  void WaitFor(size_t count) const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return events_.size() >= count;
    };
    mutex_.Await(absl::Condition(&enough));
  }

  // Notes the records of a commit.
  TraceLog::Observer Observer() {
    return [this](absl::string_view project,
                  const std::vector<TraceLog::News>& news) {
      std::string event = absl::StrCat("observed ", project);
      for (const TraceLog::News& record : news) {
        absl::StrAppend(&event, " ", record.sequence);
        if (record.removed > 0) {
          absl::StrAppend(&event, " removed ", record.removed);
        }
      }
      Add(event);
    };
  }

  // Notes the end of a call.
  TraceLog::Done Done(const std::string& name) {
    return [this, name](const Result& result) {
      std::string event = absl::StrCat("done ", name);
      if (!result.ok()) absl::StrAppend(&event, " failed");
      if (result.ok()) {
        for (const Appended& appended : *result) {
          absl::StrAppend(&event, " ", ::testing::PrintToString(appended));
        }
      }
      Add(event);
    };
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
};

template <typename... Sequences>
auto HoldsVersions(Sequences... sequences) {
  return ::testing::ResultOf(
      [](const absl::StatusOr<std::vector<uint64_t>>& found) {
        return found.value_or(std::vector<uint64_t>());
      },
      ElementsAre(sequences...));
}

template <typename... Duplicates>
auto HoldsDuplicates(Duplicates... duplicates) {
  return ::testing::ResultOf(
      [](const absl::StatusOr<std::vector<bool>>& found) {
        return found.value_or(std::vector<bool>());
      },
      ElementsAre(duplicates...));
}

TEST_F(TraceLogTest, NumbersTheRecordsOfEachProjectFromOne) {
  EXPECT_THAT(MustAppend(Traces({"a", "b"})), ElementsAre(Fresh(1), Fresh(2)));
  EXPECT_THAT(MustAppend(Traces({"a"}), "q"), ElementsAre(Fresh(1)));
  EXPECT_THAT(MustAppend(Traces({"c"})), ElementsAre(Fresh(3)));
  EXPECT_EQ(log_->LastSequence("p"), 3);
  EXPECT_EQ(log_->LastSequence("q"), 1);
  EXPECT_EQ(log_->LastSequence("none"), 0);
  EXPECT_THAT(log_->Projects(), ElementsAre("p", "q"));
}

TEST_F(TraceLogTest, AStoredTraceIsADuplicateWhateverItHolds) {
  MustAppend(Traces({"a", "b"}));
  EXPECT_THAT(MustAppend({TraceRecord("b", "other"), TraceRecord("c")}),
              ElementsAre(Duplicate(2), Fresh(3)));
  EXPECT_THAT(Scan(), ElementsAre("1:a", "2:b", "3:c"));
  ASSERT_OK_AND_ASSIGN(const v1::LogRecord kept, log_->Read("p", 2));
  EXPECT_EQ(kept.trace().task().type(), "");
}

TEST_F(TraceLogTest, ATraceTwiceInOneCallIsStoredOnce) {
  EXPECT_THAT(MustAppend(Traces({"a", "b", "a"})),
              ElementsAre(Fresh(1), Fresh(2), Duplicate(1)));
  EXPECT_THAT(Scan(), ElementsAre("1:a", "2:b"));
}

TEST_F(TraceLogTest, IdsOfDifferentProjectsAndKindsAreApart) {
  MustAppend(Traces({"a"}));
  EXPECT_THAT(MustAppend(Traces({"a"}), "pa"), ElementsAre(Fresh(1)));
  EXPECT_THAT(MustAppend({OutcomeRecord("a", v1::OUTCOME_FAIL, "")}),
              ElementsAre(Fresh(2)));
}

TEST_F(TraceLogTest, AnOutcomeIsADuplicateOnlyWithEqualContent) {
  const auto fail = OutcomeRecord("a", v1::OUTCOME_FAIL);
  const auto pass = OutcomeRecord("a", v1::OUTCOME_PASS);
  EXPECT_THAT(MustAppend({fail}), ElementsAre(Fresh(1)));
  EXPECT_THAT(MustAppend({fail}), ElementsAre(Duplicate(1)));
  EXPECT_THAT(MustAppend({pass}), ElementsAre(Fresh(2)));
  EXPECT_THAT(MustAppend({pass}), ElementsAre(Duplicate(2)));
  // Back to the first judgement: a change again.
  EXPECT_THAT(MustAppend({fail}), ElementsAre(Fresh(3)));
  EXPECT_THAT(MustAppend({OutcomeRecord("a", v1::OUTCOME_FAIL, "other judge"),
                          OutcomeRecord("b", v1::OUTCOME_FAIL)}),
              ElementsAre(Fresh(4), Fresh(5)));
}

TEST_F(TraceLogTest, TheOrderOfAMapIsNotContent) {
  v1::LogRecord one = OutcomeRecord("a", v1::OUTCOME_FAIL);
  v1::LogRecord two = one;
  auto& first = *one.mutable_outcome()->mutable_evaluation()->mutable_signals();
  auto& second =
      *two.mutable_outcome()->mutable_evaluation()->mutable_signals();
  for (int i = 0; i < 40; ++i) {
    first[absl::StrCat("s", i)] = i;
    second[absl::StrCat("s", 39 - i)] = 39 - i;
  }
  EXPECT_THAT(MustAppend({one, two}), ElementsAre(Fresh(1), Duplicate(1)));
}

TEST_F(TraceLogTest, AnAnnotationIsADuplicateOnlyWithEqualContent) {
  EXPECT_THAT(
      MustAppend(
          {AnnotationRecord("a", "m", "x"), AnnotationRecord("a", "m", "x"),
           AnnotationRecord("a", "m", "y"), AnnotationRecord("a", "n", "y")}),
      ElementsAre(Fresh(1), Duplicate(1), Fresh(2), Fresh(3)));
}

TEST_F(TraceLogTest, ReviewsAndSettingsAreNeverDuplicates) {
  v1::LogRecord review;
  review.mutable_review();
  v1::LogRecord config;
  config.mutable_config()->set_seed(7);
  EXPECT_THAT(MustAppend({review, review, config, config}),
              ElementsAre(Fresh(1), Fresh(2), Fresh(3), Fresh(4)));
}

TEST_F(TraceLogTest, AReplacementTakesOverTheIdOfItsTrace) {
  MustAppend(Traces({"a", "b"}));
  EXPECT_THAT(MustAppend({ReplacementRecord("a", "x")}), ElementsAre(Fresh(3)));
  ASSERT_OK_AND_ASSIGN(const uint64_t sequence, log_->FindTrace("p", "a"));
  EXPECT_EQ(sequence, 3);
  EXPECT_THAT(MustAppend(Traces({"a"})), ElementsAre(Duplicate(3)));
  ASSERT_OK_AND_ASSIGN(const v1::Trace read, log_->ReadTrace("p", 3));
  EXPECT_EQ(read.task().type(), "x");
  EXPECT_EQ(log_->LastSequence("p"), 3);
  MustAppend({OutcomeRecord("a", v1::OUTCOME_FAIL)});
  EXPECT_THAT(log_->ReadTrace("p", 4),
              testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("4")));
}

TEST_F(TraceLogTest, AReplacementIsADuplicateOnlyOfTheOneBefore) {
  EXPECT_THAT(
      MustAppend({TraceRecord("a"), ReplacementRecord("a", "x"),
                  ReplacementRecord("a", "x"), ReplacementRecord("a", "y"),
                  ReplacementRecord("a", "x")}),
      ElementsAre(Fresh(1), Fresh(2), Duplicate(2), Fresh(3), Fresh(4)));
  Open();
  EXPECT_THAT(MustAppend({ReplacementRecord("a", "x")}),
              ElementsAre(Duplicate(4)));
}

TEST_F(TraceLogTest, AReplacementOfNothingIsNotStored) {
  Journal journal;
  log_->SetObserver(journal.Observer());
  EXPECT_THAT(MustAppend({ReplacementRecord("a", "x"), TraceRecord("b")}),
              ElementsAre(Fresh(0), Fresh(1)));
  EXPECT_THAT(Scan(), ElementsAre("1:b"));
  EXPECT_THAT(journal.events(), ElementsAre("observed p 1"));
}

TEST_F(TraceLogTest, KnowsEveryVersionOfATrace) {
  MustAppend({TraceRecord("a"), TraceRecord("b"), ReplacementRecord("a", "x"),
              ReplacementRecord("a", "y")});
  EXPECT_THAT(log_->FindVersions("p", "a"), HoldsVersions(1, 3, 4));
  EXPECT_THAT(log_->FindVersions("p", "b"), HoldsVersions(2));
  EXPECT_THAT(log_->FindVersions("p", "c"),
              testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("c")));
}

TEST_F(TraceLogTest, PiecesAreKeptByRunInTheOrderOfTheirIds) {
  EXPECT_THAT(Stage({MakePiece("a", "2", "two"), MakePiece("b", "1", "other"),
                     MakePiece("a", "1", "one")}),
              HoldsDuplicates(false, false, false));
  EXPECT_OK(Stage({MakePiece("a", "1", "elsewhere")}, "q"));
  EXPECT_THAT(Pieces("a"), ElementsAre("1:one", "2:two"));
  EXPECT_THAT(Pieces("none"), IsEmpty());
  EXPECT_THAT(AllPieces(), ElementsAre("p/a/1", "p/a/2", "p/b/1", "q/a/1"));
  // They are no records.
  EXPECT_EQ(log_->LastSequence("p"), 0);
  EXPECT_THAT(log_->Projects(), IsEmpty());
  Open();
  EXPECT_THAT(AllPieces(), SizeIs(4));
}

TEST_F(TraceLogTest, APieceIsADuplicateByItsId) {
  ASSERT_OK(Stage({MakePiece("a", "1", "one")}));
  EXPECT_THAT(Stage({MakePiece("a", "1", "other"), MakePiece("a", "2", "two"),
                     MakePiece("a", "2", "again")}),
              HoldsDuplicates(true, false, true));
  EXPECT_THAT(Pieces("a"), ElementsAre("1:one", "2:two"));
}

TEST_F(TraceLogTest, PiecesCarryTheirReceiveTime) {
  clock_.SetWallTime(absl::FromUnixSeconds(1'800'000'007));
  ASSERT_OK(Stage({MakePiece("a", "1")}));
  ASSERT_OK_AND_ASSIGN(const auto pieces, log_->ReadPieces("p", "a"));
  ASSERT_THAT(pieces, SizeIs(1));
  EXPECT_EQ(pieces[0].receive_time().seconds(), 1'800'000'007);
}

TEST_F(TraceLogTest, APieceWithoutAnIdIsRefused) {
  EXPECT_THAT(Stage({MakePiece("a", "")}),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(Stage({MakePiece("", "1")}),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(TraceLogTest, DropsThePiecesOfRuns) {
  ASSERT_OK(Stage({MakePiece("a", "1"), MakePiece("a", "2"),
                   MakePiece("ab", "1"), MakePiece("b", "1")}));
  ASSERT_OK(log_->DropPiecesAndWait("p", {"a", "b", "none"}));
  EXPECT_THAT(AllPieces(), ElementsAre("p/ab/1"));
  EXPECT_THAT(Stage({MakePiece("a", "1")}), HoldsDuplicates(false));
  ASSERT_OK(log_->DropPiecesAndWait("p", {}));
}

TEST_F(TraceLogTest, PiecesAndRecordsShareACommit) {
  Journal journal;
  store_.HoldWrites();
  ASSERT_OK(log_->Append("p", Traces({"a"}), journal.Done("1")));
  store_.WaitForHeldWrite();
  std::vector<v1::Piece> pieces = {MakePiece("b", "1")};
  ASSERT_OK(log_->AppendPieces("p", absl::MakeSpan(pieces), journal.Done("2")));
  ASSERT_OK(log_->Append("p", Traces({"c"}), journal.Done("3")));
  ASSERT_OK(log_->AppendPieces("p", absl::MakeSpan(pieces), journal.Done("4")));
  store_.ReleaseWrites();
  journal.WaitFor(4);
  EXPECT_THAT(journal.events(), ElementsAre("done 1 1", "done 2 0", "done 3 2",
                                            "done 4 0 (duplicate)"));
  EXPECT_EQ(store_.writes(), 2);
}

TEST_F(TraceLogTest, RecordsComeBackWholeWithTheirReceiveTime) {
  clock_.SetWallTime(absl::FromUnixNanos(1'800'000'001'000'000'002));
  v1::LogRecord record = TraceRecord("a", "qa");
  record.set_sequence(99);  // the log's to give
  MustAppend({record});
  ASSERT_OK_AND_ASSIGN(const v1::LogRecord read, log_->Read("p", 1));
  EXPECT_EQ(read.sequence(), 1);
  EXPECT_EQ(read.receive_time().seconds(), 1'800'000'001);
  EXPECT_EQ(read.receive_time().nanos(), 2);
  EXPECT_EQ(read.trace().SerializeAsString(),
            record.trace().SerializeAsString());
  EXPECT_THAT(log_->Read("p", 2),
              testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("2")));
  EXPECT_THAT(log_->Read("p", 0),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(TraceLogTest, ScansARangeAndStopsWhenTold) {
  MustAppend(Traces({"a", "b", "c", "d"}));
  EXPECT_THAT(Scan(2, 3), ElementsAre("2:b", "3:c"));
  EXPECT_THAT(Scan(4, 9), ElementsAre("4:d"));
  EXPECT_THAT(Scan(5, 9), IsEmpty());
  EXPECT_THAT(Scan(3, 2), IsEmpty());
  EXPECT_THAT(Scan(0, UINT64_MAX, "none"), IsEmpty());
  int visits = 0;
  EXPECT_OK(log_->Scan("p", 1, 4,
                       [&](const v1::LogRecord&) { return ++visits < 2; }));
  EXPECT_EQ(visits, 2);
}

TEST_F(TraceLogTest, FindsATraceBySequence) {
  MustAppend(Traces({"a", "b"}));
  ASSERT_OK_AND_ASSIGN(const uint64_t sequence, log_->FindTrace("p", "b"));
  EXPECT_EQ(sequence, 2);
  EXPECT_THAT(log_->FindTrace("p", "c"),
              testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("c")));
  EXPECT_THAT(log_->FindTrace("q", "b"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(TraceLogTest, MissingAndDamagedRecordsAreDataLoss) {
  MustAppend(Traces({"a", "b", "c"}));
  const auto key = [](uint64_t sequence) {
    std::string bytes;
    store::AppendText("p", &bytes);
    store::AppendNumber(sequence, &bytes);
    return bytes;
  };
  const auto visit = [](const v1::LogRecord&) { return true; };
  store::WriteBatch damage;
  damage.Put(store::Family::kLog, key(2), "\xff\xff");
  ASSERT_OK(store_.Write(damage, /*sync=*/true));
  EXPECT_THAT(log_->Scan("p", 1, 3, visit),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("2")));
  EXPECT_THAT(log_->Read("p", 2),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("2")));

  store::WriteBatch loss;
  loss.Delete(store::Family::kLog, key(2));
  loss.Delete(store::Family::kLog, key(3));
  ASSERT_OK(store_.Write(loss, /*sync=*/true));
  EXPECT_THAT(log_->Scan("p", 1, 3, visit),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("2")));
  EXPECT_THAT(log_->Scan("p", 3, 3, visit),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("3")));
}

TEST_F(TraceLogTest, GoesOnWhereItStoppedWhenOpenedAgain) {
  MustAppend(Traces({"a", "b"}));
  MustAppend(Traces({"x"}), "pq");
  MustAppend({OutcomeRecord("a", v1::OUTCOME_FAIL)});
  Open();
  EXPECT_THAT(log_->Projects(), ElementsAre("p", "pq"));
  EXPECT_EQ(log_->LastSequence("p"), 3);
  EXPECT_EQ(log_->LastSequence("pq"), 1);
  EXPECT_THAT(MustAppend({TraceRecord("b"), TraceRecord("c"),
                          OutcomeRecord("a", v1::OUTCOME_FAIL)}),
              ElementsAre(Duplicate(2), Fresh(4), Duplicate(3)));
}

TEST_F(TraceLogTest, AnEmptyCallIsAnswered) {
  EXPECT_THAT(MustAppend({}), IsEmpty());
  EXPECT_EQ(store_.writes(), 0);
  EXPECT_THAT(log_->Projects(), IsEmpty());
}

TEST_F(TraceLogTest, ARecordWithoutPayloadIsRefused) {
  EXPECT_THAT(Append({TraceRecord("a"), v1::LogRecord()}),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("payload")));
  EXPECT_THAT(Scan(), IsEmpty());
}

TEST_F(TraceLogTest, OptionsOfZeroAreRefused) {
  EXPECT_THAT(TraceLog::Create({.max_commit_records = 0}, &store_, &clock_),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("max_commit_records")));
}

TEST_F(TraceLogTest, CallsThatWaitTogetherShareOneCommit) {
  Journal journal;
  log_->SetObserver(journal.Observer());
  store_.HoldWrites();
  ASSERT_OK(log_->Append("p", Traces({"a"}), journal.Done("1")));
  store_.WaitForHeldWrite();
  ASSERT_OK(log_->Append("p", Traces({"b", "a"}), journal.Done("2")));
  ASSERT_OK(log_->Append("q", Traces({"a"}), journal.Done("3")));
  ASSERT_OK(log_->Append("p", Traces({"b", "c"}), journal.Done("4")));
  // Nothing is durable, so nothing is reported: not even a duplicate.
  EXPECT_THAT(journal.events(), IsEmpty());
  EXPECT_EQ(log_->LastSequence("p"), 0);
  EXPECT_THAT(log_->FindTrace("p", "a"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
  store_.ReleaseWrites();
  journal.WaitFor(7);
  EXPECT_THAT(journal.events(),
              ElementsAre("observed p 1", "done 1 1",  //
                          "observed q 1", "observed p 2 3", "done 3 1",
                          "done 2 2 1 (duplicate)", "done 4 2 (duplicate) 3"));
  EXPECT_EQ(store_.writes(), 2);
}

TEST_F(TraceLogTest, ACommitIsBoundedButACallIsNeverSplit) {
  Journal journal;
  Open({.max_commit_records = 2});
  store_.HoldWrites();
  ASSERT_OK(log_->Append("p", Traces({"a"}), journal.Done("1")));
  store_.WaitForHeldWrite();
  ASSERT_OK(log_->Append("p", Traces({"b"}), journal.Done("2")));
  ASSERT_OK(log_->Append("p", Traces({"c"}), journal.Done("3")));
  ASSERT_OK(log_->Append("p", Traces({"d", "e", "f"}), journal.Done("4")));
  store_.ReleaseWrites();
  journal.WaitFor(4);
  EXPECT_EQ(store_.writes(), 3);  // a; b c; d e f
  EXPECT_THAT(Scan(), SizeIs(6));
}

TEST_F(TraceLogTest, ACommitIsBoundedInBytes) {
  Journal journal;
  Open({.max_commit_bytes = 100});
  store_.HoldWrites();
  ASSERT_OK(log_->Append("p", Traces({"a"}), journal.Done("1")));
  store_.WaitForHeldWrite();
  for (const char* id : {"b", "c"}) {
    ASSERT_OK(log_->Append("p", {TraceRecord(id, std::string(90, 'x'))},
                           journal.Done(id)));
  }
  store_.ReleaseWrites();
  journal.WaitFor(3);
  EXPECT_EQ(store_.writes(), 3);
}

TEST_F(TraceLogTest, IsFullUntilACommitMakesRoom) {
  Journal journal;
  Open({.max_pending_bytes = 10});
  store_.HoldWrites();
  ASSERT_OK(
      log_->Append("p", {TraceRecord("a", "enough bytes")}, journal.Done("1")));
  store_.WaitForHeldWrite();
  const absl::Status refused =
      log_->Append("p", Traces({"b"}), journal.Done("2"));
  EXPECT_THAT(refused, testing::StatusIs(absl::StatusCode::kUnavailable,
                                         HasSubstr("bytes of this project")));
  const auto detail = base::GetErrorDetail(refused);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason(), v1::ErrorDetail::REASON_OVERLOADED);
  EXPECT_TRUE(detail->has_retry_delay());
  store_.ReleaseWrites();
  journal.WaitFor(1);
  EXPECT_THAT(MustAppend(Traces({"b"})), ElementsAre(Fresh(2)));
  EXPECT_THAT(journal.events(), ElementsAre("done 1 1"));
}

TEST_F(TraceLogTest, AProjectDoesNotQueueBehindOneThatFloodsTheLog) {
  Journal journal;
  Open({.max_commit_bytes = 200'000});
  store_.HoldWrites();
  ASSERT_OK(log_->Append("flood", Traces({"a"}), journal.Done("a")));
  store_.WaitForHeldWrite();
  for (const char* id : {"b", "c", "d", "e", "f", "g"}) {
    ASSERT_OK(log_->Append("flood", {TraceRecord(id, std::string(50'000, 'x'))},
                           journal.Done(id)));
  }
  ASSERT_OK(log_->Append("p", Traces({"a", "b"}), journal.Done("p1")));
  ASSERT_OK(log_->Append("p", Traces({"c"}), journal.Done("p2")));
  store_.ReleaseWrites();
  journal.WaitFor(9);
  // Who comes now and then goes first, and each project's own order stays.
  EXPECT_THAT(
      journal.events(),
      ElementsAre("done a 1", "done p1 1 2", "done p2 3", "done b 2",
                  "done c 3", "done d 4", "done e 5", "done f 6", "done g 7"));
}

TEST_F(TraceLogTest, OnlyTheProjectThatFillsTheBufferIsRefused) {
  Journal journal;
  Open({.max_pending_bytes = 10'000});
  store_.HoldWrites();
  ASSERT_OK(log_->Append("flood", {TraceRecord("a", std::string(5'000, 'x'))},
                         journal.Done("1")));
  store_.WaitForHeldWrite();
  EXPECT_THAT(log_->CheckRoom("flood"),
              testing::StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_OK(log_->CheckRoom("p"));
  EXPECT_THAT(log_->Append("flood", Traces({"b"}), journal.Done("2")),
              testing::StatusIs(absl::StatusCode::kUnavailable, _));
  // A second one gets half of what is left, and so on.
  ASSERT_OK(log_->Append("p", {TraceRecord("a", std::string(2'500, 'x'))},
                         journal.Done("3")));
  EXPECT_THAT(log_->Append("p", Traces({"b"}), journal.Done("4")),
              testing::StatusIs(absl::StatusCode::kUnavailable, _));
  ASSERT_OK(log_->Append("q", Traces({"a"}), journal.Done("5")));
  store_.ReleaseWrites();
  journal.WaitFor(3);
  EXPECT_THAT(journal.events(),
              ElementsAre("done 1 1", "done 5 1", "done 3 1"));
  EXPECT_THAT(MustAppend(Traces({"b"}), "flood"), ElementsAre(Fresh(2)));
}

TEST_F(TraceLogTest, TheDestructorCommitsWhatWasAccepted) {
  Journal journal;
  store_.HoldWrites();
  ASSERT_OK(log_->Append("p", Traces({"a"}), journal.Done("1")));
  store_.WaitForHeldWrite();
  ASSERT_OK(log_->Append("p", Traces({"b"}), journal.Done("2")));
  std::thread closer([this] { log_.reset(); });
  store_.ReleaseWrites();
  closer.join();
  EXPECT_THAT(journal.events(), ElementsAre("done 1 1", "done 2 2"));
  Open();
  EXPECT_THAT(Scan(), ElementsAre("1:a", "2:b"));
}

// A failed commit, whether or not the store applied it, and then a good one.
class FailedCommitTest
    : public TraceLogTest,
      public ::testing::WithParamInterface<FaultStore::Fault> {};

INSTANTIATE_TEST_SUITE_P(Faults, FailedCommitTest,
                         ::testing::Values(FaultStore::Fault::kBeforeApplying,
                                           FaultStore::Fault::kAfterApplying),
                         [](const auto& tested) {
                           return tested.param ==
                                          FaultStore::Fault::kBeforeApplying
                                      ? "BeforeApplying"
                                      : "AfterApplying";
                         });

TEST_P(FailedCommitTest, StoresNothingAndTheRetryWorks) {
  MustAppend(Traces({"a"}));
  Journal journal;
  log_->SetObserver(journal.Observer());
  store_.FailWrites(0, 1, GetParam(), absl::ResourceExhaustedError("full"));
  EXPECT_THAT(Append(Traces({"b", "c"})),
              testing::StatusIs(absl::StatusCode::kResourceExhausted, "full"));
  EXPECT_EQ(log_->LastSequence("p"), 1);
  EXPECT_THAT(Scan(), ElementsAre("1:a"));
  EXPECT_THAT(log_->Read("p", 2),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(log_->FindTrace("p", "b"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(journal.events(), IsEmpty());

  // Other traces take the sequences; the failed ones are not known.
  EXPECT_THAT(MustAppend(Traces({"d"})), ElementsAre(Fresh(2)));
  EXPECT_THAT(log_->FindTrace("p", "b"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(MustAppend(Traces({"b", "c"})), ElementsAre(Fresh(3), Fresh(4)));
  EXPECT_THAT(Scan(), ElementsAre("1:a", "2:d", "3:b", "4:c"));
  Open();
  EXPECT_THAT(Scan(), ElementsAre("1:a", "2:d", "3:b", "4:c"));
}

TEST_P(FailedCommitTest, LeavesTheEarlierJudgementKnown) {
  const auto fail = OutcomeRecord("a", v1::OUTCOME_FAIL);
  const auto pass = OutcomeRecord("a", v1::OUTCOME_PASS);
  MustAppend({fail});
  store_.FailWrites(0, 1, GetParam());
  EXPECT_FALSE(Append({pass}).ok());
  EXPECT_THAT(MustAppend({fail}), ElementsAre(Duplicate(1)));
  EXPECT_THAT(MustAppend({pass}), ElementsAre(Fresh(2)));
}

TEST_P(FailedCommitTest, FailsEveryCallOfTheCommitAndNoLaterOne) {
  Journal journal;
  store_.HoldWrites();
  store_.FailWrites(1, 1, GetParam());
  ASSERT_OK(log_->Append("p", Traces({"a"}), journal.Done("1")));
  store_.WaitForHeldWrite();
  ASSERT_OK(log_->Append("p", Traces({"b"}), journal.Done("2")));
  ASSERT_OK(log_->Append("q", Traces({"b"}), journal.Done("3")));
  store_.ReleaseWrites();
  journal.WaitFor(3);
  EXPECT_THAT(journal.events(),
              ElementsAre("done 1 1", "done 3 failed", "done 2 failed"));
  EXPECT_THAT(log_->Projects(), ElementsAre("p"));
  EXPECT_THAT(MustAppend(Traces({"b"}), "q"), ElementsAre(Fresh(1)));
}

TEST_P(FailedCommitTest, AFailureThatLastsIsReportedUntilItEnds) {
  store_.FailWrites(0, 3, GetParam());
  for (const char* id : {"a", "b", "c"}) {
    EXPECT_FALSE(Append(Traces({id})).ok());
  }
  EXPECT_THAT(MustAppend(Traces({"d", "a"})), ElementsAre(Fresh(1), Fresh(2)));
  Open();
  EXPECT_THAT(Scan(), ElementsAre("1:d", "2:a"));
  EXPECT_THAT(log_->FindTrace("p", "b"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_P(FailedCommitTest, ACrashAfterwardsLosesNothingThatWasAcknowledged) {
  MustAppend(Traces({"a"}));
  store_.FailWrites(0, 2, GetParam());  // the commit, and closing's repair
  EXPECT_FALSE(Append(Traces({"b"})).ok());
  log_.reset();
  store_.Crash();
  Open();
  EXPECT_THAT(Scan(), ElementsAre("1:a"));
  EXPECT_THAT(MustAppend(Traces({"b"})), ElementsAre(Fresh(2)));
}

TEST_P(FailedCommitTest, LeavesTheTraceUnreplaced) {
  MustAppend({TraceRecord("a"), ReplacementRecord("a", "x")});
  store_.FailWrites(0, 1, GetParam());
  EXPECT_FALSE(
      Append({ReplacementRecord("a", "y"), ReplacementRecord("a", "z")}).ok());
  EXPECT_THAT(log_->FindVersions("p", "a"), HoldsVersions(1, 2));
  ASSERT_OK_AND_ASSIGN(const uint64_t sequence, log_->FindTrace("p", "a"));
  EXPECT_EQ(sequence, 2);
  EXPECT_THAT(MustAppend({ReplacementRecord("a", "x")}),
              ElementsAre(Duplicate(2)));
  EXPECT_THAT(MustAppend({ReplacementRecord("a", "y")}), ElementsAre(Fresh(3)));
  EXPECT_THAT(log_->FindVersions("p", "a"), HoldsVersions(1, 2, 3));
}

TEST_P(FailedCommitTest, StagesNothingAndTheRetryWorks) {
  ASSERT_OK(Stage({MakePiece("a", "1", "one")}));
  store_.FailWrites(0, 1, GetParam());
  EXPECT_FALSE(Stage({MakePiece("a", "1"), MakePiece("a", "2", "lost")}).ok());
  EXPECT_THAT(Stage({MakePiece("a", "1"), MakePiece("a", "2", "two")}),
              HoldsDuplicates(true, false));
  EXPECT_THAT(Pieces("a"), ElementsAre("1:one", "2:two"));
  log_.reset();
  store_.Crash();
  Open();
  EXPECT_THAT(Pieces("a"), ElementsAre("1:one", "2:two"));
}

TEST_P(FailedCommitTest, ADropThatFailedCanBeRepeated) {
  ASSERT_OK(Stage({MakePiece("a", "1"), MakePiece("b", "1")}));
  store_.FailWrites(0, 1, GetParam());
  EXPECT_FALSE(log_->DropPiecesAndWait("p", {"a"}).ok());
  ASSERT_OK(log_->DropPiecesAndWait("p", {"a"}));
  EXPECT_THAT(AllPieces(), ElementsAre("p/b/1"));
}

TEST_F(TraceLogTest, DamagedPiecesAreDataLoss) {
  ASSERT_OK(Stage({MakePiece("a", "1")}));
  std::string key;
  store::AppendText("p", &key);
  store::AppendText("a", &key);
  store::AppendText("1", &key);
  store::WriteBatch damage;
  damage.Put(store::Family::kPieces, key, "\xff\xff");
  ASSERT_OK(store_.Write(damage, /*sync=*/true));
  EXPECT_THAT(log_->ReadPieces("p", "a"),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("p")));
  EXPECT_THAT(log_->ScanPieces([](absl::string_view, const v1::Piece&) {}),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("p")));
}

// `outcomes`, `annotations` and `runs` that a Delete removed.
MATCHER_P3(Removed, runs, outcomes, annotations, "") {
  const TraceLog::Deleted expected{static_cast<uint64_t>(runs),
                                   static_cast<uint64_t>(outcomes),
                                   static_cast<uint64_t>(annotations), 0};
  return arg.ok() && arg->runs == expected.runs &&
         arg->outcomes == expected.outcomes &&
         arg->annotations == expected.annotations;
}

class TraceDeletionTest : public TraceLogTest {
 protected:
  absl::StatusOr<TraceLog::Deleted> Delete(
      const std::vector<uint64_t>& sequences) {
    return log_->Delete("p", sequences, v1::DELETION_REASON_REQUESTED);
  }

  // `sequence:kind` of each record.
  std::vector<std::string> Kinds(uint64_t first = 1) {
    std::vector<std::string> kinds;
    EXPECT_OK(
        log_->Scan("p", first, UINT64_MAX, [&](const v1::LogRecord& record) {
          const auto* kind = v1::LogRecord::descriptor()->FindFieldByNumber(
              record.payload_case());
          kinds.push_back(absl::StrCat(record.sequence(), ":", kind->name()));
          return true;
        }));
    return kinds;
  }

  // Whether any value or key of the store holds `text`.
  bool StoreHolds(const std::string& text) {
    bool holds = false;
    for (int i = 0; i < store::kFamilyCount; ++i) {
      EXPECT_OK(
          memory_.Scan(static_cast<store::Family>(i), "", "",
                       [&](absl::string_view key, absl::string_view value) {
                         holds |= absl::StrContains(key, text) ||
                                  absl::StrContains(value, text);
                         return true;
                       }));
    }
    return holds;
  }
};

TEST_F(TraceDeletionTest, LeavesNothingOfTheRunAndAllOfTheOthers) {
  MustAppend({TraceRecord("gone", "task-of-gone"), TraceRecord("kept"),
              OutcomeRecord("gone", v1::OUTCOME_FAIL),
              OutcomeRecord("gone", v1::OUTCOME_PASS),
              OutcomeRecord("gone", v1::OUTCOME_PASS, "other judge"),
              AnnotationRecord("gone", "m", "note on gone"),
              OutcomeRecord("kept", v1::OUTCOME_FAIL)});
  v1::LogRecord replacement;
  replacement.mutable_replacement()->set_trace_id("gone");
  MustAppend({replacement});
  v1::Piece piece;
  piece.set_trace_id("gone");
  piece.set_id("1");
  std::vector<v1::Piece> pieces = {piece};
  absl::Notification staged;
  ASSERT_OK(log_->AppendPieces("p", absl::MakeSpan(pieces),
                               [&](const Result&) { staged.Notify(); }));
  staged.WaitForNotification();

  EXPECT_THAT(Delete({8, 2000}), Removed(1, 2, 1));
  EXPECT_FALSE(StoreHolds("gone"));
  EXPECT_THAT(Kinds(), ElementsAre("1:tombstone", "2:trace", "3:tombstone",
                                   "4:tombstone", "5:tombstone", "6:tombstone",
                                   "7:outcome", "8:tombstone", "9:deletion"));
  EXPECT_THAT(log_->FindTrace("p", "gone"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(log_->Read("p", 1), testing::StatusIs(absl::StatusCode::kNotFound,
                                                    HasSubstr("was deleted")));
  ASSERT_OK_AND_ASSIGN(const uint64_t kept, log_->FindTrace("p", "kept"));
  EXPECT_EQ(kept, 2);
  ASSERT_OK_AND_ASSIGN(const v1::LogRecord deletion, log_->Read("p", 9));
  EXPECT_EQ(deletion.deletion().reason(), v1::DELETION_REASON_REQUESTED);
  EXPECT_THAT(deletion.deletion().sequences(), ElementsAre(1, 8));
  EXPECT_EQ(deletion.deletion().run_count(), 1);
}

TEST_F(TraceDeletionTest, ARunThatIsSentAgainIsNew) {
  MustAppend({TraceRecord("a"), OutcomeRecord("a", v1::OUTCOME_FAIL)});
  EXPECT_THAT(Delete({1}), Removed(1, 1, 0));
  EXPECT_THAT(
      MustAppend({TraceRecord("a"), OutcomeRecord("a", v1::OUTCOME_FAIL)}),
      ElementsAre(Fresh(4), Fresh(5)));
}

TEST_F(TraceDeletionTest, OnlyTheLastVersionsOfRunsAreRemoved) {
  MustAppend({TraceRecord("a"), OutcomeRecord("a", v1::OUTCOME_FAIL)});
  v1::LogRecord replacement;
  replacement.mutable_replacement()->set_trace_id("a");
  MustAppend({replacement});
  EXPECT_THAT(Delete({1, 2, 7}), Removed(0, 0, 0));
  EXPECT_THAT(Kinds(), ElementsAre("1:trace", "2:outcome", "3:replacement"));
  EXPECT_THAT(Delete({3, 3}), Removed(1, 1, 0));
  EXPECT_THAT(Delete({3}), Removed(0, 0, 0));
  EXPECT_EQ(log_->LastSequence("p"), 4);
}

TEST_F(TraceDeletionTest, TheObserverLearnsOfItAndTheLogGoesOnAfterARestart) {
  Journal journal;
  log_->SetObserver(journal.Observer());
  MustAppend(Traces({"a", "b"}));
  EXPECT_THAT(Delete({1}), Removed(1, 0, 0));
  EXPECT_THAT(journal.events(),
              ElementsAre("observed p 1 2", "observed p 3 removed 1"));
  Open();
  EXPECT_THAT(Kinds(), ElementsAre("1:tombstone", "2:trace", "3:deletion"));
  EXPECT_THAT(MustAppend(Traces({"b", "c"})),
              ElementsAre(Duplicate(2), Fresh(4)));
}

TEST_F(TraceDeletionTest, ManyRunsGoInSeveralCommits) {
  std::vector<std::string> ids;
  std::vector<uint64_t> sequences;
  for (int i = 1; i <= 300; ++i) {
    ids.push_back(absl::StrCat("trace", i));
    sequences.push_back(i);
  }
  MustAppend(Traces(ids));
  EXPECT_THAT(Delete(sequences), Removed(300, 0, 0));
  EXPECT_EQ(log_->LastSequence("p"), 303);
  EXPECT_FALSE(StoreHolds("trace"));
}

TEST_F(TraceDeletionTest, BytesAreCountedAndSurviveARestart) {
  EXPECT_EQ(log_->StoredBytes("p"), 0);
  MustAppend({TraceRecord("a", std::string(1000, 'x')),
              TraceRecord("b", std::string(2000, 'x'))});
  MustAppend({OutcomeRecord("a", v1::OUTCOME_FAIL)});
  const uint64_t before = log_->StoredBytes("p");
  EXPECT_GT(before, 3000);
  EXPECT_LT(before, 3300);
  MustAppend({TraceRecord("a", std::string(1000, 'x'))});  // a duplicate
  EXPECT_EQ(log_->StoredBytes("p"), before);
  Open();
  EXPECT_EQ(log_->StoredBytes("p"), before);
  ASSERT_OK_AND_ASSIGN(const TraceLog::Deleted deleted, Delete({1}));
  EXPECT_EQ(log_->StoredBytes("p"), before - deleted.bytes);
  EXPECT_LT(log_->StoredBytes("p"), 2100);
  EXPECT_THAT(Delete({2}), Removed(1, 0, 0));
  EXPECT_EQ(log_->StoredBytes("p"), 0);
  Open();
  EXPECT_EQ(log_->StoredBytes("p"), 0);
}

TEST_F(TraceDeletionTest, TheRunsAreListedWithTimeAndSize) {
  clock_.SetWallTime(absl::FromUnixSeconds(1'800'000'000));
  MustAppend(Traces({"b"}));
  clock_.SetWallTime(absl::FromUnixSeconds(1'800'000'060));
  MustAppend({TraceRecord("a", std::string(1000, 'x')),
              OutcomeRecord("a", v1::OUTCOME_FAIL), TraceRecord("c")});
  MustAppend(Traces({"z"}), "pz");
  EXPECT_THAT(Delete({4}), Removed(1, 0, 0));
  ASSERT_OK_AND_ASSIGN(const auto runs, log_->ListRuns("p"));
  ASSERT_THAT(runs, SizeIs(2));
  EXPECT_EQ(runs[0].sequence, 1);
  EXPECT_EQ(runs[0].receive_time, absl::FromUnixSeconds(1'800'000'000));
  EXPECT_EQ(runs[1].sequence, 2);
  EXPECT_EQ(runs[1].receive_time, absl::FromUnixSeconds(1'800'000'060));
  EXPECT_GT(runs[1].bytes, 1000);
  EXPECT_LT(runs[1].bytes, 1100);
}

TEST_F(TraceDeletionTest, TrimmingRemovesWhatIsSpentAtTheHead) {
  v1::LogRecord config;
  config.mutable_config()->set_seed(7);
  v1::LogRecord review;
  review.mutable_review();
  MustAppend({config, TraceRecord("a"), config, review, TraceRecord("b"),
              TraceRecord("c")});
  EXPECT_THAT(Delete({2}), Removed(1, 0, 0));
  ASSERT_OK(log_->Trim("p", 100));
  // The latest settings stay; from the first run on there is no gap.
  EXPECT_THAT(Kinds(),
              ElementsAre("3:config", "5:trace", "6:trace", "7:deletion"));
  EXPECT_THAT(Kinds(2), SizeIs(4));
  EXPECT_THAT(Kinds(6), ElementsAre("6:trace", "7:deletion"));
  Open();
  EXPECT_THAT(Kinds(), SizeIs(4));

  EXPECT_THAT(Delete({5, 6}), Removed(2, 0, 0));
  ASSERT_OK(log_->Trim("p", 5));  // somebody has not read on yet
  EXPECT_THAT(Kinds(), ElementsAre("3:config", "6:tombstone", "7:deletion",
                                   "8:deletion"));
  ASSERT_OK(log_->Trim("p", 100));
  EXPECT_THAT(Kinds(), ElementsAre("3:config", "8:deletion"));
  Open();
  EXPECT_THAT(MustAppend(Traces({"d"})), ElementsAre(Fresh(9)));
}

TEST_F(TraceDeletionTest, ALossBehindTheTrimmedHeadIsStillFound) {
  MustAppend(Traces({"a", "b", "c", "d"}));
  EXPECT_THAT(Delete({1}), Removed(1, 0, 0));
  ASSERT_OK(log_->Trim("p", 100));
  std::string key;
  store::AppendText("p", &key);
  store::AppendNumber(2, &key);
  store::WriteBatch loss;
  loss.Delete(store::Family::kLog, key);
  ASSERT_OK(store_.Write(loss, /*sync=*/true));
  Open();
  EXPECT_THAT(log_->Scan("p", 1, 5, [](const v1::LogRecord&) { return true; }),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("2")));
}

TEST_F(TraceDeletionTest, AnOutcomeOfARunThatNeverCameIsNotTrimmed) {
  MustAppend({OutcomeRecord("later", v1::OUTCOME_FAIL), TraceRecord("a")});
  EXPECT_THAT(Delete({2}), Removed(1, 0, 0));
  ASSERT_OK(log_->Trim("p", 100));
  EXPECT_THAT(Kinds(), ElementsAre("1:outcome", "3:deletion"));
}

TEST_P(FailedCommitTest, AFailedDeletionRemovesNothingAndCanBeRepeated) {
  MustAppend({TraceRecord("a"), OutcomeRecord("a", v1::OUTCOME_FAIL),
              TraceRecord("b")});
  const uint64_t bytes = log_->StoredBytes("p");
  store_.FailWrites(0, 1, GetParam());
  EXPECT_THAT(log_->Delete("p", {1}, v1::DELETION_REASON_AGE),
              testing::StatusIs(absl::StatusCode::kInternal, _));
  EXPECT_EQ(log_->LastSequence("p"), 3);
  EXPECT_EQ(log_->StoredBytes("p"), bytes);
  EXPECT_THAT(MustAppend(Traces({"a", "c"})),
              ElementsAre(Duplicate(1), Fresh(4)));
  ASSERT_OK(log_->Read("p", 1));
  EXPECT_THAT(log_->Delete("p", {1}, v1::DELETION_REASON_AGE),
              Removed(1, 1, 0));
  Open();
  EXPECT_THAT(Scan(), ElementsAre("1:", "2:", "3:b", "4:c", "5:"));
}

TEST_F(TraceLogTest, AFailedReadFailsTheCallAndNoLaterOne) {
  store_.FailReads(0, 1);
  EXPECT_THAT(Append(Traces({"a"})),
              testing::StatusIs(absl::StatusCode::kInternal, _));
  EXPECT_EQ(store_.writes(), 0);
  EXPECT_THAT(MustAppend(Traces({"a"})), ElementsAre(Fresh(1)));
}

TEST_F(TraceLogTest, EveryCommitIsSynced) {
  MustAppend(Traces({"a", "b"}));
  MustAppend({OutcomeRecord("a", v1::OUTCOME_FAIL)});
  log_.reset();
  store_.Crash();
  Open();
  EXPECT_EQ(log_->LastSequence("p"), 3);
}

TEST_F(TraceLogTest, ManyThreadsGetSequencesWithoutGapsAndEachTraceOnce) {
  constexpr int kThreads = 8;
  constexpr int kCalls = 40;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  absl::Mutex mutex;
  std::map<std::string, uint64_t> sequences;  // by trace id
  int fresh = 0;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kCalls; ++i) {
        // Each id is sent by two threads.
        const std::vector<std::string> ids = {
            absl::StrCat(thread / 2, "-", 2 * i),
            absl::StrCat(thread / 2, "-", 2 * i + 1)};
        const std::vector<Appended> appended = MustAppend(Traces(ids));
        absl::MutexLock lock(&mutex);
        for (size_t j = 0; j < ids.size(); ++j) {
          const auto [it, first] =
              sequences.try_emplace(ids[j], appended[j].sequence);
          EXPECT_EQ(it->second, appended[j].sequence) << ids[j];
          fresh += !appended[j].duplicate;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fresh, kThreads * kCalls);
  EXPECT_EQ(log_->LastSequence("p"), kThreads * kCalls);
  EXPECT_THAT(Scan(), SizeIs(kThreads * kCalls));
}

TEST_F(TraceLogTest, TheLatestSettingsAreKnownWithoutAScan) {
  const auto set = [&](uint32_t trials) {
    std::vector<v1::LogRecord> records(1);
    records[0].mutable_config()->set_max_trials(trials);
    return Append(std::move(records));
  };
  const auto latest = [&]() -> uint32_t {
    const auto config = log_->LatestConfig("p");
    EXPECT_OK(config);
    return config.ok() && config->has_value() ? (*config)->max_trials() : 0;
  };
  ASSERT_OK(Append(Traces({"a"})));
  EXPECT_EQ(latest(), 0);
  ASSERT_OK(set(3));
  ASSERT_OK(set(4));
  EXPECT_EQ(latest(), 4);
  Open();
  EXPECT_EQ(latest(), 4);
  // A commit that fails leaves the settings before it.
  store_.FailWrites(0, 1, FaultStore::Fault::kAfterApplying,
                    absl::InternalError("torn"));
  EXPECT_FALSE(set(5).ok());
  ASSERT_OK(Append(Traces({"b"})));
  EXPECT_EQ(latest(), 4);
}

}  // namespace
}  // namespace faultline::trace
