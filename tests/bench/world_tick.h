#ifndef FAULTLINE_TESTS_BENCH_WORLD_TICK_H_
#define FAULTLINE_TESTS_BENCH_WORLD_TICK_H_

#include <cstdint>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "faultline/v1/lineage.pb.h"
#include "faultline/v1/tick.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/embedding/embedder.h"
#include "lib/slowloop/run_window.h"
#include "lib/slowloop/tick.h"
#include "tests/bench/failure_map.h"
#include "tests/worlds/world.h"

namespace faultline::bench {

// The failures of a world, with what is known of them.
struct WorldFailures : FailureMap {
  std::vector<worlds::Truth> truth;  // n
};

// Traces in a temporary file, so that a tick reads them as it would from the
// log: from disk, and parsed. Not thread-safe.
class TraceFile {
 public:
  TraceFile();
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  void Append(const v1::Trace& trace);
  // The i-th trace. Returns DATA_LOSS where the disk was full.
  absl::StatusOr<v1::Trace> Read(uint64_t i) const;

 private:
  std::FILE* const file_;
  std::vector<uint64_t> end_;  // of each trace
};

// The slow loop over a world: a window that moves over its runs, and the real
// tick wherever it stands. Not thread-safe.
class WorldTicks {
 public:
  // A window holds `failures` failures and the latest successes before the last
  // of them, as many at most.
  WorldTicks(const worlds::WorldOptions& options, uint64_t failures,
             int threads);

  // Moves the window on until all of its failures are new.
  void Advance();

  // A reviewer's decision, which the next tick applies.
  void Review(v1::ClusterReview review) {
    reviews_.push_back(std::move(review));
  }

  // A tick over the window. Returns its errors.
  absl::StatusOr<slowloop::TickOutput> Tick();

  // A run that was drawn. As TraceFile::Read.
  absl::StatusOr<v1::Trace> ReadTrace(uint64_t sequence) const {
    return traces_.Read(sequence - 1);
  }

  // What the tick that gave `embedder` clustered in the behaviour view.
  WorldFailures MapFailures(const embedding::Embedder& embedder) const;

  // What is known of a run that was drawn.
  const worlds::Truth& truth(uint64_t sequence) const {
    return truths_[sequence - 1];
  }
  const worlds::World& world() const { return world_; }

 private:
  const worlds::World world_;
  const uint64_t failures_;
  const int threads_;
  const v1::ProjectConfig config_;
  slowloop::RunWindow window_;
  uint64_t next_sequence_ = 1;
  // Of every run so far.
  TraceFile traces_;
  std::vector<worlds::Truth> truths_;
  std::vector<v1::ClusterReview> reviews_;
  v1::TickState state_;
  v1::Policy policy_;
};

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_WORLD_TICK_H_
