#ifndef FAULTLINE_SERVER_POLICY_SERVICE_H_
#define FAULTLINE_SERVER_POLICY_SERVICE_H_

#include <memory>

#include "lib/base/clock.h"
#include "lib/ingest/ingestor.h"
#include "lib/policy/policy_board.h"
#include "server/projects.h"
#include "server/stream_registry.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// PolicyService over the board. Does not own what it is given.
std::unique_ptr<grpc::Service> MakePolicyService(
    policy::PolicyBoard* board, const ingest::Ingestor* ingestor,
    Projects* projects, StreamRegistry* registry, WorkerPool* pool,
    const base::Clock* clock);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_POLICY_SERVICE_H_
