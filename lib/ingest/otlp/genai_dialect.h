#ifndef FAULTLINE_LIB_INGEST_OTLP_GENAI_DIALECT_H_
#define FAULTLINE_LIB_INGEST_OTLP_GENAI_DIALECT_H_

#include "lib/ingest/otlp/attributes.h"
#include "lib/ingest/otlp/draft.h"
#include "opentelemetry/proto/trace/v1/trace.pb.h"

namespace faultline::otlp {

// Reads `gen_ai.*` of OpenTelemetry's conventions, current names and those
// before 1.37, attributes and events, into `draft`. `attributes`: of the span.
// Pure; docs/otlp.md has the table.
void ReadGenAi(const AttributeView& attributes,
               const opentelemetry::proto::trace::v1::Span& span, Draft* draft);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_GENAI_DIALECT_H_
