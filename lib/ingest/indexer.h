#ifndef FAULTLINE_LIB_INGEST_INDEXER_H_
#define FAULTLINE_LIB_INGEST_INDEXER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/record.pb.h"
#include "lib/embedding/embedder.h"
#include "lib/ingest/ingestor.h"
#include "lib/ingest/outcome_table.h"
#include "lib/space/vector_space.h"
#include "lib/trace/trace_log.h"

namespace faultline::ingest {

// The indexing half of the fast path: one thread adds the runs of every project
// to its behaviour spaces, one for each view, in log order. What a call stores
// is embedded on the caller's thread and handed over when it is durable; what
// nobody handed over, or came when too much was waiting, the thread reads from
// the log. So a flood of traces costs delay and never memory; CheckLag bounds
// the delay.
//
// Owns the spaces, which are a cache of the log, and the checkpoints, which
// spare a start most of the reading: files of everything that indexing derives
// from the log up to a watermark, written by a thread of their own. Does not
// own the log; reads it until the destructor has stopped the threads.
// Thread-safe. The destructor writes the checkpoints that are worth it.
class Indexer {
 public:
  using EmbedderPtr = std::shared_ptr<const embedding::Embedder>;

  // Knows the projects of `log`, and indexes none before Replay. `options`
  // are valid; `first_embedder` is that of the first epoch.
  Indexer(const Ingestor::Options& options, EmbedderPtr first_embedder,
          trace::TraceLog* log);
  ~Indexer();

  Indexer(const Indexer&) = delete;
  Indexer& operator=(const Indexer&) = delete;

  // As Ingestor's methods of these names.
  absl::Status Replay(
      const std::function<EmbedderPtr(absl::string_view project)>& embedder)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void SetEmbedder(absl::string_view project, EmbedderPtr embedder)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void WaitUntilIndexed(absl::string_view project) ABSL_LOCKS_EXCLUDED(mutex_);

  // UNAVAILABLE, with a delay, where the index of the project is more than
  // max_index_lag records further behind than it was when it was nearest since
  // the start: one that is rebuilt is caught up with while calls come in, but
  // not as fast as they like. OK where indexing stands still.
  absl::Status CheckLag(absl::string_view project) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // What a call's records mean to the index, on their way into the log.
  struct Prepared;
  // Embeds the records of a call of Append. Null where the index will read them
  // from the log. What it returns must come back by Deliver.
  std::shared_ptr<Prepared> Prepare(absl::string_view project,
                                    const std::vector<v1::LogRecord>& records)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // On the log's committer thread, with what became of the records; or null
  // where the log refused them. Does not block.
  void Deliver(std::shared_ptr<Prepared> prepared,
               const std::vector<trace::TraceLog::Appended>* appended)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // New durable records of a project, in log order. Does not block.
  void Observe(absl::string_view project,
               const std::vector<trace::TraceLog::News>& news)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The k runs nearest to a valid trace in a view, but for the one with
  // sequence `self` (0: none). `outcome` UNSPECIFIED takes all. Returns why
  // indexing stands still, where it does.
  absl::StatusOr<std::vector<Ingestor::Similar>> FindSimilar(
      absl::string_view project, const v1::Trace& trace, v1::View view,
      uint64_t self, int k, v1::Outcome outcome) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // As Ingestor's methods of these names.
  void RequestCheckpoint(absl::string_view project) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<v1::Outcome> GetOutcomes(
      absl::string_view project, absl::Span<const uint64_t> sequences) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Fills in what indexing counts.
  void FillCounters(absl::string_view project,
                    Ingestor::Counters* counters) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The dimension of the project's caller embeddings; 0: not known.
  int EmbeddingDimension(absl::string_view project) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The same; becomes `dimension`, which is positive, where there is none yet.
  int FixEmbeddingDimension(absl::string_view project, int dimension)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Index;
  struct IndexBatch;
  struct Change;
  struct Project;

  Project& GetProject(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Project* FindProject(absl::string_view name) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Enqueue(Project* project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::StatusOr<std::shared_ptr<Index>> NewIndex(EmbedderPtr embedder) const;
  void IndexLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  // One batch of the index in use, then one of the index being built.
  void Advance(Project* project) ABSL_LOCKS_EXCLUDED(mutex_);
  // What is delivered next of the index, and up to where to read the log
  // where nothing is.
  IndexBatch TakeDelivered(Project* project, const Index& index,
                           uint64_t* read_to) ABSL_LOCKS_EXCLUDED(mutex_);
  // The records after those of the index, up to `last` at most, on several
  // threads where there are many.
  absl::StatusOr<IndexBatch> ReadBatch(const std::string& project,
                                       const Index& index, uint64_t last) const;
  absl::Status ReadRange(const std::string& project, const Index& index,
                         uint64_t first, uint64_t last,
                         IndexBatch* batch) const;
  static void Apply(const Change& change, Project* project);
  // `scratch` lends its memory.
  static void Analyze(const v1::LogRecord& record,
                      const embedding::Embedder& embedder,
                      embedding::Run* scratch, IndexBatch* batch);
  static void Append(IndexBatch&& from, IndexBatch* batch);
  // Fills in the sequences of judged and of replaced runs.
  absl::Status FindRuns(const std::string& project, IndexBatch* batch) const;
  // Adds and removes runs.
  static absl::Status UpdateSpaces(const IndexBatch& batch, Index* index);

  std::string CheckpointPath(const std::string& project) const;
  // Tells a log from another one with the same project. 0: the record is gone.
  absl::StatusOr<uint64_t> Anchor(const std::string& project,
                                  uint64_t sequence) const;
  // The project as it is now, to be written. On the index thread, or after it.
  struct Snapshot;
  std::unique_ptr<Snapshot> TakeSnapshot(Project* project)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status WriteCheckpoint(const Snapshot& snapshot) const;
  void CheckpointLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  // The project as it was saved. NOT_FOUND where it was not,
  // FAILED_PRECONDITION where it was under other settings, DATA_LOSS where the
  // file is damaged or another log's.
  struct Checkpoint;
  absl::StatusOr<Checkpoint> LoadCheckpoint(const std::string& project,
                                            EmbedderPtr embedder,
                                            uint64_t durable) const;
  // Takes what can be taken from the checkpoint. False where the rest must be
  // rebuilt under a new fingerprint, which nobody needs to wait for.
  absl::StatusOr<bool> Restore(const std::string& project, EmbedderPtr embedder)
      ABSL_LOCKS_EXCLUDED(mutex_);

  const Ingestor::Options options_;
  const EmbedderPtr first_embedder_;
  trace::TraceLog* const log_;

  mutable absl::Mutex mutex_;
  // Pointers to projects stay valid: none is ever removed.
  absl::flat_hash_map<std::string, std::unique_ptr<Project>> projects_
      ABSL_GUARDED_BY(mutex_);
  std::deque<Project*> ready_ ABSL_GUARDED_BY(mutex_);
  // Of vectors prepared and not yet added, in bytes.
  size_t backlog_ ABSL_GUARDED_BY(mutex_) = 0;
  // To be written by the checkpoint thread; one at a time.
  std::unique_ptr<Snapshot> snapshot_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Last: they use the others.
  std::thread thread_;
  std::thread checkpoint_thread_;
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_INDEXER_H_
