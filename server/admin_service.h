#ifndef FAULTLINE_SERVER_ADMIN_SERVICE_H_
#define FAULTLINE_SERVER_ADMIN_SERVICE_H_

#include <memory>

#include "lib/base/clock.h"
#include "lib/ingest/ingestor.h"
#include "lib/policy/policy_board.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// AdminService; the server starts when it is made. Does not own what it is
// given.
std::unique_ptr<grpc::Service> MakeAdminService(
    const ingest::Ingestor* ingestor, const trace::TraceLog* log,
    const policy::PolicyBoard* board, Projects* projects, WorkerPool* pool,
    const base::Clock* clock);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_ADMIN_SERVICE_H_
