#ifndef FAULTLINE_CLIENT_ARENA_EARLY_WARNING_H_
#define FAULTLINE_CLIENT_ARENA_EARLY_WARNING_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "client/arena/arena.h"
#include "client/arena/recorded_runs.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/clock.h"

namespace faultline::arena {

struct WarningOptions {
  uint64_t seed = 1;
  double unseen_share = 0.2;
};

// How well a risk tells the runs that will fail from the others.
struct RiskQuality {
  double auc = 0;          // AreaUnderCurve
  double calibration = 0;  // CalibrationError
  double brier = 0;        // mean squared error
};

// What the server made of runs cut after a share of their steps.
struct WarningAt {
  double share = 0;  // of the steps; 1: whole runs
  RiskQuality risk;
};

struct WarningResult {
  uint64_t seed = 0;
  int learning_runs = 0;
  int unseen_runs = 0;
  // Failure rate of task type and model in the runs of the learning tasks.
  RiskQuality baseline;
  std::vector<WarningAt> at;  // by ascending share
};

// Shares of the steps after which a run is cut.
inline constexpr double kCuts[] = {0.25, 0.5, 0.75, 1};

// The first `share` of the steps of a run, at least one, and what is known of
// it then: no outcome.
v1::Trace CutRun(const v1::Trace& run, double share);

// Sends every recorded run of the learning tasks, runs a tick, and asks
// Recommend about every recorded run of the unseen tasks, cut. Errors are the
// backend's.
absl::StatusOr<WarningResult> MeasureWarnings(const RecordedRuns& recorded,
                                              const WarningOptions& options,
                                              const base::Clock& clock,
                                              Backend* backend,
                                              const ProgressSink& progress);

}  // namespace faultline::arena

#endif  // FAULTLINE_CLIENT_ARENA_EARLY_WARNING_H_
