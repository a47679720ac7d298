// An OTLP export as it comes off the wire: every span is mapped or refused,
// and what is mapped keeps the limits that the log asks for.

#include <cstdlib>
#include <string>

#include "absl/time/time.h"
#include "google/protobuf/stubs/logging.h"
#include "lib/ingest/otlp/attributes.h"
#include "lib/ingest/otlp/project_name.h"
#include "lib/ingest/otlp/span_mapper.h"
#include "lib/trace/trace_validator.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"

namespace {

namespace otlp = faultline::otlp;
using faultline::trace::TraceValidator;

const TraceValidator& Validator() {
  static const TraceValidator& validator =
      *new TraceValidator(*TraceValidator::Create({}));
  return validator;
}

}  // namespace

// Protobuf tells of every fault that it finds.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  for (const auto& resource_spans : request.resource_spans()) {
    const otlp::AttributeTable resource(resource_spans.resource().attributes());
    const std::string project = otlp::ProjectOf("", resource.view());
    if (faultline::trace::CheckProjectName(project)) std::abort();
    for (const auto& scope : resource_spans.scope_spans()) {
      for (const auto& span : scope.spans()) {
        const auto mapped =
            otlp::MapSpan(resource.view(), span, Validator().limits());
        if (!mapped.ok() || !mapped->piece.has_value()) continue;
        // Either is fine; that it does not crash is the claim.
        Validator()
            .CheckPiece(*mapped->piece, project, 0, absl::UnixEpoch())
            .has_value();
      }
    }
  }
  return 0;
}
