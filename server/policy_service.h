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

// PolicyService. Does not own what it is given; all of it must outlive the
// service. Thread-safe, as gRPC asks.
//
// On gRPC's own threads, without I/O: GetPolicy of the current version (no
// copy of the policy where the caller has it), WatchPolicy and ListRouters. On
// `pool`: Recommend, which embeds and searches, and whatever reads old versions
// from the store.
//
// `board`: policies, watchers, routers. `ingestor`: runs near a run.
// `projects`: clusters of those runs. `registry`: learns of each open watch, to
// drain it and keep it alive. `clock`: decides which rules have expired.
std::unique_ptr<grpc::Service> MakePolicyService(
    policy::PolicyBoard* board, const ingest::Ingestor* ingestor,
    Projects* projects, StreamRegistry* registry, WorkerPool* pool,
    const base::Clock* clock);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_POLICY_SERVICE_H_
