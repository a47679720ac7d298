#ifndef FAULTLINE_SERVER_CLUSTER_SERVICE_H_
#define FAULTLINE_SERVER_CLUSTER_SERVICE_H_

#include <memory>

#include "lib/ingest/ingestor.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// ClusterService. Does not own what it is given; all of it must outlive the
// service. Thread-safe, as gRPC asks.
//
// Every answer is of one snapshot: the last tick when the call came in. Pages
// of one list may be of different ticks; a cluster may then show twice or not
// at all. A review is checked against the snapshot, appended to `log`, and
// answered when it is durable; the tick that it triggers applies it. What reads
// or waits for the store runs on `pool`.
std::unique_ptr<grpc::Service> MakeClusterService(
    Projects* projects, const ingest::Ingestor* ingestor, trace::TraceLog* log,
    WorkerPool* pool);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_CLUSTER_SERVICE_H_
