#include "lib/ingest/otlp/span_mapper.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/ingest/otlp/draft.h"
#include "lib/ingest/otlp/faultline_dialect.h"
#include "lib/ingest/otlp/genai_dialect.h"
#include "lib/ingest/otlp/judgements.h"
#include "lib/ingest/otlp/openinference_dialect.h"
#include "lib/trace/trace_fitter.h"

namespace faultline::otlp {
namespace {

using opentelemetry::proto::trace::v1::Span;
using opentelemetry::proto::trace::v1::Status;
namespace wire = opentelemetry::proto::trace::v1;

constexpr size_t kTraceIdBytes = 16;
constexpr size_t kSpanIdBytes = 8;
constexpr uint64_t kNanosPerSecond = 1'000'000'000;

// Attributes of a resource that may explain how a run went.
constexpr const char* kResourceSettings[] = {
    "service.name",
    "service.version",
    "deployment.environment.name",
};

absl::Status BadField(v1::ErrorDetail::Reason reason, absl::string_view field,
                      absl::string_view form, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, form, message));
}

bool IsId(absl::string_view id, size_t bytes) {
  return id.size() == bytes &&
         std::any_of(id.begin(), id.end(), [](char c) { return c != 0; });
}

absl::Status CheckIds(const Span& span) {
  if (!IsId(span.trace_id(), kTraceIdBytes)) {
    return BadField(v1::ErrorDetail::REASON_MALFORMED, "trace_id",
                    "16 bytes, not all zero",
                    absl::StrCat("has ", span.trace_id().size(), " bytes"));
  }
  if (!IsId(span.span_id(), kSpanIdBytes)) {
    return BadField(v1::ErrorDetail::REASON_MALFORMED, "span_id",
                    "8 bytes, not all zero",
                    absl::StrCat("has ", span.span_id().size(), " bytes"));
  }
  const std::string& parent = span.parent_span_id();
  if (!parent.empty() && parent.size() != kSpanIdBytes) {
    return BadField(v1::ErrorDetail::REASON_MALFORMED, "parent_span_id",
                    "empty, or 8 bytes",
                    absl::StrCat("has ", parent.size(), " bytes"));
  }
  if (span.start_time_unix_nano() == 0) {
    return BadField(v1::ErrorDetail::REASON_BAD_TIME, "start_time_unix_nano",
                    "nanoseconds since 1970", "is missing; set it");
  }
  return absl::OkStatus();
}

// Some senders write zeros for "no parent".
bool HasParent(const Span& span) {
  return IsId(span.parent_span_id(), kSpanIdBytes);
}

bool IsLocalRoot(const Span& span) {
  constexpr uint32_t kRemote = wire::SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK |
                               wire::SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK;
  return !HasParent(span) || (span.flags() & kRemote) == kRemote;
}

void SetTime(uint64_t nanos, google::protobuf::Timestamp* timestamp) {
  timestamp->set_seconds(static_cast<int64_t>(nanos / kNanosPerSecond));
  timestamp->set_nanos(static_cast<int32_t>(nanos % kNanosPerSecond));
}

// When it ended. A clock that was set back meanwhile does not undo the span.
uint64_t EndNanos(const Span& span) {
  return std::max(span.end_time_unix_nano(), span.start_time_unix_nano());
}

bool HasEnded(const Span& span) { return span.end_time_unix_nano() != 0; }

v1::Step::Kind StepKind(Operation operation, bool local_root) {
  switch (operation) {
    case Operation::kLlm:
    case Operation::kSideModel:
      return v1::Step::KIND_LLM;
    case Operation::kTool:
      return v1::Step::KIND_TOOL;
    case Operation::kRetrieval:
      return v1::Step::KIND_RETRIEVAL;
    case Operation::kMemory:
      return v1::Step::KIND_MEMORY;
    case Operation::kGuardrail:
      return v1::Step::KIND_GUARDRAIL;
    case Operation::kHandoff:
      return v1::Step::KIND_HANDOFF;
    case Operation::kAgent:
      // An agent within a run was handed control.
      return local_root ? v1::Step::KIND_UNSPECIFIED : v1::Step::KIND_HANDOFF;
    case Operation::kUnknown:
    case Operation::kContext:
    case Operation::kEvaluator:
      break;
  }
  return v1::Step::KIND_UNSPECIFIED;
}

// Kinds of which an agent's run consists of one after another, so that a
// judgement of one is not one of the run.
bool IsComponent(v1::Step::Kind kind) {
  return kind != v1::Step::KIND_UNSPECIFIED && kind != v1::Step::KIND_LLM &&
         kind != v1::Step::KIND_HANDOFF;
}

