#ifndef FAULTLINE_SERVER_INGEST_LANE_H_
#define FAULTLINE_SERVER_INGEST_LANE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/worker_pool.h"

namespace faultline::server {

// Where large batches are checked, embedded and handed to the log. On gRPC's
// few threads, which work off events in their order, the batches of one
// flooding project would delay every other call. Here they wait by project,
// projects take turns, and the threads run at a lower priority than gRPC's, so
// that small batches, which stay on these, go first.
//
// And where they are answered: a thread that writes to a connection may be made
// to work off what else the connection has to do, which takes milliseconds
// where it floods, and the log's committer must not wait for that.
//
// Thread-safe. The destructor stops it.
class IngestLane {
 public:
  // Batches up to this size are cheaper to work on at once.
  static constexpr size_t kSmallBytes = 64 << 10;

  // `threads` run until Stop. `max_bytes`: of the batches that wait.
  IngestLane(int threads, size_t max_bytes);
  ~IngestLane();

  IngestLane(const IngestLane&) = delete;
  IngestLane& operator=(const IngestLane&) = delete;

  // Runs `work` on a batch of `bytes` once: now, where it is small, else on a
  // thread of the lane. Batches of one project are begun in their order, where
  // all of them are large. UNAVAILABLE with a delay, and nothing happens, where
  // the project has as many bytes waiting as are free.
  absl::Status Run(absl::string_view project, size_t bytes,
                   std::function<void()> work) ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs `work`, which answers a call, once: on a thread for answers, or now
  // where the lane has stopped.
  void Answer(const std::function<void()>& work);

  // Runs what was accepted, then ends the threads; later work runs at once.
  // Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Batch {
    size_t bytes;
    std::function<void()> work;
  };
  struct Queue {
    std::deque<Batch> batches;
    size_t bytes = 0;  // of `batches`
  };

  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  const size_t max_bytes_;
  absl::Mutex mutex_;
  // By project. None is ever removed, so that pointers stay valid.
  absl::node_hash_map<std::string, Queue> queues_ ABSL_GUARDED_BY(mutex_);
  std::deque<Queue*> turns_ ABSL_GUARDED_BY(mutex_);  // those with batches
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
  WorkerPool answers_;
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_INGEST_LANE_H_
