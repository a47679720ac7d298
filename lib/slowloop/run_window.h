#ifndef FAULTLINE_LIB_SLOWLOOP_RUN_WINDOW_H_
#define FAULTLINE_LIB_SLOWLOOP_RUN_WINDOW_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "faultline/v1/record.pb.h"
#include "lib/embedding/run.h"

namespace faultline::slowloop {

// The runs that a tick looks at: the latest failures, the latest successes and
// the latest runs whose outcome is not known yet; and runs that are pinned,
// which outlive the window. A function of the records applied, in log order,
// of the capacities in force and of what is pinned: applying a log in one go or
// between ticks gives the same window. Not thread-safe.
class RunWindow {
 public:
  struct Capacity {
    size_t failures = 50000;
    size_t successes = 50000;
    // Bounds runs without outcome, and outcomes that came before their trace.
    size_t pending = 100000;
  };

  explicit RunWindow(const Capacity& capacity) : capacity_(capacity) {}

  // Applies what a record says of runs; records that say nothing are ignored.
  // A replacement is a new run in the place of the old one: what was judged
  // of it holds.
  void Apply(const v1::LogRecord& record);

  // Takes effect at once: a smaller capacity evicts the oldest runs.
  void SetCapacity(const Capacity& capacity);

  // Holds these runs (sequences) until they are deleted or not pinned any more,
  // and lets others go that were. To be pinned, a run must be held, or not
  // applied yet.
  void Pin(absl::flat_hash_set<uint64_t> sequences);

  // A run with known outcome that is in the window or pinned; null where there
  // is none. Valid until the next Apply or Pin.
  const embedding::Run* Find(uint64_t sequence) const;

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
  void ApplyOutcome(uint64_t sequence, const v1::OutcomeRecord& record);
  void ApplyDeletion(const v1::Deletion& deletion);
  void AddEarlyOutcome(const std::string& trace_id,
                       const v1::Evaluation& evaluation);
  void Evict();
  void EvictOldest(RunMap* runs, size_t capacity);

  Capacity capacity_;
  absl::flat_hash_set<uint64_t> pins_;
  RunMap pinned_;  // what has left the window
  RunMap failures_;
  RunMap successes_;
  RunMap pending_;
  struct Place {
    uint64_t sequence;
    v1::Outcome outcome;  // names the map that holds the run
    bool replaceable;     // it was put together of pieces
  };
  absl::flat_hash_map<std::string, Place> places_;  // by trace id
  // What was judged of the replaceable runs.
  absl::flat_hash_map<std::string, v1::Evaluation> judgements_;
  // Outcomes of traces that have not arrived, or have left and may be replaced;
  // oldest first.
  absl::flat_hash_map<std::string, v1::Evaluation> early_outcomes_;
  std::deque<std::string> early_order_;
  embedding::FeatureNames names_;
};

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_RUN_WINDOW_H_
