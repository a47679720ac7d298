#ifndef FAULTLINE_SERVER_CLUSTER_SERVICE_H_
#define FAULTLINE_SERVER_CLUSTER_SERVICE_H_

#include <memory>

#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// ClusterService over the last ticks. Does not own what it is given.
std::unique_ptr<grpc::Service> MakeClusterService(Projects* projects,
                                                  const trace::TraceLog* log,
                                                  WorkerPool* pool);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_CLUSTER_SERVICE_H_
