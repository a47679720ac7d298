#ifndef FAULTLINE_TESTS_BENCH_WORLD_TICK_H_
#define FAULTLINE_TESTS_BENCH_WORLD_TICK_H_

#include <cstdint>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "faultline/v1/config.pb.h"
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

// The slow loop over runs that are handed to it: the real tick, wherever it
// stands. Not thread-safe.
class TickDriver {
 public:
  // `config`: every field filled in; its capacities bound the window.
  TickDriver(v1::ProjectConfig config, int threads);

  // Adds a run; returns its sequence.
  uint64_t Append(const v1::Trace& trace);

  // A reviewer's decision, which the next tick applies.
  void Review(v1::ClusterReview review) {
    reviews_.push_back(std::move(review));
  }

  // A tick over the window. Returns its errors.
  absl::StatusOr<slowloop::TickOutput> Tick();

  // A run that was added. As TraceFile::Read.
  absl::StatusOr<v1::Trace> ReadTrace(uint64_t sequence) const {
    return traces_.Read(sequence - 1);
  }

  const v1::ProjectConfig& config() const { return config_; }
  const slowloop::RunWindow& window() const { return window_; }
  // As the last tick left them.
  const v1::TickState& state() const { return state_; }
  const v1::Policy& policy() const { return policy_; }
  // What the next tick takes for the time: of the data alone, a second a run.
  absl::Time now() const;

 private:
  const v1::ProjectConfig config_;
  const int threads_;
  slowloop::RunWindow window_;
  TraceFile traces_;
  uint64_t last_sequence_ = 0;
  std::vector<v1::ClusterReview> reviews_;
  v1::TickState state_;
  v1::Policy policy_;
};

// The slow loop over a world: a window that moves over its runs. Not
// thread-safe.
class WorldTicks {
 public:
  // A window holds `failures` failures and the latest successes before the last
  // of them, as many at most.
  WorldTicks(const worlds::WorldOptions& options, uint64_t failures,
             int threads);

  // Moves the window on until all of its failures are new.
  void Advance();

  // As TickDriver.
  void Review(v1::ClusterReview review) { driver_.Review(std::move(review)); }
  absl::StatusOr<slowloop::TickOutput> Tick() { return driver_.Tick(); }
  absl::StatusOr<v1::Trace> ReadTrace(uint64_t sequence) const {
    return driver_.ReadTrace(sequence);
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
  TickDriver driver_;
  std::vector<worlds::Truth> truths_;  // of every run so far
};

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_WORLD_TICK_H_
