#ifndef FAULTLINE_LIB_INGEST_INGESTOR_H_
#define FAULTLINE_LIB_INGEST_INGESTOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/error.pb.h"
#include "faultline/v1/record.pb.h"
#include "lib/base/clock.h"
#include "lib/embedding/embedder.h"
#include "lib/ingest/rejection_log.h"
#include "lib/ingest/trace_assembler.h"
#include "lib/space/vector_space.h"
#include "lib/trace/trace_log.h"
#include "lib/trace/trace_validator.h"

namespace faultline::ingest {

// The fast path: validate, log, acknowledge; then, on one indexing thread,
// extract, embed and add to the project's behaviour space, in log order. The
// thread reads the log from its own watermark on, so that a flood of traces
// costs no memory; and where it is too far behind, more is refused until it is
// not, so that a flood costs no unbounded delay either. Reads immutable
// embedders of the slow loop;
// writes nothing but the log and the space, which is a cache of the log.
// Pieces of runs are acknowledged when they are durable, and put together to
// traces of the log on a thread of their own (trace_assembler.h).
//
// What a project may send and what is kept of its texts (settings) is applied
// before anything is durable; what is refused is counted, and why.
//
// Owns the spaces. Does not own the log, validator or clock; it is the log's
// observer, so nobody may append after its end. Thread-safe. The destructor
// waits for the calls that it has accepted.
class Ingestor {
 public:
  struct Options {
    embedding::Embedder::Options embedder;
    // `dimension` is the embedder's; quantization is the trajectory view's.
    space::VectorSpace::Options space;
    // Of the behaviour view, which is half of the memory otherwise.
    space::Quantization behavior_quantization = space::Quantization::kInt8;
    // Where checkpoints are kept. Empty: there are none.
    std::string checkpoint_directory;
    // Records read, embedded and added at once. At least 1.
    size_t index_batch = 256;
    // Vectors that wait to be added, in bytes; beyond it the index reads the
    // log.
    size_t max_backlog_bytes = 64 << 20;
    // Records of one project that are accepted and not indexed yet; beyond
    // them calls are refused. What a start finds in the log is not counted.
    // At least 1.
    uint64_t max_index_lag = 16384;
    // Runs of one project that are due to be put together; beyond them pieces
    // are refused. At least 1.
    size_t max_closing_runs = 4096;
    // Told when runs of a project were assembled, on the assembler's thread.
    // May be null.
    std::function<void(const std::string& project)> on_assembled;
  };

  // Called until the ingestor's end.
  using Settings = TraceAssembler::Settings;

  // A refused element.
  struct Refusal {
    size_t index;  // in the call's batch
    std::string trace_id;
    v1::ErrorDetail error;
  };
  struct Result {
    uint64_t stored = 0;  // of pieces: staged
    uint64_t duplicates = 0;
    uint64_t durable_sequence = 0;
    std::vector<Refusal> refusals;
  };
  using Done = std::function<void(absl::StatusOr<Result>)>;

  // A run near another one, and what became of it.
  struct Similar {
    uint64_t sequence;
    float distance;  // L2
    v1::Outcome outcome;
  };

  struct Counters {
    uint64_t traces = 0;            // stored, in all
    uint64_t failures = 0;          // of these, as far as they are indexed
    uint64_t indexed_sequence = 0;  // log sequence that the space is up to
    uint64_t indexed = 0;           // runs in the space
    uint64_t embedding_epoch = 0;   // of the space
    // Log sequence that the last checkpoint is up to, or where there are no
    // checkpoints, the space.
    uint64_t checkpoint_sequence = 0;

    // Since start. Elements refused alone, duplicates.
    uint64_t rejected = 0;
    uint64_t duplicates = 0;
    // Elements refused, alone or with their calls.
    std::map<v1::ErrorDetail::Reason, uint64_t> refused;
    // Runs removed.
    std::map<v1::DeletionReason, uint64_t> removed;
    // Times that CheckRoom or a call found the index or the assembly of runs
    // too far behind.
    uint64_t held = 0;
    // Stored runs of runtimes that sample, and how many these did not send,
    // estimated.
    uint64_t sampled = 0;
    double unsent = 0;
    TraceAssembler::Counters assembly;
  };

