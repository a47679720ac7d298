#ifndef FAULTLINE_SERVER_INTERVENTION_SERVICE_H_
#define FAULTLINE_SERVER_INTERVENTION_SERVICE_H_

#include <memory>

#include "lib/policy/policy_board.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// InterventionService. Does not own what it is given; all of it must outlive
// the service. Thread-safe, as gRPC asks.
//
// Reads answer from the snapshot of the last tick. A review is checked against
// that snapshot (ABORTED for an old etag, FAILED_PRECONDITION where the state
// does not allow it), appended to `log`, and answered when it is durable: the
// service itself changes nothing. The tick that it triggers applies it, and
// decides where two reviews disagree. Reviews and explanations run on `pool`,
// because they wait for the log, or for the versions of `board`.
std::unique_ptr<grpc::Service> MakeInterventionService(
    Projects* projects, trace::TraceLog* log, const policy::PolicyBoard* board,
    WorkerPool* pool);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_INTERVENTION_SERVICE_H_
