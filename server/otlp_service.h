#ifndef FAULTLINE_SERVER_OTLP_SERVICE_H_
#define FAULTLINE_SERVER_OTLP_SERVICE_H_

#include <memory>

#include "lib/ingest/ingestor.h"
#include "lib/trace/trace_validator.h"
#include "server/ingest_lane.h"
#include "server/projects.h"
#include "server/worker_pool.h"

namespace grpc {
class Service;
}

namespace faultline::server {

// opentelemetry.proto.collector.trace.v1.TraceService: what OpenTelemetry SDKs
// and Collectors export to. docs/otlp.md says what becomes of a span.
//
// An export is answered when every part of it is durable or refused. Spans that
// are refused are counted in `partial_success`; they must not come again. Where
// the store cannot take the export now, or fails, the whole of it is to be sent
// again: the answer is UNAVAILABLE, or RESOURCE_EXHAUSTED for a quota, both
// with RetryInfo. What had been stored by then is known by its ids.
//
// Spans are mapped on gRPC's threads, large exports on those of `lane`, and
// answered by the log's committer; nothing waits in between. Does not own what
// it is given; all of it must outlive the service and the ingestor's last
// callback. Thread-safe, as gRPC asks.
//
// `projects`: opens a project, on `pool`, when a judgement of it is stored.
std::unique_ptr<grpc::Service> MakeOtlpService(
    ingest::Ingestor* ingestor, IngestLane* lane,
    const trace::TraceValidator* validator, Projects* projects,
    WorkerPool* pool);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_OTLP_SERVICE_H_
