#ifndef FAULTLINE_LIB_SLOWLOOP_TICK_H_
#define FAULTLINE_LIB_SLOWLOOP_TICK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/lineage.pb.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/tick.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/clock.h"
#include "lib/embedding/embedder.h"
#include "lib/slowloop/run_window.h"

namespace faultline::slowloop {

// Everything that a tick depends on. Views; valid during the call.
struct TickInput {
  std::string project;
  uint64_t tick = 0;
  absl::Time now;  // the tick's start time
  uint64_t watermark = 0;
  const RunWindow* window = nullptr;  // the log up to watermark
  // Decisions since the previous tick, in the order of the log.
  std::vector<v1::InterventionReview> reviews;
  std::vector<v1::ClusterReview> cluster_reviews;  // with their sequences
  v1::ProjectConfig config;                        // filled in
  const v1::TickState* previous = nullptr;
  const v1::Policy* previous_policy = nullptr;
  embedding::Embedder::Options embedder;
  // A stored trace of the window by sequence.
  std::function<absl::StatusOr<v1::Trace>(uint64_t sequence)> read_trace;
  int threads = 2;
  // Times the stages; the result does not depend on it.
  const base::Clock* clock = nullptr;
};

// What a tick leaves.
struct TickOutput {
  v1::TickState state;  // digest filled in
  v1::Policy policy;    // equal to previous_policy
                        // where nothing changed
  std::shared_ptr<const embedding::Embedder> embedder;
  std::vector<v1::TickStage> stages;  // with durations
};

// Whether clusters are discovered on a run; else it is held out and tests them.
// Depends on the run alone: it keeps its side for life (METHODS 0.3).
bool OnDiscoverySide(absl::string_view trace_id, double discovery_share);

// One tick: embed, cluster, track identity, validate, diagnose, draw the map,
// measure novelty, learn the risk, measure effects, plan, freeze what trials
// count, compile. A pure function of its input but for the durations of the
// stages: the same input gives the same state and policy with any number of
// threads. Returns the errors of `read_trace` and of the stages.
absl::StatusOr<TickOutput> ComputeTick(const TickInput& input);

// SHA-256 of the state's deterministic bytes without tick.digest and
// tick.stages.
std::string StateDigest(const v1::TickState& state);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_TICK_H_
