#ifndef FAULTLINE_LIB_INGEST_TRACE_ASSEMBLER_H_
#define FAULTLINE_LIB_INGEST_TRACE_ASSEMBLER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/record.pb.h"
#include "lib/base/clock.h"
#include "lib/trace/trace_log.h"

namespace faultline::ingest {

// Stages the pieces of runs, decides when a run is whole, and appends it to
// the log as a trace; later pieces make a replacement of it, until the time to
// amend is over and the pieces are dropped.
//
// A run closes
//   at once, when a piece says so (of a stream: when no earlier one is
//     missing),
//   when its root has ended and nothing came for AssemblyConfig.quiet_period,
//   when nothing came for idle_timeout,
//   when max_open_runs are open and it is the longest without news.
// A closed run is amended when nothing more came for the quiet period, which
// doubles with each amendment; so a run that never ends costs little. It is
// forgotten amend_window after the last piece, or when more than max_open_runs
// closed ones are remembered.
//
// Memory: about 300 bytes for each run that is open or may be amended, and the
// pieces of open runs as long as there is room for all of a run
// (max_held_bytes); others are read again when their run closes. All of it can
// be rebuilt from the staged pieces, and is, by Create: assembling a run again
// changes nothing.
//
// Does not own the log or the clock. Thread-safe. One thread closes runs; it
// waits for the log, and nobody waits for it. The destructor stops it after
// the runs in hand; every callback must have come by then.
class TraceAssembler {
 public:
  struct Options {
    // Of an assembled trace; every field filled in.
    v1::TraceLimits limits;
    // Runs read, put together and appended at once. At least 1.
    size_t batch = 64;
    // Runs of one project that are due; beyond them pieces are refused. At
    // least 1.
    size_t max_due = 4096;
    // Staged pieces of one run. At least 1.
    uint32_t max_pieces = 16384;
    // Bytes of the staged pieces of one run. At least 1.
    uint64_t max_bytes = 64 << 20;
    // Memory for pieces of open runs, about.
    uint64_t max_held_bytes = 96 << 20;
    // Told when runs were assembled, on the closing thread. May be null.
    std::function<void(const std::string& project)> on_assembled;
  };

  // The settings in force in a project, every field filled in; never null.
  // Called often, on any thread; must not block.
  using Settings = std::function<std::shared_ptr<const v1::ProjectConfig>(
      absl::string_view project)>;

  // What became of one piece.
  enum class Verdict {
    kStaged,
    kDuplicate,
    kClosed,    // the run is closed and not amended any more
    kTooMany,   // max_pieces
    kTooLarge,  // max_bytes
    kMixed,     // earlier pieces of the run are put together in another way
  };
  using Done = std::function<void(absl::StatusOr<std::vector<Verdict>>)>;

  // Of one project; since start, but for `open` and `amendable`.
  struct Counters {
    uint64_t open = 0;       // runs
    uint64_t amendable = 0;  // closed runs that still take pieces
    uint64_t staged = 0;     // pieces
    uint64_t duplicates = 0;
    uint64_t refused = 0;          // pieces, for any reason
    uint64_t closed_explicit = 0;  // runs
    uint64_t closed_root_ended = 0;
    uint64_t closed_idle = 0;
    uint64_t closed_evicted = 0;
    uint64_t amended = 0;  // replacements
    uint64_t late = 0;     // pieces of closed runs, staged
    uint64_t empty = 0;    // runs of spans of which none told of an agent:
                           // nothing was logged
    uint64_t lost = 0;  // runs that were deleted meanwhile, whose id was that
                        // of a trace that came whole, or that are unreadable
  };

  // Reads the staged pieces. Returns the log's errors.
  static absl::StatusOr<std::unique_ptr<TraceAssembler>> Create(
      const Options& options, trace::TraceLog* log, Settings settings,
      const base::Clock* clock);

  virtual ~TraceAssembler() = default;

  // Where assembled runs go; called on the closing thread.
  struct Output {
    // Whether runs of a project may be appended now; else it is asked again
    // after a while.
    std::function<bool(const std::string& project)> has_room;
    // Appends records to the log, and waits. Where it returns an error nothing
    // was appended, and it is called again after a while.
    std::function<absl::StatusOr<std::vector<trace::TraceLog::Appended>>(
        const std::string& project, std::vector<v1::LogRecord> records)>
        append;
  };

  // Closes runs from now on. Call once.
  virtual void Start(Output output) = 0;

  // To be called when runs of a project were deleted, with their pieces: what
  // is held in memory may be gone.
  virtual void OnDeletion(absl::string_view project) = 0;

  // UNAVAILABLE, with a delay, where pieces of the project would be refused
  // now because too many of its runs are due.
  virtual absl::Status CheckRoom(absl::string_view project) = 0;

  // Stages pieces; `done` is called once, when they are durable, possibly
  // before the call returns; it must not block. Returns the log's errors, and
  // calls nothing then; `pieces` is left as it was. They are valid
  // (TraceValidator::CheckPiece).
  virtual absl::Status Stage(absl::string_view project,
                             std::vector<v1::Piece>&& pieces, Done done) = 0;

  virtual Counters GetCounters(absl::string_view project) const = 0;

  // Blocks until no run is due, by the clock's present time.
  virtual void WaitUntilAssembled() = 0;
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_TRACE_ASSEMBLER_H_
