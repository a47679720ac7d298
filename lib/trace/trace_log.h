#ifndef FAULTLINE_LIB_TRACE_TRACE_LOG_H_
#define FAULTLINE_LIB_TRACE_TRACE_LOG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "faultline/v1/record.pb.h"
#include "lib/base/clock.h"
#include "lib/store/key_value_store.h"

namespace faultline::trace {

// The durable, sequence-numbered log of every project: the source of truth.
// Appends are grouped and synced by one committer thread; a record is reported
// only after the sync. Projects take turns, by bytes, and each may fill as much
// of the buffer as is free: one that floods the log delays itself, is refused
// alone, and leaves room for the others. Deduplicates traces by (project,
// trace_id), outcomes by (project, trace_id, evaluator) and content,
// annotations by (project, trace_id, annotator, failure_mode) and content.
//
// Beside the records it keeps the pieces of runs that are not whole yet, or
// may still be amended. They go through the same commits and bounds, have no
// sequence, and are deduplicated by (project, trace_id, id).
//
// Does not own the store or the clock; both must outlive it. Thread-safe. The
// destructor commits what was accepted and stops the committer.
class TraceLog {
 public:
  struct Options {
    // Most records in one commit.
    size_t max_commit_records = 512;
    // Most bytes in one commit.
    size_t max_commit_bytes = 4 << 20;
    // Bytes accepted and not yet committed. Append is refused where a project
    // has more of them than are free.
    size_t max_pending_bytes = 256 << 20;
  };

  // What became of one appended record or piece.
  struct Appended {
    // Its sequence, or that of the earlier record that it duplicates. 0: of a
    // piece, or of a replacement of a trace that is not there any more, which
    // is not stored.
    uint64_t sequence = 0;
    bool duplicate = false;
  };

  // A stored run, as its last version.
  struct Stored {
    uint64_t sequence = 0;
    absl::Time receive_time;  // to the second
    uint32_t bytes = 0;
  };

  // What Delete removed.
  struct Deleted {
    uint64_t runs = 0;
    uint64_t outcomes = 0;
    uint64_t annotations = 0;
    uint64_t bytes = 0;  // of all these, earlier versions included
  };

  // What an observer is told of a durable record.
  struct News {
    uint64_t sequence = 0;
    v1::LogRecord::PayloadCase kind = v1::LogRecord::PAYLOAD_NOT_SET;
    // Of a trace: as it says; 0: it does not.
    double keep_probability = 0;
    // Of a deletion: why, and how many runs.
    v1::DeletionReason reason = v1::DELETION_REASON_UNSPECIFIED;
    uint64_t removed = 0;
  };
  using Observer = std::function<void(absl::string_view project,
                                      const std::vector<News>& news)>;
  // Called once, on the committer thread, when every record of the call is
  // durable or the commit failed (then nothing of the call was stored). Must
  // not block.
  using Done = std::function<void(absl::StatusOr<std::vector<Appended>>)>;

  // Opens the log: reads the projects' last sequences from `store`. Returns
  // the store's errors; INVALID_ARGUMENT where an option is zero.
  static absl::StatusOr<std::unique_ptr<TraceLog>> Create(
      const Options& options, store::KeyValueStore* store,
      const base::Clock* clock);

  virtual ~TraceLog() = default;

  // Sets who is told of every new durable record, in sequence order per
  // project, on the committer thread, before `Done`. Call before the first
  // Append.
  virtual void SetObserver(Observer observer) = 0;

  // UNAVAILABLE, with a delay, where an Append would be refused now, because
  // the project has as many bytes pending as max_pending_bytes leaves free.
  virtual absl::Status CheckRoom(absl::string_view project) = 0;

  // Appends records of one project, all in one commit; sequence and
  // receive_time are filled in. A replacement takes over the id of its trace;
  // it is a duplicate where it equals the replacement before it. Where it
  // returns an error it does not call `done`: UNAVAILABLE as CheckRoom,
  // INVALID_ARGUMENT where a record has no payload.
  virtual absl::Status Append(absl::string_view project,
                              std::vector<v1::LogRecord> records,
                              Done done) = 0;

  // Stages pieces of runs of one project, all in one commit; receive_time is
  // filled in, here, too; otherwise they stay with the caller as they are.
  // Observers do not see them. Errors as of Append; INVALID_ARGUMENT where a
  // piece has no trace_id or no id.
  virtual absl::Status AppendPieces(absl::string_view project,
                                    absl::Span<v1::Piece> pieces,
                                    Done done) = 0;

