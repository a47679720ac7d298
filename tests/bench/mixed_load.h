#ifndef FAULTLINE_TESTS_BENCH_MIXED_LOAD_H_
#define FAULTLINE_TESTS_BENCH_MIXED_LOAD_H_

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "tests/bench/ledger.h"

namespace faultline::bench {

// Everything that clients do to what a server keeps, from several threads at
// once: whole traces, runs in pieces and in spans, outcomes, deletions. First
// what the ledger has in doubt, then, where it is told so, new runs. What fails
// is tried again until the load is stopped. Does not own the ledger.
// Thread-safe.
class MixedLoad {
 public:
  // `new_runs`: goes on for ever; else it ends when nothing is in doubt.
  MixedLoad(int port, bool new_runs, Ledger* ledger);
  ~MixedLoad() { Stop(); }

  // No call begins from now on; those under way have to end, as they do when
  // the server goes. Calls that fail from now on are not counted.
  void Stop();
  // Waits until nothing is in doubt; false where that takes longer than
  // `patience`. Stops the load.
  bool Finish(absl::Duration patience);

  // How often which error was answered.
  std::map<std::string, uint64_t> Errors() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Stream(Way way);
  void StreamOnce(Way way, std::vector<Part> todo);
  void Export();
  void Judge();
  void Delete();
  // Of `todo`, which gets new runs where it has few, some.
  std::vector<Part> NextBatch(Way way, size_t most, std::vector<Part>* todo);
  // A pause after which something that failed is tried again.
  void CountError(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

  const int port_;
  const bool new_runs_;
  Ledger* const ledger_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> running_ = 0;
  mutable absl::Mutex mutex_;
  std::map<std::string, uint64_t> errors_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;  // last: they use the others
};

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_MIXED_LOAD_H_
