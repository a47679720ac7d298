#ifndef FAULTLINE_SERVER_MAP_VIEW_H_
#define FAULTLINE_SERVER_MAP_VIEW_H_

#include <string>

#include "absl/status/statusor.h"
#include "faultline/v1/behavior_service.pb.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/trace/trace_log.h"

namespace faultline::server {

// Points that a tick draws.
inline constexpr int kMaxMapPoints = 2000;

// The map of a snapshot, at most `max_points` runs of it: positions are the
// tick's, what else is told of a run is read from the log. What was deleted
// since is left out. Waits for the store. Returns the log's errors.
absl::StatusOr<v1::GetMapResponse> MakeMap(
    const slowloop::TickSnapshot& snapshot, const std::string& project,
    int max_points, const trace::TraceLog& log);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_MAP_VIEW_H_