  // Removes the pieces of runs that are durable now. To be called when no
  // piece of these runs is on its way, or it may stay. Errors as of Append.
  virtual absl::Status DropPieces(absl::string_view project,
                                  const std::vector<std::string>& trace_ids,
                                  Done done) = 0;

  // The same, and wait. Not from an observer or a `Done`.
  absl::StatusOr<std::vector<Appended>> AppendAndWait(
      absl::string_view project, std::vector<v1::LogRecord> records);
  absl::Status DropPiecesAndWait(absl::string_view project,
                                 const std::vector<std::string>& trace_ids);

  // Names of the projects that have a record, ascending.
  virtual std::vector<std::string> Projects() const = 0;

  // Highest durable sequence; 0: none.
  virtual uint64_t LastSequence(absl::string_view project) const = 0;

  // Sequence below which the head was trimmed; 1: nowhere.
  virtual uint64_t FirstSequence(absl::string_view project) const = 0;

  // Bytes of the stored records that are about a trace, as serialised.
  virtual uint64_t StoredBytes(absl::string_view project) const = 0;

  // Calls `visit` for the durable records with first <= sequence <= last,
  // ascending, until it returns false. DATA_LOSS where a record cannot be
  // parsed or a sequence is missing that was not trimmed.
  virtual absl::Status Scan(
      absl::string_view project, uint64_t first, uint64_t last,
      const std::function<bool(const v1::LogRecord&)>& visit) const = 0;

  // One record. NOT_FOUND where there is none, or a tombstone.
  virtual absl::StatusOr<v1::LogRecord> Read(absl::string_view project,
                                             uint64_t sequence) const = 0;

  // The trace that a record holds, be it a replacement. NOT_FOUND where it
  // holds none.
  absl::StatusOr<v1::Trace> ReadTrace(absl::string_view project,
                                      uint64_t sequence) const;

  // Sequence of a trace: of its last replacement, where it has one. NOT_FOUND
  // where there is none.
  virtual absl::StatusOr<uint64_t> FindTrace(
      absl::string_view project, absl::string_view trace_id) const = 0;

  // Sequences of all records of a trace, ascending: the trace, then its
  // replacements; only the last one holds. NOT_FOUND where there is none.
  virtual absl::StatusOr<std::vector<uint64_t>> FindVersions(
      absl::string_view project, absl::string_view trace_id) const = 0;

  // The settings that were recorded last, without a scan; maybe those of a
  // commit that is under way. Nothing where there are none.
  virtual absl::StatusOr<std::optional<v1::ProjectConfig>> LatestConfig(
      absl::string_view project) const = 0;

  // The staged pieces of one run, ascending by id.
  virtual absl::StatusOr<std::vector<v1::Piece>> ReadPieces(
      absl::string_view project, absl::string_view trace_id) const = 0;

  // Calls `visit` for every staged piece, by project, trace and id.
  virtual absl::Status ScanPieces(
      const std::function<void(absl::string_view project, const v1::Piece&)>&
          visit) const = 0;

  // Every stored run, ascending by sequence: one scan of the ids.
  virtual absl::StatusOr<std::vector<Stored>> ListRuns(
      absl::string_view project) const = 0;

  // Removes the runs whose last versions are at `sequences`, with all versions,
  // outcomes, annotations and staged pieces of them, for good; other sequences
  // are left out. A run goes whole, in one commit with the record that says so;
  // many runs take several commits. Their ids may be used again. Waits; not
  // from an observer or a `Done`. What was removed before an error is removed.
  virtual absl::StatusOr<Deleted> Delete(absl::string_view project,
                                         std::vector<uint64_t> sequences,
                                         v1::DeletionReason reason) = 0;

  // Removes what is spent at the head of the log, up to the first stored run
  // and at most to `last`: tombstones, deletions, reviews, and settings that
  // later ones there replace. Nobody may need these any more. The last record
  // always stays.
  virtual absl::Status Trim(absl::string_view project, uint64_t last) = 0;

  // Gives the space of what was removed back to the file system, and holds its
  // bytes nowhere any more. Takes long; everything else goes on meanwhile.
  virtual absl::Status Compact(absl::string_view project) = 0;
};

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_TRACE_LOG_H_
