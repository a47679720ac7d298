#ifndef FAULTLINE_SERVER_CLUSTER_MEMBERS_H_
#define FAULTLINE_SERVER_CLUSTER_MEMBERS_H_

#include "absl/status/statusor.h"
#include "faultline/v1/cluster_service.pb.h"
#include "lib/ingest/ingestor.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/trace/trace_log.h"
#include "server/page_token.h"
#include "server/resource_name.h"

namespace faultline::server {

// One page of the runs of `cluster`, which is of `snapshot`: with `roles` those
// that have one of them, else its members. What was deleted since the tick is
// left out. Nearest successes are looked up in the index now, so they may be
// later than the tick. Waits for the store. Returns INVALID_ARGUMENT for a role
// that is none, and the errors of the log and of the index.
absl::StatusOr<v1::ListMembersResponse> ListClusterMembers(
    const v1::ListMembersRequest& request, const std::string& project,
    const v1::Cluster& cluster, const slowloop::TickSnapshot& snapshot,
    const trace::TraceLog& log, const ingest::Ingestor& ingestor);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_CLUSTER_MEMBERS_H_
