#include "server/otlp_service.h"

#include <glog/logging.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/error_detail.h"
#include "lib/ingest/otlp/attributes.h"
#include "lib/ingest/otlp/project_name.h"
#include "lib/ingest/otlp/span_mapper.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "server/deferred_unary.h"
#include "server/request_keeper.h"
#include "server/trace_ingest_service.h"

namespace faultline::server {
namespace {

using ingest::Ingestor;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
using opentelemetry::proto::trace::v1::ResourceSpans;
using opentelemetry::proto::trace::v1::ScopeSpans;
using opentelemetry::proto::trace::v1::Span;
namespace collector = opentelemetry::proto::collector::trace::v1;

constexpr char kProjectHeader[] = "x-project-name";
// Refused spans that an answer describes.
constexpr size_t kShownRefusals = 8;
constexpr size_t kMaxMessageBytes = 4096;
constexpr size_t kTraceIdBytes = 16;

// Elements for one project, each with the number of its span in the export.
template <typename Element>
struct Numbered {
  std::vector<Element> elements;
  std::vector<size_t> spans;

  void Add(Element element, size_t span) {
    elements.push_back(std::move(element));
    spans.push_back(span);
  }
};

struct ProjectSpans {
  Numbered<v1::Piece> pieces;
  Numbered<v1::OutcomeRecord> outcomes;
  Numbered<v1::AnnotationRecord> annotations;
};

// One export: its parts go their ways, and the last one to arrive answers.
// Thread-safe.
class ExportCall {
 public:
  using Reply = DeferredUnary<ExportTraceServiceResponse>::Reply;

  explicit ExportCall(Reply reply) : reply_(std::move(reply)) {}

  // A part sets out. Each must arrive.
  void Depart() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    ++under_way_;
  }

  // `spans`: numbers by position in the part.
  void Arrive(const std::vector<size_t>& spans,
              absl::StatusOr<Ingestor::Result> result)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      if (!result.ok()) {
        status_.Update(Retryable(result.status()));
      } else {
        for (const Ingestor::Refusal& refusal : result->refusals) {
          Note(spans[refusal.index], refusal.trace_id, refusal.error);
        }
      }
      if (--under_way_ > 0) return;
    }
    reply_(Answer());
  }

  void Refuse(size_t span, const std::string& trace_id,
              const v1::ErrorDetail& error) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    Note(span, trace_id, error);
  }

  void Warn(uint64_t string_indexes, uint64_t ignored)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    string_indexes_ += string_indexes;
    ignored_ += ignored;
  }

 private:
  // As an exporter must see it: a fault of the store is no reason to drop what
  // it holds.
  static absl::Status Retryable(const absl::Status& status) {
    if (absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) {
      return status;
    }
    LOG(ERROR) << "an export was not stored: " << status;
    return OverloadedError(
        absl::StrCat("the spans were not stored: ", status.message()));
  }

  void Note(size_t span, const std::string& trace_id,
            const v1::ErrorDetail& error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!refused_.insert(span).second || refused_.size() > kShownRefusals) {
      return;
    }
    absl::StrAppend(&message_, message_.empty() ? "" : "; ", "span ", span,
                    " of trace ", trace_id, ": ", error.field(),
                    error.field().empty() ? "" : ": ", error.message(), " (",
                    error.limit(), ")");
  }

  absl::StatusOr<ExportTraceServiceResponse> Answer()
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return status_;
    if (refused_.size() > kShownRefusals) {
      absl::StrAppend(&message_, "; and ", refused_.size() - kShownRefusals,
                      " more");
    }
    if (string_indexes_ > 0) {
      absl::StrAppend(&message_, message_.empty() ? "" : "; ", string_indexes_,
                      " attributes refer to a string table, which traces do "
                      "not have, and were left out");
    }
    if (ignored_ > 0) {
      absl::StrAppend(&message_, message_.empty() ? "" : "; ", ignored_,
                      " faultline.* attributes or evaluations are of no run "
                      "or name no field, and were left out");
    }
    ExportTraceServiceResponse response;
    if (!refused_.empty() || !message_.empty()) {
      auto* partial = response.mutable_partial_success();
      partial->set_rejected_spans(static_cast<int64_t>(refused_.size()));
      partial->set_error_message(base::CutText(message_, kMaxMessageBytes));
    }
    return response;
  }

  const Reply reply_;
  absl::Mutex mutex_;
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::set<size_t> refused_ ABSL_GUARDED_BY(mutex_);
  std::string message_ ABSL_GUARDED_BY(mutex_);
  uint64_t string_indexes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t ignored_ ABSL_GUARDED_BY(mutex_) = 0;
};

class OtlpService final : public collector::TraceService::CallbackService {
 public:
  OtlpService(Ingestor* ingestor, IngestLane* lane,
              const trace::TraceValidator* validator, Projects* projects,
              WorkerPool* pool)
      : ingestor_(ingestor),
        lane_(lane),
        validator_(validator),
        projects_(projects),
        pool_(pool) {
    SetMessageAllocatorFor_Export(&requests_);
  }

