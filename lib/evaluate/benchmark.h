#ifndef FAULTLINE_LIB_EVALUATE_BENCHMARK_H_
#define FAULTLINE_LIB_EVALUATE_BENCHMARK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/evaluation_service.pb.h"
#include "faultline/v1/trace.pb.h"

// Which runs make up a benchmark of failures: the same number of each mode
// where there are as many, the runs that stand for it first, and each run once.

namespace faultline::evaluate {

// What runs are matched by; 0: the run says nothing.
struct TaskKeys {
  uint64_t task = 0;  // task.id
  uint64_t kind = 0;  // task.type and task.dataset
};
TaskKeys TaskKeysOf(const v1::Trace& trace);

// A failure that may stand for a mode.
struct BenchmarkFailure {
  uint64_t sequence = 0;
  v1::BenchmarkItem::Role role = v1::BenchmarkItem::ROLE_MEMBER;
  bool held_out = false;
  double strength = 0;
  std::optional<double> relative_distance;  // held out
};

struct BenchmarkMode {
  const v1::Cluster* cluster = nullptr;
  std::vector<BenchmarkFailure> failures;  // in any order
};

// A success that may be matched to a failure.
struct BenchmarkSuccess {
  uint64_t sequence = 0;
  bool held_out = false;
  TaskKeys keys;
};

// What is asked of a failure once it is chosen.
struct RunFacts {
  std::string trace_id;
  TaskKeys keys;
};
using ReadFacts = std::function<absl::StatusOr<RunFacts>(uint64_t sequence)>;

// Every field in force.
struct BenchmarkLimits {
  size_t per_mode = 50;
  size_t boundary_per_mode = 0;
  size_t successes_per_failure = 0;
  size_t max_items = 1000;
  uint64_t seed = 0;
};

// A run of the benchmark, but for its trace and outcome.
struct BenchmarkRun {
  uint64_t sequence = 0;
  const v1::Cluster* cluster = nullptr;  // of its mode
  v1::BenchmarkItem::Role role = v1::BenchmarkItem::ROLE_UNSPECIFIED;
  bool held_out = false;
  double strength = 0;
  std::optional<double> relative_distance;
  std::string matched_to;  // matched successes
  bool same_task = false;
};

struct BenchmarkPlan {
  std::vector<BenchmarkRun> runs;  // by mode, then split, then role
  // Strata, in the order of the modes, and the counts that follow from the
  // choice.
  v1::BenchmarkSummary summary;
};

// Chooses. Of a mode and a split: medoid, exemplars, then members in an order
// that the seed draws; modes take turns, one failure with its successes at a
// time, until `max_items` are reached; boundary cases come when a mode has no
// other failure left. A failure that may stand for several modes stands for the
// one that takes it first, and a success is matched to one failure. Depends on
// neither the order of failures nor that of successes. A failure of which
// `facts` returns NOT_FOUND was deleted and is skipped; other errors are
// returned.
absl::StatusOr<BenchmarkPlan> PlanBenchmark(
    absl::Span<const BenchmarkMode> modes,
    absl::Span<const BenchmarkSuccess> successes, const BenchmarkLimits& limits,
    const ReadFacts& facts);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_BENCHMARK_H_
