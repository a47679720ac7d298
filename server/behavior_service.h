#ifndef FAULTLINE_SERVER_BEHAVIOR_SERVICE_H_
#define FAULTLINE_SERVER_BEHAVIOR_SERVICE_H_

#include <memory>

#include "lib/ingest/ingestor.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// BehaviorService. Does not own what it is given; all of it must outlive the
// service. Thread-safe, as gRPC asks.
//
// Calls run on `pool`, because they read from the log.
//
// `ingestor`: the behaviour space and the outcomes. `log`: the runs.
// `projects`: their clusters, as of the last tick.
std::unique_ptr<grpc::Service> MakeBehaviorService(
    const ingest::Ingestor* ingestor, const trace::TraceLog* log,
    Projects* projects, WorkerPool* pool);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_BEHAVIOR_SERVICE_H_