  // Reads the staged pieces. INVALID_ARGUMENT names the option at fault; else
  // the log's errors.
  static absl::StatusOr<std::unique_ptr<Ingestor>> Create(
      const Options& options, trace::TraceLog* log,
      const trace::TraceValidator* validator, Settings settings,
      const base::Clock* clock);

  virtual ~Ingestor() = default;

  // Makes every space from its checkpoint and the log; returns when they are
  // complete, but for projects whose embedder is not that of the checkpoint:
  // these are embedded again behind the scenes, and searches see what there is.
  // A damaged checkpoint is logged by name and made again. Runs are assembled
  // from here on. Call once.
  // `embedder` gives the embedder of a project (its last epoch), null for the
  // first epoch. Returns the log's errors.
  virtual absl::Status Replay(
      const std::function<std::shared_ptr<const embedding::Embedder>(
          absl::string_view project)>& embedder) = 0;

  // UNAVAILABLE, with a delay, where a call of the project would be refused now
  // because the log, the index or, for `pieces`, the assembly of runs is too
  // far behind. Cheap: for those who can wait before they give.
  virtual absl::Status CheckRoom(absl::string_view project, bool pieces) = 0;

  // `done` is called once, when every accepted trace is durable, possibly
  // before the call returns; it must not block. An error calls nothing:
  // UNAVAILABLE as CheckRoom, RESOURCE_EXHAUSTED where the project is over its
  // quota, both with a delay; INVALID_ARGUMENT where its name is malformed.
  // Where `traces` is not empty after an error it is as it was, and may be
  // given again.
  virtual absl::Status IngestTraces(absl::string_view project,
                                    std::vector<v1::Trace>&& traces,
                                    Done done) = 0;
  // Parts of runs, each with the id of its run. A run that is closed and not
  // amended any more refuses them with REASON_CLOSED.
  virtual absl::Status IngestPieces(absl::string_view project,
                                    std::vector<v1::Piece>&& pieces,
                                    Done done) = 0;
  virtual absl::Status RecordOutcomes(absl::string_view project,
                                      std::vector<v1::OutcomeRecord>&& outcomes,
                                      Done done) = 0;
  virtual absl::Status AnnotateTraces(
      absl::string_view project,
      std::vector<v1::AnnotationRecord>&& annotations, Done done) = 0;

  // An element that was refused before it came here.
  virtual void AddRejection(absl::string_view project, v1::RecordSource source,
                            absl::string_view trace_id,
                            const v1::ErrorDetail& error) = 0;
  virtual const RejectionLog& rejections() const = 0;

  // New embedding epoch: the space is rebuilt in the background and swapped.
  virtual void SetEmbedder(
      absl::string_view project,
      std::shared_ptr<const embedding::Embedder> embedder) = 0;

  // The k stored runs nearest to `trace` in a view (UNSPECIFIED: trajectory),
  // itself left out, nearest first.
  // `outcome` UNSPECIFIED takes all. The trace may be partial, without id and
  // start time; INVALID_ARGUMENT names what else is wrong with it. Empty for a
  // project that has no run.
  virtual absl::StatusOr<std::vector<Similar>> FindSimilar(
      absl::string_view project, const v1::Trace& trace, v1::View view, int k,
      v1::Outcome outcome) const = 0;

  // How the runs at `sequences` ended, as far as they are indexed.
  virtual std::vector<v1::Outcome> GetOutcomes(
      absl::string_view project,
      absl::Span<const uint64_t> sequences) const = 0;

  // A checkpoint of the project's space is written soon, in the background: it
  // will not hold what was deleted before.
  virtual void RequestCheckpoint(absl::string_view project) = 0;

  virtual Counters GetCounters(absl::string_view project) const = 0;

  // Blocks until the space holds everything that is durable now, under the
  // embedder set last, or the log cannot be read.
  virtual void WaitUntilIndexed(absl::string_view project) = 0;

  // Blocks until no run is due to be assembled, by the clock's present time.
  virtual void WaitUntilAssembled() = 0;
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_INGESTOR_H_
