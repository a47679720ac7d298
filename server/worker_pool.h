#ifndef FAULTLINE_SERVER_WORKER_POOL_H_
#define FAULTLINE_SERVER_WORKER_POOL_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace faultline::server {

// A few threads with a bounded queue, for whatever waits or computes: gRPC's
// own threads must do neither. Thread-safe. The destructor stops it.
class WorkerPool {
 public:
  // `threads` run until Stop; `max_queued` pieces of work wait at most, not
  // counting those that run.
  WorkerPool(int threads, size_t max_queued);
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Runs `work` once, on one of the threads, first come first served. It may
  // block and may Submit. False, and nothing happens, where the queue is full
  // or the pool stopped.
  bool Submit(std::function<void()> work) ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs what was accepted, then ends the threads. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  const size_t max_queued_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_WORKER_POOL_H_