  grpc::ServerUnaryReactor* Export(
      grpc::CallbackServerContext* context,
      const ExportTraceServiceRequest* request,
      ExportTraceServiceResponse* response) override {
    return DeferredUnary<ExportTraceServiceResponse>::Start(
        context, response, [&](const ExportCall::Reply& reply) {
          const auto found = context->client_metadata().find(kProjectHeader);
          const std::string header =
              found == context->client_metadata().end()
                  ? ""
                  : std::string(found->second.data(), found->second.size());
          const auto call = std::make_shared<ExportCall>(reply);
          const size_t bytes = request->ByteSizeLong();
          if (bytes <= IngestLane::kSmallBytes) {
            return Take(*request, header, call);
          }
          const std::string project = ProjectOf(*request, header);
          // A loaded server refuses cheaply.
          absl::Status status = ingestor_->CheckRoom(project, /*pieces=*/true);
          if (status.ok()) {
            const auto kept = Requests::Keep(context);
            status = lane_->Run(project, bytes, [this, kept, header, call] {
              Take(*kept, header, call);
            });
          }
          if (!status.ok()) reply(status);
        });
  }

 private:
  using ExportPtr = std::shared_ptr<ExportCall>;
  using Requests =
      RequestKeeper<ExportTraceServiceRequest, ExportTraceServiceResponse>;

  // Of its first spans; an export is rarely of several projects.
  static std::string ProjectOf(const ExportTraceServiceRequest& request,
                               absl::string_view header) {
    if (request.resource_spans().empty()) return "";
    const otlp::AttributeTable attributes(
        request.resource_spans(0).resource().attributes());
    return otlp::ProjectOf(header, attributes.view());
  }

  void Take(const ExportTraceServiceRequest& request, absl::string_view header,
            const ExportPtr& call) {
    call->Depart();  // so that no part that is fast answers for the others
    std::map<std::string, ProjectSpans> projects;
    size_t number = 0;
    for (const ResourceSpans& resource : request.resource_spans()) {
      const otlp::AttributeTable attributes(resource.resource().attributes());
      call->Warn(attributes.string_indexes(), 0);
      const std::string project = otlp::ProjectOf(header, attributes.view());
      for (const ScopeSpans& scope : resource.scope_spans()) {
        for (const Span& span : scope.spans()) {
          MapSpan(attributes.view(), span, number++, project,
                  &projects[project], call.get());
        }
      }
    }
    for (auto& [project, spans] : projects) {
      Send(project, std::move(spans.pieces), &Ingestor::IngestPieces, call);
      Send(project, std::move(spans.outcomes), &Ingestor::RecordOutcomes, call);
      Send(project, std::move(spans.annotations), &Ingestor::AnnotateTraces,
           call);
    }
    call->Arrive({}, Ingestor::Result());
  }

  void MapSpan(const otlp::AttributeView& resource, const Span& span,
               size_t number, const std::string& project, ProjectSpans* spans,
               ExportCall* call) {
    absl::StatusOr<otlp::MappedSpan> mapped =
        otlp::MapSpan(resource, span, validator_->limits());
    if (!mapped.ok()) {
      const v1::ErrorDetail error =
          base::GetErrorDetail(mapped.status()).value_or(v1::ErrorDetail());
      const std::string trace_id =
          absl::BytesToHexString(span.trace_id().substr(0, kTraceIdBytes));
      call->Refuse(number, trace_id, error);
      ingestor_->AddRejection(project, v1::RECORD_SOURCE_OTLP, trace_id, error);
      return;
    }
    if (mapped->string_indexes + mapped->ignored > 0) {
      call->Warn(mapped->string_indexes, mapped->ignored);
    }
    if (mapped->piece.has_value()) {
      spans->pieces.Add(*std::move(mapped->piece), number);
    }
    for (v1::OutcomeRecord& outcome : mapped->outcomes) {
      spans->outcomes.Add(std::move(outcome), number);
    }
    for (v1::AnnotationRecord& annotation : mapped->annotations) {
      spans->annotations.Add(std::move(annotation), number);
    }
  }

  // In batches, so that no export is too large to be stored.
  template <typename Element, typename Method>
  void Send(const std::string& project, Numbered<Element> all, Method method,
            const ExportPtr& call) {
    for (size_t begin = 0; begin < all.elements.size(); begin += kMaxBatch) {
      const size_t end =
          std::min<size_t>(all.elements.size(), begin + kMaxBatch);
      std::vector<Element> elements(
          std::make_move_iterator(all.elements.begin() + begin),
          std::make_move_iterator(all.elements.begin() + end));
      std::vector<size_t> spans(all.spans.begin() + begin,
                                all.spans.begin() + end);
      call->Depart();
      const absl::Status status = (ingestor_->*method)(
          project, std::move(elements),
          [this, call, project,
           spans](absl::StatusOr<Ingestor::Result> result) {
            if (result.ok() && result->durable_sequence > 0) {
              OpenSoon(project, projects_, pool_);
            }
            lane_->Answer([call, spans, result = std::move(result)]() mutable {
              call->Arrive(spans, std::move(result));
            });
          });
      if (!status.ok()) call->Arrive({}, status);
    }
  }

  Requests requests_;
  Ingestor* const ingestor_;
  IngestLane* const lane_;
  const trace::TraceValidator* const validator_;
  Projects* const projects_;
  WorkerPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeOtlpService(
    Ingestor* ingestor, IngestLane* lane,
    const trace::TraceValidator* validator, Projects* projects,
    WorkerPool* pool) {
  return std::make_unique<OtlpService>(ingestor, lane, validator, projects,
                                       pool);
}

}  // namespace faultline::server
