#ifndef FAULTLINE_SERVER_INTERVENTION_SERVICE_H_
#define FAULTLINE_SERVER_INTERVENTION_SERVICE_H_

#include <memory>

#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// InterventionService over the last ticks; reviews go to the log. Does not own
// what it is given.
std::unique_ptr<grpc::Service> MakeInterventionService(Projects* projects,
                                                       trace::TraceLog* log,
                                                       WorkerPool* pool);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_INTERVENTION_SERVICE_H_
