#ifndef FAULTLINE_SERVER_TRACE_INGEST_SERVICE_H_
#define FAULTLINE_SERVER_TRACE_INGEST_SERVICE_H_

#include <cstdint>
#include <memory>

#include "faultline/v1/ingest_service.pb.h"
#include "lib/ingest/ingestor.h"
#include "server/projects.h"
#include "server/stream_registry.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// Most elements of one request.
inline constexpr int kMaxBatch = 4096;

// TraceIngestService over the ingestor; opens projects with their first trace.
// `window`: traces that one stream may have in flight. Does not own what it
// is given.
std::unique_ptr<grpc::Service> MakeTraceIngestService(
    ingest::Ingestor* ingestor, Projects* projects, StreamRegistry* registry,
    WorkerPool* pool, uint64_t window);

// `offset`: position of the batch in its stream.
void FillRejection(ingest::Ingestor::Refusal refusal, uint64_t offset,
                   v1::Rejection* rejection);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_TRACE_INGEST_SERVICE_H_