// OpenAI's agents tell of a handoff as of a tool without a name.
void RecogniseHandoff(const Span& span, Draft* draft) {
  absl::string_view name = span.name();
  if (draft->operation == Operation::kTool && draft->step.name().empty() &&
      absl::ConsumePrefix(&name, "handoff to ")) {
    draft->operation = Operation::kHandoff;
    Keep(name, draft->step.mutable_name());
  }
}

void NameStep(const Span& span, Draft* draft) {
  v1::Step& step = draft->step;
  if (draft->operation == Operation::kAgent) {
    Keep(draft->part.system().agent(), step.mutable_name());
  }
  absl::string_view name = span.name();
  if (draft->operation == Operation::kTool) {
    absl::ConsumePrefix(&name, "execute_tool ");
  }
  Keep(name, step.mutable_name());
}

void ReadErrors(const AttributeView& attributes, const Span& span,
                Draft* draft) {
  v1::Step& step = draft->step;
  const absl::string_view type = attributes.Text("error.type");
  if (step.status() == v1::Step::STATUS_UNSPECIFIED) {
    if (span.status().code() == Status::STATUS_CODE_ERROR || !type.empty()) {
      step.set_status(v1::Step::STATUS_ERROR);
    } else if (span.status().code() == Status::STATUS_CODE_OK) {
      step.set_status(v1::Step::STATUS_OK);
    }
  }
  // An exception that the span survived is none of its errors.
  if (step.status() != v1::Step::STATUS_ERROR) return;
  Keep(type, step.mutable_error_type());
  Keep(span.status().message(), step.mutable_error_message());
  const auto keep_exception = [&](const AttributeView& exception) {
    Keep(exception.Text("type"), step.mutable_error_type());
    Keep(exception.Text("message"), step.mutable_error_message());
  };
  // The last one is the one that ended the span.
  for (auto event = span.events().rbegin(); event != span.events().rend();
       ++event) {
    if (event->name() != "exception") continue;
    const AttributeTable table(event->attributes());
    draft->string_indexes += table.string_indexes();
    keep_exception(table.view().Under("exception."));
    break;
  }
  keep_exception(attributes.Under("exception."));
}

void KeepResource(const AttributeView& resource, Operation operation,
                  v1::System* system) {
  for (const char* name : kResourceSettings) {
    KeepEntry(name, resource.Text(name), system->mutable_config());
  }
  if (operation == Operation::kAgent) {
    Keep(resource.Text("service.name"), system->mutable_agent());
    Keep(resource.Text("service.version"), system->mutable_agent_version());
  }
}

// Sub-messages that were touched and stayed empty.
void ClearEmpty(v1::Trace* part) {
  if (part->task().ByteSizeLong() == 0) part->clear_task();
  if (part->system().ByteSizeLong() == 0) part->clear_system();
}

v1::Piece MakePiece(const AttributeView& resource,
                    const AttributeView& attributes, const Span& span,
                    const v1::TraceLimits& limits, Draft* draft) {
  const bool local_root = IsLocalRoot(span);
  v1::Step& step = draft->step;
  if (step.kind() == v1::Step::KIND_UNSPECIFIED) {
    step.set_kind(StepKind(draft->operation, local_root));
  }
  const bool has_step = step.kind() != v1::Step::KIND_UNSPECIFIED;
  v1::Trace& part = draft->part;
  const bool failed = span.status().code() == Status::STATUS_CODE_ERROR;
  if (local_root && failed &&
      part.evaluation().outcome() == v1::OUTCOME_UNSPECIFIED) {
    part.mutable_evaluation()->set_outcome(v1::OUTCOME_ERROR);
  }
  if (draft->operation == Operation::kAgent ||
      (local_root && draft->operation != Operation::kUnknown)) {
    KeepResource(resource, draft->operation, part.mutable_system());
  }
  ClearEmpty(&part);
  SetTime(span.start_time_unix_nano(), part.mutable_start_time());
  if (HasEnded(span)) SetTime(EndNanos(span), part.mutable_end_time());
  if (has_step) {
    NameStep(span, draft);
    ReadErrors(attributes, span, draft);
    step.mutable_start_offset();
    if (HasEnded(span)) {
      const uint64_t nanos = EndNanos(span) - span.start_time_unix_nano();
      step.mutable_duration()->set_seconds(
          static_cast<int64_t>(nanos / kNanosPerSecond));
      step.mutable_duration()->set_nanos(
          static_cast<int32_t>(nanos % kNanosPerSecond));
    }
    *part.add_steps() = std::move(step);
    for (v1::Decision& decision : *part.mutable_decisions()) {
      decision.set_step(0);
    }
    for (v1::Annotation& annotation : *part.mutable_annotations()) {
      annotation.set_culprit_step(0);
    }
  }
  part.set_left_out(trace::FitTrace(limits, &part));

  v1::Piece piece;
  piece.set_trace_id(absl::BytesToHexString(span.trace_id()));
  piece.set_id(absl::BytesToHexString(span.span_id()));
  if (HasParent(span)) {
    piece.set_parent_id(absl::BytesToHexString(span.parent_span_id()));
  }
  piece.set_order(v1::PIECE_ORDER_TIME);
  piece.set_ends_run(local_root && HasEnded(span));
  piece.set_closes_run(draft->closes_run);
  *piece.mutable_part() = std::move(part);
  return piece;
}

