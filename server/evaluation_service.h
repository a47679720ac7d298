#ifndef FAULTLINE_SERVER_EVALUATION_SERVICE_H_
#define FAULTLINE_SERVER_EVALUATION_SERVICE_H_

#include <memory>

#include "lib/ingest/ingestor.h"
#include "lib/policy/policy_board.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// What the evaluation service is made of. Not owned; all of it must outlive
// the service.
struct EvaluationDependencies {
  Projects* projects;
  const trace::TraceLog* log;
  const ingest::Ingestor* ingestor;  // outcomes
  const policy::PolicyBoard* board;
  WorkerPool* pool;      // for what takes milliseconds
  WorkerPool* analysis;  // for what reads a stretch of the log
};

// EvaluationService. Thread-safe, as gRPC asks.
//
// Clusters, interventions and ticks come from the snapshot of the last tick.
// Runs come from the log, by a scan of its last 200000 records up to that
// snapshot's watermark, rather than from the slow loop's window. For the window
// is bounded by outcome, so that rates over it are wrong once it is full; it
// keeps of a run only what diagnosis reads, so that not every field could be
// asked for; and to share it would either hold a tick up or copy it. The scan
// is a function of log and watermark; it costs time (0.6 s for 100000 runs of
// the lab) and, while it lasts, what an answer needs of each run (40 MB to
// 120 MB where the stretch is full). Scans take turns on `analysis`, whose
// threads bound both; a call beyond its queue is UNAVAILABLE.
std::unique_ptr<grpc::Service> MakeEvaluationService(
    const EvaluationDependencies& dependencies);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_EVALUATION_SERVICE_H_
