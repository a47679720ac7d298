#ifndef FAULTLINE_LIB_SLOWLOOP_RUN_WINDOW_H_
#define FAULTLINE_LIB_SLOWLOOP_RUN_WINDOW_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "faultline/v1/record.pb.h"
#include "lib/embedding/run.h"

namespace faultline::slowloop {

// The runs that a tick looks at: the latest failures, the latest successes and
// the latest runs whose outcome is not known yet. A function of the records
// applied, in log order, and of the capacities in force: applying a log in one
// go or between ticks gives the same window. Not thread-safe.
class RunWindow {
 public:
  struct Capacity {
    size_t failures = 50000;
    size_t successes = 50000;
    // Bounds runs without outcome, and outcomes that came before their trace.
    size_t pending = 100000;
  };

  explicit RunWindow(const Capacity& capacity) : capacity_(capacity) {}

  // Applies a trace or outcome record; others are ignored.
  void Apply(const v1::LogRecord& record);

  // Takes effect at once: a smaller capacity evicts the oldest runs.
  void SetCapacity(const Capacity& capacity);

  // Runs with known outcome, ascending by trace id, so that the order in which
  // runs arrived does not matter to the analysis. Valid until the next Apply.
  std::vector<const embedding::Run*> KnownRuns() const;

  // Runs without outcome, ascending by trace id.
  std::vector<const embedding::Run*> PendingRuns() const;

  // What the keys of the runs stand for, and of runs that have left since.
  const embedding::FeatureNames& names() const { return names_; }

 private:
  using RunMap = std::map<uint64_t, embedding::Run>;  // by sequence

  RunMap& MapOf(v1::Outcome outcome);
  void ApplyTrace(uint64_t sequence, const v1::Trace& trace);
  void ApplyOutcome(const v1::OutcomeRecord& record);
  void Evict();
  void EvictOldest(RunMap* runs, size_t capacity);

  Capacity capacity_;
  RunMap failures_;
  RunMap successes_;
  RunMap pending_;
  struct Place {
    uint64_t sequence;
    v1::Outcome outcome;  // names the map that holds the run
  };
  absl::flat_hash_map<std::string, Place> places_;  // by trace id
  // Outcomes of traces that have not arrived, oldest first.
  absl::flat_hash_map<std::string, v1::Evaluation> early_outcomes_;
  std::deque<std::string> early_order_;
  embedding::FeatureNames names_;
};

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_RUN_WINDOW_H_
