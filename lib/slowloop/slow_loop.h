#ifndef FAULTLINE_LIB_SLOWLOOP_SLOW_LOOP_H_
#define FAULTLINE_LIB_SLOWLOOP_SLOW_LOOP_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/base/clock.h"
#include "lib/embedding/embedder.h"
#include "lib/policy/policy_board.h"
#include "lib/slowloop/replay.h"
#include "lib/store/key_value_store.h"
#include "lib/trace/trace_log.h"

namespace faultline::slowloop {

// What a tick published, immutable: readers hold it for one request.
struct TickSnapshot {
  v1::TickState state;
  std::shared_ptr<const embedding::Embedder> embedder;
  // Cluster id of each member sequence of the last tick.
  absl::flat_hash_map<uint64_t, std::string> cluster_of;
};

// The slow loop of one project: the only writer of ticks and policies. A tick
// is a pure function of the log up to its watermark, the previous TickState
// and its start time; it is stored in one atomic write, then published.
//
// Does not own its dependencies. Thread-safe; ticks of one project exclude
// each other.
class SlowLoop {
 public:
  struct Dependencies {
    trace::TraceLog* log;
    store::KeyValueStore* store;
    policy::PolicyBoard* board;
    const base::Clock* clock;
  };
  struct Options {
    embedding::Embedder::Options embedder;
    v1::ProjectConfig defaults;  // of a project without settings of its own
    int threads = 2;
    // Called after a tick that began a new embedding epoch.
    std::function<void(absl::string_view project,
                       std::shared_ptr<const embedding::Embedder>)>
        on_new_epoch;
  };

  // Loads the last tick of `project`. DATA_LOSS where it cannot be read.
  static absl::StatusOr<std::unique_ptr<SlowLoop>> Create(
      absl::string_view project, const Options& options,
      const Dependencies& dependencies);

  virtual ~SlowLoop() = default;

  // One tick. Returns the store's and the log's errors; then nothing changed.
  virtual absl::StatusOr<v1::Tick> RunOnce() = 0;

  // Last published tick; state.tick.tick is 0 before the first.
  virtual std::shared_ptr<const TickSnapshot> Snapshot() const = 0;

  // Ticks below `before` (0: all), latest first, at most `limit`.
  virtual absl::StatusOr<std::vector<v1::Tick>> Ticks(uint64_t before,
                                                      int limit) const = 0;

  // As ReplayTicks, of the stored ticks. Does not keep ticks from running.
  virtual absl::Status Replay(
      const std::function<bool(const ReplayedTick&)>& visit) const = 0;
};

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_SLOW_LOOP_H_
