#include "server/policy_history.h"

#include <vector>

#include "lib/base/status_macros.h"

namespace faultline::server {

absl::StatusOr<uint64_t> FirstPolicyVersion(
    const slowloop::SlowLoop& loop, const v1::Intervention& intervention) {
  const uint64_t start = intervention.start_tick();
  if (start == 0) return uint64_t{0};
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<v1::Tick> ticks,
                             loop.Ticks(start + 1, 1));
  if (ticks.empty() || ticks.front().tick() != start) return uint64_t{0};
  return ticks.front().policy_version();
}

}  // namespace faultline::server
