#include "server/trace_ingest_service.h"

#include <glog/logging.h>

#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "faultline/v1/ingest_service.grpc.pb.h"
#include "lib/base/status_macros.h"
#include "server/deferred_unary.h"
#include "server/ingest_stream.h"
#include "server/request_check.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using ingest::Ingestor;

template <typename Response>
Response ToResponse(Ingestor::Result result) {
  Response response;
  response.set_stored(result.stored);
  response.set_duplicates(result.duplicates);
  response.set_durable_sequence(result.durable_sequence);
  for (Ingestor::Refusal& refusal : result.refusals) {
    FillRejection(std::move(refusal), 0, response.add_rejections());
  }
  return response;
}

class TraceIngestService final
    : public v1::TraceIngestService::CallbackService {
 public:
  TraceIngestService(Ingestor* ingestor, IngestLane* lane, Projects* projects,
                     StreamRegistry* registry, WorkerPool* pool,
                     uint64_t window)
      : ingestor_(ingestor),
        lane_(lane),
        projects_(projects),
        registry_(registry),
        pool_(pool),
        window_(window) {}

  grpc::ServerBidiReactor<v1::StreamTracesRequest, v1::StreamTracesResponse>*
  StreamTraces(CallbackServerContext* context) override {
    return IngestStream::Start(context, ingestor_, lane_, registry_, window_,
                               [this](const std::string& project) {
                                 OpenSoon(project, projects_, pool_);
                               });
  }

  ServerUnaryReactor* IngestTraces(
      CallbackServerContext* context, const v1::IngestTracesRequest* request,
      v1::IngestTracesResponse* response) override {
    return Ingest(context, *request, "traces", request->traces(), response,
                  &Ingestor::IngestTraces);
  }

  ServerUnaryReactor* RecordOutcomes(
      CallbackServerContext* context, const v1::RecordOutcomesRequest* request,
      v1::RecordOutcomesResponse* response) override {
    return Ingest(context, *request, "outcomes", request->outcomes(), response,
                  &Ingestor::RecordOutcomes);
  }

  ServerUnaryReactor* AnnotateTraces(
      CallbackServerContext* context, const v1::AnnotateTracesRequest* request,
      v1::AnnotateTracesResponse* response) override {
    return Ingest(context, *request, "annotations", request->annotations(),
                  response, &Ingestor::AnnotateTraces);
  }

 private:
  template <typename Element>
  using Method = absl::Status (Ingestor::*)(absl::string_view,
                                            std::vector<Element>&&,
                                            Ingestor::Done);

  // Answers when the log's committer reports the elements durable.
  template <typename Request, typename Element, typename Response>
  ServerUnaryReactor* Ingest(
      CallbackServerContext* context, const Request& request,
      absl::string_view field,
      const google::protobuf::RepeatedPtrField<Element>& elements,
      Response* response, Method<Element> method) {
    using Deferred = DeferredUnary<Response>;
    return Deferred::Start(
        context, response, [&](const typename Deferred::Reply& reply) {
          const absl::Status status =
              HandOver<Response>(request.parent(), request.ByteSizeLong(),
                                 field, elements, method, reply);
          if (!status.ok()) reply(status);
        });
  }

  template <typename Response, typename Element>
  absl::Status HandOver(
      const std::string& parent, size_t bytes, absl::string_view field,
      const google::protobuf::RepeatedPtrField<Element>& elements,
      Method<Element> method,
      const typename DeferredUnary<Response>::Reply& reply) {
    FAULTLINE_RETURN_IF_ERROR(CheckCount(field, elements.size(), 1, kMaxBatch));
    FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                               ParseProjectName("parent", parent));
    // The request is gone where the call is cancelled meanwhile.
    const auto taken = std::make_shared<std::vector<Element>>(elements.begin(),
                                                              elements.end());
    return lane_->Run(project, bytes, [this, reply, project, taken, method] {
      const absl::Status status = (ingestor_->*method)(
          project, std::move(*taken),
          [this, reply, project](absl::StatusOr<Ingestor::Result> result) {
            lane_->Answer(
                [this, reply, project, result = std::move(result)]() mutable {
                  if (!result.ok()) return reply(result.status());
                  if (result->stored > 0) OpenSoon(project, projects_, pool_);
                  reply(ToResponse<Response>(*std::move(result)));
                });
          });
      if (!status.ok()) reply(status);
    });
  }

  Ingestor* const ingestor_;
  IngestLane* const lane_;
  Projects* const projects_;
  StreamRegistry* const registry_;
  WorkerPool* const pool_;
  const uint64_t window_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeTraceIngestService(
    Ingestor* ingestor, IngestLane* lane, Projects* projects,
    StreamRegistry* registry, WorkerPool* pool, uint64_t window) {
  return std::make_unique<TraceIngestService>(ingestor, lane, projects,
                                              registry, pool, window);
}

void OpenSoon(const std::string& project, Projects* projects,
              WorkerPool* pool) {
  if (projects->IsOpen(project)) return;
  pool->Submit([projects, project] {
    const absl::Status status = projects->Open(project).status();
    if (!status.ok()) {
      LOG(ERROR) << "project " << project << " cannot be opened: " << status;
    }
  });
}

void FillRejection(Ingestor::Refusal refusal, uint64_t offset,
                   v1::Rejection* rejection) {
  rejection->set_index(offset + refusal.index);
  rejection->set_trace_id(std::move(refusal.trace_id));
  *rejection->mutable_error() = std::move(refusal.error);
}

}  // namespace faultline::server
