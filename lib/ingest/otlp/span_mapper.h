#ifndef FAULTLINE_LIB_INGEST_OTLP_SPAN_MAPPER_H_
#define FAULTLINE_LIB_INGEST_OTLP_SPAN_MAPPER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/record.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/ingest/otlp/attributes.h"
#include "opentelemetry/proto/trace/v1/trace.pb.h"

// An OTLP span becomes the part of a run that it is. docs/otlp.md has the
// mapping field by field.
namespace faultline::otlp {

// What one span becomes.
struct MappedSpan {
  // Absent where the span only carries judgements of another run.
  std::optional<v1::Piece> piece;
  std::vector<v1::OutcomeRecord> outcomes;
  std::vector<v1::AnnotationRecord> annotations;
  // Attributes that refer to a string table, as only profiles may.
  uint64_t string_indexes = 0;
  // Attributes `faultline.*` that name no field, and judgements that are of no
  // run or say nothing.
  uint64_t ignored = 0;
};

// The part of a run that `span` is, and the judgements that it carries.
//
// The piece has at most one step. Whatever the span is, its times are there;
// the piece of a span that is no operation of an agent has nothing else, but
// the outcome ERROR where such a root failed. Texts and lists keep the limits
// of trace.proto, cut where they must be; `part.left_out` counts that. Whether
// the times and the values of `faultline.*` attributes are in their ranges is
// left to TraceValidator::CheckPiece.
//
// A span of OpenInference's kind EVALUATOR with exactly one link and a
// judgement is a carrier: its judgements are of the linked run, and there is no
// piece.
//
// `resource`: attributes of the span's resource. `limits`: every field filled
// in. INVALID_ARGUMENT, with detail, where ids are malformed, the start is
// absent, or an attribute `faultline.*` does not fit its field. Pure.
absl::StatusOr<MappedSpan> MapSpan(
    const AttributeView& resource,
    const opentelemetry::proto::trace::v1::Span& span,
    const v1::TraceLimits& limits);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_SPAN_MAPPER_H_
