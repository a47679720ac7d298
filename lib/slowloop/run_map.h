#ifndef FAULTLINE_LIB_SLOWLOOP_RUN_MAP_H_
#define FAULTLINE_LIB_SLOWLOOP_RUN_MAP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/tick.pb.h"
#include "lib/embedding/run.h"
#include "lib/slowloop/matrix.h"

namespace faultline::slowloop {

// What is drawn. Views, valid during the call.
struct RunMapInput {
  absl::Span<const embedding::Run* const> runs;
  const Matrix* trajectory = nullptr;  // by run
  // Rows of `runs` that may be drawn: the discovery side, because only there is
  // it known of a failure that it belongs to no cluster.
  absl::Span<const int32_t> rows;
  // By cluster: rows of its members.
  std::vector<std::vector<int32_t>> members;
  const v1::RunMap* previous = nullptr;
  uint64_t tick = 0;
};

// Draws at most 2000 runs in the plane (cluster/plane.h). Groups are the
// clusters, the other failures and the successes. Of each cluster, of the
// failures and of the successes those are drawn that come first by a hash of
// their ids: who is drawn in one tick is drawn in the next. The axes outlive
// the embedding epoch, because a column stands for the same tokens in each.
// Pure.
v1::RunMap DrawRuns(const RunMapInput& input);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_RUN_MAP_H_
