#ifndef FAULTLINE_SERVER_POLICY_HISTORY_H_
#define FAULTLINE_SERVER_POLICY_HISTORY_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "faultline/v1/intervention.pb.h"
#include "lib/slowloop/slow_loop.h"

namespace faultline::server {

// Policy version that began to carry the rule of an intervention: that of the
// tick which started its last trial. 0: it never started. Reads one tick.
// Returns the loop's errors.
absl::StatusOr<uint64_t> FirstPolicyVersion(
    const slowloop::SlowLoop& loop, const v1::Intervention& intervention);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_POLICY_HISTORY_H_