// What the attributes `faultline.evaluation.*` and `faultline.annotations.*`
// of a carrier say of the run that it links to.
void MoveAnswers(const Span& span, absl::Time time, const std::string& trace_id,
                 Draft* draft, MappedSpan* mapped) {
  if (draft->part.evaluation().outcome() != v1::OUTCOME_UNSPECIFIED) {
    v1::OutcomeRecord record;
    record.set_trace_id(trace_id);
    *record.mutable_evaluation() = std::move(*draft->part.mutable_evaluation());
    Keep(span.name(), record.mutable_evaluation()->mutable_evaluator());
    SetTime(absl::ToUnixNanos(time), record.mutable_observe_time());
    trace::FitOutcome(&record);
    mapped->outcomes.push_back(std::move(record));
  }
  for (v1::Annotation& annotation : *draft->part.mutable_annotations()) {
    v1::AnnotationRecord record;
    record.set_trace_id(trace_id);
    *record.mutable_annotation() = std::move(annotation);
    trace::FitAnnotation(&record);
    mapped->annotations.push_back(std::move(record));
  }
}

bool IsCarrier(const Span& span, const Draft& draft) {
  return draft.operation == Operation::kEvaluator && span.links_size() == 1 &&
         (!draft.judgements.empty() || draft.part.annotations_size() > 0 ||
          draft.part.evaluation().outcome() != v1::OUTCOME_UNSPECIFIED);
}

}  // namespace

absl::StatusOr<MappedSpan> MapSpan(const AttributeView& resource,
                                   const Span& span,
                                   const v1::TraceLimits& limits) {
  FAULTLINE_RETURN_IF_ERROR(CheckIds(span));
  const AttributeTable table(span.attributes());
  const AttributeView attributes = table.view();
  Draft draft;
  draft.string_indexes = table.string_indexes();
  FAULTLINE_RETURN_IF_ERROR(ReadFaultline(attributes, &draft));
  ReadOpenInference(attributes, &draft);
  ReadGenAi(attributes, span, &draft);
  RecogniseHandoff(span, &draft);

  MappedSpan mapped;
  const absl::Time time =
      absl::FromUnixNanos(static_cast<int64_t>(EndNanos(span)));
  std::string trace_id = absl::BytesToHexString(span.trace_id());
  std::string component;
  if (IsCarrier(span, draft)) {
    const std::string& linked = span.links(0).trace_id();
    if (!IsId(linked, kTraceIdBytes)) {
      return BadField(v1::ErrorDetail::REASON_MALFORMED, "links[0].trace_id",
                      "16 bytes, not all zero",
                      absl::StrCat("has ", linked.size(), " bytes"));
    }
    trace_id = absl::BytesToHexString(linked);
    MoveAnswers(span, time, trace_id, &draft, &mapped);
  } else {
    mapped.piece = MakePiece(resource, attributes, span, limits, &draft);
    if (mapped.piece->part().steps_size() > 0) {
      const v1::Step& step = mapped.piece->part().steps(0);
      if (IsComponent(step.kind())) component = step.name();
    }
  }
  RunJudgements judged = JudgeRun(draft.judgements, trace_id, time, component);
  std::move(judged.outcomes.begin(), judged.outcomes.end(),
            std::back_inserter(mapped.outcomes));
  std::move(judged.annotations.begin(), judged.annotations.end(),
            std::back_inserter(mapped.annotations));
  mapped.string_indexes = draft.string_indexes;
  mapped.ignored = draft.ignored;
  return mapped;
}

}  // namespace faultline::otlp
