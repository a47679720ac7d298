#ifndef FAULTLINE_SERVER_TRACE_INGEST_SERVICE_H_
#define FAULTLINE_SERVER_TRACE_INGEST_SERVICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "faultline/v1/ingest_service.pb.h"
#include "lib/ingest/ingestor.h"
#include "server/ingest_lane.h"
#include "server/projects.h"
#include "server/stream_registry.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// Most elements of one request.
inline constexpr int kMaxBatch = 4096;

// TraceIngestService. Does not own what it is given; all of it must outlive the
// service and the ingestor's last callback. Thread-safe, as gRPC asks.
//
// Requests are validated and serialised on gRPC's threads, large ones on those
// of `lane`, and answered by the log's committer, once they are durable;
// nothing waits in between.
//
// `ingestor`: takes every record. `projects`: opens a project, on `pool`, when
// its first trace is stored. `registry`: learns of each open stream, to drain
// it. `window`: traces that one stream may have in flight.
std::unique_ptr<grpc::Service> MakeTraceIngestService(
    ingest::Ingestor* ingestor, IngestLane* lane, Projects* projects,
    StreamRegistry* registry, WorkerPool* pool, uint64_t window);

// Opens a project that has a record on a thread of `pool`. One that cannot be
// opened now is opened by the next call.
void OpenSoon(const std::string& project, Projects* projects, WorkerPool* pool);

// `offset`: position of the batch in its stream.
void FillRejection(ingest::Ingestor::Refusal refusal, uint64_t offset,
                   v1::Rejection* rejection);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_TRACE_INGEST_SERVICE_H_
