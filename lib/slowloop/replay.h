#ifndef FAULTLINE_LIB_SLOWLOOP_REPLAY_H_
#define FAULTLINE_LIB_SLOWLOOP_REPLAY_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/base/clock.h"
#include "lib/embedding/embedder.h"
#include "lib/trace/trace_log.h"

namespace faultline::slowloop {

// A tick that was computed again.
struct ReplayedTick {
  v1::Tick recorded;         // as it was stored then
  std::string digest;        // of the state, as Tick.digest
  std::string embedder;      // as Tick.embedder
  v1::Policy policy;         // in force after it; version 0: none yet
  bool same_policy = false;  // as the one that was served

  // Whether it left what it left then.
  bool same() const { return digest == recorded.digest() && same_policy; }
};

struct ReplayInput {
  std::string project;
  const trace::TraceLog* log = nullptr;
  // As recorded. NOT_FOUND ends the replay.
  std::function<absl::StatusOr<v1::Tick>(uint64_t tick)> read_tick;
  // As it was served. NOT_FOUND where there is none.
  std::function<absl::StatusOr<v1::Policy>(uint64_t version)> read_policy;
  // In force while the log had no settings and the tick recorded none.
  v1::ProjectConfig defaults;
  embedding::Embedder::Options embedder;
  int threads = 2;
  const base::Clock* clock = nullptr;
};

// Computes the ticks again from the first one on, of the log, what the tick
// before left and the recorded inputs (start time, watermark, settings) alone,
// until `visit` returns false. Writes nothing. Takes as long as the ticks took,
// and the memory of one more window.
//
// FAILED_PRECONDITION, naming the tick, where runs that it looked at were
// deleted since; the ticks before it are visited first. Returns the log's
// errors and those of the ticks.
absl::Status ReplayTicks(const ReplayInput& input,
                         const std::function<bool(const ReplayedTick&)>& visit);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_REPLAY_H_
