#include "lib/trace/trace_validator.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/trace/trace_limits.h"
#include "lib/trace/utf8.h"

namespace faultline::trace {
namespace {

using v1::ErrorDetail;

constexpr uint32_t kDefaultTraceBytes = 1 << 20;
constexpr uint32_t kDefaultSteps = 2048;
constexpr uint32_t kDefaultTextBytes = 1 << 16;
constexpr uint32_t kMinTraceBytes = 1 << 10;
constexpr uint32_t kMaxTraceBytes = 1 << 26;
constexpr uint32_t kMaxSteps = 1 << 16;

constexpr int32_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kEarliestSeconds = 946684800;       // 2000-01-01
constexpr int64_t kLatestSeconds = 253402300799;      // 9999-12-31T23:59:59
constexpr int64_t kLongestSeconds = 315'576'000'000;  // duration.proto
constexpr absl::Duration kMaxAhead = absl::Hours(24);

// A set of bytes, for one look at each.
class ByteSet {
 public:
  constexpr explicit ByteSet(const char* members) : in_{} {
    for (; *members != '\0'; ++members) {
      in_[static_cast<unsigned char>(*members)] = true;
    }
  }

  // Index of the first byte that is not in the set; the size: none.
  size_t FindOther(absl::string_view text) const {
    size_t i = 0;
    while (i < text.size() && in_[static_cast<unsigned char>(text[i])]) ++i;
    return i;
  }

 private:
  std::array<bool, 256> in_;
};

constexpr ByteSet kProjectSet("abcdefghijklmnopqrstuvwxyz0123456789-_");
constexpr ByteSet kLowerKeySet("abcdefghijklmnopqrstuvwxyz0123456789_.-");
constexpr ByteSet kKeySet(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

// Sender's bytes in a form that may stand in an error.
std::string Quoted(absl::string_view bytes) {
  constexpr size_t kShown = 48;
  return absl::StrCat("\"", absl::CHexEscape(bytes.substr(0, kShown)),
                      bytes.size() > kShown ? "..." : "", "\"");
}

std::string AtMost(size_t limit, absl::string_view unit) {
  return absl::StrCat("at most ", limit, " ", unit);
}

// Finds the first fault of one message. Each check returns whether all is
// well. The path of a fault is put together on the way out, from its end, so
// that good messages cost no allocation.
class Checker {
 public:
  Checker(const v1::TraceLimits& limits, absl::Time now)
      : limits_(limits), now_(now) {}

  std::optional<ErrorDetail> TakeFault() { return std::move(fault_); }

  bool Trace(const v1::Trace& trace, absl::string_view project,
             int embedding_dimension) {
    return Size("", trace) && Id("trace_id", trace.trace_id()) &&
           Project(trace, project) &&
           (trace.has_start_time() || Missing("start_time")) &&
           ServerFields(trace, /*may_be_cut=*/false) &&
           Content(trace, embedding_dimension);
  }

  bool Piece(const v1::Piece& piece, absl::string_view project,
             int embedding_dimension) {
    const v1::Trace& part = piece.part();
    const bool by_time = piece.order() == v1::PIECE_ORDER_TIME;
    return Id("trace_id", piece.trace_id()) && Id("id", piece.id()) &&
           (piece.parent_id().empty() || Id("parent_id", piece.parent_id())) &&
           Size("part", part) &&
           ((SameRun(part, piece.trace_id()) && Project(part, project) &&
             (!by_time || part.has_start_time() || Missing("start_time")) &&
             ServerFields(part, by_time) &&
             Content(part, embedding_dimension)) ||
            Under("part"));
  }

  bool Outcome(const v1::OutcomeRecord& record) {
    if (!Id("trace_id", record.trace_id())) return false;
    if (record.evaluation().outcome() == v1::OUTCOME_UNSPECIFIED) {
      return Missing("evaluation.outcome");
    }
    return (Evaluation(record.evaluation()) || Under("evaluation")) &&
           (!record.has_observe_time() ||
            Recent("observe_time", record.observe_time()));
  }

  bool Annotation(const v1::AnnotationRecord& record) {
    if (!Id("trace_id", record.trace_id())) return false;
    if (!record.has_annotation()) return Missing("annotation");
    return Annotation(record.annotation(), INT32_MAX) || Under("annotation");
  }

  bool ProjectName(absl::string_view project) {
    constexpr char kForm[] =
        "1 to 63 bytes: lower-case letters, digits, - and _, beginning with a "
        "letter or a digit";
    if (project.empty()) {
      return Fail(ErrorDetail::REASON_REQUIRED, "project", kForm,
                  "is missing; name the project");
    }
    if (project.size() > kProjectBytes) {
      return Fail(
          ErrorDetail::REASON_TOO_LONG, "project", kForm,
          absl::StrCat("has ", project.size(), " bytes; choose a shorter one"));
    }
    if (kProjectSet.FindOther(project) != project.size() || project[0] == '-' ||
        project[0] == '_') {
      return Fail(
          ErrorDetail::REASON_MALFORMED, "project", kForm,
          absl::StrCat("is ", Quoted(project), "; choose another name"));
    }
    return true;
  }

 private:
  bool Fail(ErrorDetail::Reason reason, absl::string_view field,
            absl::string_view limit, absl::string_view message) {
    fault_ = base::MakeErrorDetail(reason, field, limit, message);
    return false;
  }

  bool Size(absl::string_view field, const v1::Trace& trace) {
    const size_t bytes = trace.ByteSizeLong();
    return bytes <= limits_.max_trace_bytes() ||
           Fail(ErrorDetail::REASON_TOO_LARGE, field,
                AtMost(limits_.max_trace_bytes(), "bytes"),
                absl::StrCat("the trace has ", bytes,
                             " bytes; shorten its texts or leave out steps"));
  }

  bool SameRun(const v1::Trace& part, absl::string_view trace_id) {
    return part.trace_id().empty() || part.trace_id() == trace_id ||
           Fail(ErrorDetail::REASON_MALFORMED, "trace_id",
                "empty or that of the piece",
                absl::StrCat("is ", Quoted(part.trace_id()), ", not ",
                             Quoted(trace_id), "; leave it out"));
  }

  bool Project(const v1::Trace& trace, absl::string_view project) {
    return trace.project().empty() || trace.project() == project ||
           Fail(ErrorDetail::REASON_MALFORMED, "project",
                "empty or the request's project",
                absl::StrCat("is ", Quoted(trace.project()), ", not ",
                             Quoted(project), "; leave it out"));
  }

  // Fields that the server sets.
  bool ServerFields(const v1::Trace& trace, bool may_be_cut) {
    constexpr char kAdvice[] = "is the server's to set; leave it out";
    if (trace.closing() != v1::CLOSING_UNSPECIFIED) {
      return Fail(ErrorDetail::REASON_MALFORMED, "closing", "empty", kAdvice);
    }
    return may_be_cut || trace.left_out() == 0 ||
           Fail(ErrorDetail::REASON_MALFORMED, "left_out", "empty", kAdvice);
  }

  // What a whole run and a part of one may hold.
  bool Content(const v1::Trace& trace, int embedding_dimension) {
    return Text("session_id", trace.session_id(), kIdBytes) && Times(trace) &&
           (Task(trace.task(), embedding_dimension) || Under("task")) &&
           (System(trace.system()) || Under("system")) &&
           Each("decisions", trace.decisions(), kDecisions,
                [&](const v1::Decision& decision) {
                  return Decision(decision, trace.steps_size());
                }) &&
           Each("steps", trace.steps(), static_cast<int>(limits_.max_steps()),
                [&](const v1::Step& step) { return Step(step); }) &&
           (Memory(trace.memory()) || Under("memory")) &&
           (Evaluation(trace.evaluation()) || Under("evaluation")) &&
           (Exposure(trace.exposure()) || Under("exposure")) &&
           Each("annotations", trace.annotations(), kAnnotations,
                [&](const v1::Annotation& annotation) {
                  return Annotation(annotation, trace.steps_size());
                }) &&
           (!trace.has_keep_probability() ||
            Probability("keep_probability", trace.keep_probability()));
  }

  // Puts the fault's field below `parent`. Returns false.
  bool Under(absl::string_view parent) {
    fault_->set_field(absl::StrCat(parent, ".", fault_->field()));
    return false;
  }

  template <typename Element, typename Check>
  bool Each(absl::string_view field,
            const google::protobuf::RepeatedPtrField<Element>& elements,
            int max, const Check& check) {
    if (!Count(field, elements.size(), max)) return false;
    for (int i = 0; i < elements.size(); ++i) {
      if (!check(elements[i])) return Under(absl::StrCat(field, "[", i, "]"));
    }
    return true;
  }

  bool Count(absl::string_view field, size_t size, int max) {
    return size <= static_cast<size_t>(max) ||
           Fail(ErrorDetail::REASON_TOO_MANY, field, AtMost(max, "elements"),
                absl::StrCat("has ", size, "; send fewer"));
  }

  bool Missing(absl::string_view field) {
    return Fail(ErrorDetail::REASON_REQUIRED, field, "required",
                "is missing; set it");
  }

  bool Text(absl::string_view field, absl::string_view text, size_t max) {
    if (text.size() > max) {
      return Fail(ErrorDetail::REASON_TOO_LONG, field, AtMost(max, "bytes"),
                  absl::StrCat("has ", text.size(), " bytes; shorten it"));
    }
    const size_t bad = FindNotUtf8(text);
    return bad == text.size() ||
           Fail(ErrorDetail::REASON_NOT_UTF8, field, "UTF-8",
                absl::StrCat("byte ", bad, " is not UTF-8, at ",
                             Quoted(text.substr(bad, 8)),
                             "; encode the text as UTF-8"));
  }

  bool RequiredText(absl::string_view field, absl::string_view text,
                    size_t max) {
    return text.empty() ? Missing(field) : Text(field, text, max);
  }

  bool Id(absl::string_view field, absl::string_view id) {
    constexpr char kForm[] = "1 to 128 bytes of printable ASCII without spaces";
    if (id.empty()) return Missing(field);
    if (id.size() > kIdBytes) {
      return Fail(ErrorDetail::REASON_TOO_LONG, field, kForm,
                  absl::StrCat("has ", id.size(),
                               " bytes; send a shorter id, or its hash"));
    }
    for (const char c : id) {
      if (c <= ' ' || c > '~') {
        return Fail(ErrorDetail::REASON_MALFORMED, field, kForm,
                    absl::StrCat("is ", Quoted(id), "; send another id"));
      }
    }
    return true;
  }

  bool Finite(absl::string_view field, double value) {
    return std::isfinite(value) ||
           Fail(ErrorDetail::REASON_NOT_FINITE, field, "finite",
                absl::StrCat("is ", value,
                             "; leave it out where it is not known"));
  }

  bool OutOfRange(absl::string_view field, absl::string_view limit,
                  double value, absl::string_view advice) {
    return Fail(ErrorDetail::REASON_OUT_OF_RANGE, field, limit,
                absl::StrCat("is ", value, "; ", advice));
  }

  bool NotNegative(absl::string_view field, double value) {
    return Finite(field, value) &&
           (value >= 0 || OutOfRange(field, "at least 0", value,
                                     "leave it out where it is not known"));
  }

  bool Probability(absl::string_view field, double value) {
    return Finite(field, value) &&
           ((value > 0 && value <= 1) ||
            OutOfRange(field, "in (0, 1]", value,
                       "send the probability of what happened, or leave it "
                       "out"));
  }

  // `index` in [least, size).
  bool StepIndex(absl::string_view field, int32_t index, int32_t least,
                 int32_t size) {
    return (index >= least && index < size) ||
           OutOfRange(
               field,
               absl::StrCat("at least ", least, ", below the number of steps"),
               index, "send the index of a step of this trace");
  }

  bool KnownEnum(absl::string_view field, bool known, int value) {
    return known ||
           Fail(ErrorDetail::REASON_UNKNOWN_ENUM, field, "a value of the enum",
                absl::StrCat("is ", value,
                             ", which this server does not know; send a known "
                             "value or update the server"));
  }

  bool WellFormed(absl::string_view field,
                  const google::protobuf::Timestamp& time) {
    return (time.seconds() <= kLatestSeconds && time.nanos() >= 0 &&
            time.nanos() < kNanosPerSecond) ||
           Fail(ErrorDetail::REASON_BAD_TIME, field,
                "a valid google.protobuf.Timestamp",
                absl::StrCat("has seconds ", time.seconds(), " and nanos ",
                             time.nanos(),
                             "; send seconds since 1970 and nanos"
                             " in [0, 999999999]"));
  }

  // A time that the server could have seen.
  bool Recent(absl::string_view field,
              const google::protobuf::Timestamp& time) {
    constexpr char kRange[] =
        "not before 2000-01-01, at most one day ahead of the server's clock";
    if (!WellFormed(field, time)) return false;
    const absl::Time at = absl::FromUnixSeconds(time.seconds());
    return (time.seconds() >= kEarliestSeconds && at <= now_ + kMaxAhead) ||
           Fail(ErrorDetail::REASON_BAD_TIME, field, kRange,
                absl::StrCat(
                    "is ", absl::FormatTime(at, absl::UTCTimeZone()),
                    "; check the sender's clock and the unit (seconds)"));
  }

  bool Times(const v1::Trace& trace) {
    const google::protobuf::Timestamp& start = trace.start_time();
    if (trace.has_start_time() && !Recent("start_time", start)) return false;
    if (!trace.has_end_time()) return true;
    const google::protobuf::Timestamp& end = trace.end_time();
    if (!WellFormed("end_time", end)) return false;
    return !trace.has_start_time() || end.seconds() > start.seconds() ||
           (end.seconds() == start.seconds() && end.nanos() >= start.nanos()) ||
           Fail(ErrorDetail::REASON_BAD_TIME, "end_time",
                "not before start_time",
                "is before start_time; send both from one clock");
  }

  bool Duration(absl::string_view field,
                const google::protobuf::Duration& duration) {
    const bool negative = duration.seconds() < 0 || duration.nanos() < 0;
    if (!negative && duration.seconds() <= kLongestSeconds &&
        duration.nanos() < kNanosPerSecond) {
      return true;
    }
    return Fail(negative ? ErrorDetail::REASON_OUT_OF_RANGE
                         : ErrorDetail::REASON_MALFORMED,
                field, "a valid google.protobuf.Duration, not negative",
                absl::StrCat("has seconds ", duration.seconds(), " and nanos ",
                             duration.nanos(),
                             "; measure it on a steady clock,"
                             " or leave it out"));
  }

  // The keys of a map, and each value by `check(path, value)`.
  template <typename Value, typename Check>
  bool Map(absl::string_view field,
           const google::protobuf::Map<std::string, Value>& map,
           const ByteSet& key_set, absl::string_view key_form,
           const Check& check) {
    if (!Count(field, map.size(), kMapEntries)) return false;
    for (const auto& [key, value] : map) {
      const bool good = !key.empty() && key.size() <= kKeyBytes &&
                        key_set.FindOther(key) == key.size();
      if (!good) {
        return Fail(key.size() > kKeyBytes ? ErrorDetail::REASON_TOO_LONG
                                           : ErrorDetail::REASON_MALFORMED,
                    field, key_form,
                    absl::StrCat("has the key ", Quoted(key), " of ",
                                 key.size(), " bytes; rename it"));
      }
      if (!check(key, value)) {
        fault_->set_field(absl::StrCat(field, "[", Quoted(key), "]"));
        return false;
      }
    }
    return true;
  }

  static constexpr char kLowerKeyForm[] =
      "keys of 1 to 64 bytes of [a-z0-9_.-]";
  static constexpr char kKeyForm[] = "keys of 1 to 64 bytes of [A-Za-z0-9_.-]";

  bool TextMap(absl::string_view field,
               const google::protobuf::Map<std::string, std::string>& map,
               const ByteSet& key_set, absl::string_view key_form) {
    return Map(field, map, key_set, key_form,
               [&](const std::string&, const std::string& value) {
                 return Text(field, value, kValueBytes);
               });
  }

  bool Task(const v1::Task& task, int embedding_dimension) {
    return Text("id", task.id(), kTaskIdBytes) &&
           Text("type", task.type(), kNameBytes) &&
           Text("dataset", task.dataset(), kNameBytes) &&
           Text("input", task.input(), limits_.max_text_bytes()) &&
           TextMap("labels", task.labels(), kLowerKeySet, kLowerKeyForm) &&
           Embedding(task, embedding_dimension);
  }

  bool Embedding(const v1::Task& task, int dimension) {
    if (!Text("embedding_model", task.embedding_model(), kNameBytes)) {
      return false;
    }
    const int size = task.embedding_size();
    if (size == 0) return true;
    if (!Count("embedding", size, kEmbeddingDimension)) return false;
    if (dimension != 0 && size != dimension) {
      return Fail(ErrorDetail::REASON_DIMENSION_MISMATCH, "embedding",
                  absl::StrCat("empty or ", dimension, " numbers"),
                  absl::StrCat("has ", size,
                               "; the project's first embedding "
                               "set the dimension: use the same model, or "
                               "another project"));
    }
    if (task.embedding_model().empty()) return Missing("embedding_model");
    for (int i = 0; i < size; ++i) {
      if (!std::isfinite(task.embedding(i))) {
        return Finite(absl::StrCat("embedding[", i, "]"), task.embedding(i));
      }
    }
    return true;
  }

  bool System(const v1::System& system) {
    return Text("agent", system.agent(), kNameBytes) &&
           Text("agent_version", system.agent_version(), kNameBytes) &&
           Text("model", system.model(), kNameBytes) &&
           Text("prompt_strategy", system.prompt_strategy(), kNameBytes) &&
           Text("prompt_version", system.prompt_version(), kNameBytes) &&
           Text("toolset", system.toolset(), kNameBytes) &&
           TextMap("config", system.config(), kKeySet, kKeyForm);
  }

  bool Decision(const v1::Decision& decision, int steps) {
    if (decision.kind() == v1::Decision::KIND_UNSPECIFIED) {
      return Missing("kind");
    }
    return KnownEnum("kind", v1::Decision::Kind_IsValid(decision.kind()),
                     decision.kind()) &&
           Each("candidates", decision.candidates(), kCandidates,
                [&](const v1::Decision::Candidate& candidate) {
                  return RequiredText("name", candidate.name(), kNameBytes) &&
                         Finite("score", candidate.score());
                }) &&
           RequiredText("chosen", decision.chosen(), kNameBytes) &&
           (!decision.has_propensity() ||
            Probability("propensity", decision.propensity())) &&
           Text("reason", decision.reason(), kReasonBytes) &&
           (!decision.has_step() ||
            StepIndex("step", decision.step(), -1, steps));
  }

  bool Step(const v1::Step& step) {
    if (step.kind() == v1::Step::KIND_UNSPECIFIED) return Missing("kind");
    return KnownEnum("kind", v1::Step::Kind_IsValid(step.kind()),
                     step.kind()) &&
           Text("name", step.name(), kNameBytes) &&
           Text("actor", step.actor(), kNameBytes) &&
           Duration("start_offset", step.start_offset()) &&
           Duration("duration", step.duration()) &&
           KnownEnum("status", v1::Step::Status_IsValid(step.status()),
                     step.status()) &&
           Text("error_type", step.error_type(), kNameBytes) &&
           Text("error_message", step.error_message(), kNoteBytes) &&
           Text("input", step.input(), limits_.max_text_bytes()) &&
           Text("output", step.output(), limits_.max_text_bytes()) &&
           NotNegative("cost", step.cost()) &&
           TextMap("attributes", step.attributes(), kKeySet, kKeyForm);
  }

  bool Memory(const v1::MemoryState& memory) {
    return Text("snapshot_id", memory.snapshot_id(), kIdBytes) &&
           Text("schema_version", memory.schema_version(), kVersionBytes) &&
           Each("reads", memory.reads(), kMemoryRecords,
                [&](const v1::MemoryState::Read& read) {
                  return RequiredText("record_id", read.record_id(),
                                      kIdBytes) &&
                         Finite("score", read.score()) &&
                         Duration("age", read.age()) &&
                         Text("version", read.version(), kVersionBytes) &&
                         Text("record_class", read.record_class(), kNameBytes);
                }) &&
           Each("writes", memory.writes(), kMemoryRecords,
                [&](const v1::MemoryState::Write& write) {
                  return RequiredText("record_id", write.record_id(),
                                      kIdBytes) &&
                         Text("version", write.version(), kVersionBytes) &&
                         Text("record_class", write.record_class(), kNameBytes);
                }) &&
           Each("skipped", memory.skipped(), kMemoryRecords,
                [&](const v1::MemoryState::Skip& skip) {
                  return RequiredText("record_id", skip.record_id(),
                                      kIdBytes) &&
                         Text("reason", skip.reason(), kValueBytes);
                }) &&
           Map("stats", memory.stats(), kLowerKeySet, kLowerKeyForm,
               [&](const std::string&, double value) {
                 return Finite("stats", value);
               });
  }

  bool Evaluation(const v1::Evaluation& evaluation) {
    return KnownEnum("outcome", v1::Outcome_IsValid(evaluation.outcome()),
                     evaluation.outcome()) &&
           Finite("score", evaluation.score()) &&
           Text("evaluator", evaluation.evaluator(), kNameBytes) &&
           Map("signals", evaluation.signals(), kLowerKeySet, kLowerKeyForm,
               [&](const std::string& key, double value) {
                 return Signal(key, value);
               }) &&
           NotNegative("cost", evaluation.cost()) &&
           Duration("latency", evaluation.latency());
  }

  bool Signal(const std::string& key, double value) {
    if (!Finite("signals", value)) return false;
    return key != "confidence" || (value >= 0 && value <= 1) ||
           OutOfRange("signals", "in [0, 1]", value,
                      "scale it, or send it under another key");
  }

  bool Exposure(const v1::Exposure& exposure) {
    return Each("interventions", exposure.interventions(), kExposures,
                [&](const v1::Exposure::Intervention& intervention) {
                  return Exposed(intervention);
                });
  }

  bool Exposed(const v1::Exposure::Intervention& intervention) {
    if (!RequiredText("intervention_id", intervention.intervention_id(),
                      kIdBytes)) {
      return false;
    }
    if (intervention.arm() == v1::ARM_UNSPECIFIED) return Missing("arm");
    return KnownEnum("arm", v1::Arm_IsValid(intervention.arm()),
                     intervention.arm()) &&
           Text("assignment_key", intervention.assignment_key(), kValueBytes) &&
           (!intervention.has_treatment_probability() ||
            Probability("treatment_probability",
                        intervention.treatment_probability()));
  }

  bool Annotation(const v1::Annotation& annotation, int steps) {
    return Text("failure_mode", annotation.failure_mode(), kNameBytes) &&
           (!annotation.has_culprit_step() ||
            StepIndex("culprit_step", annotation.culprit_step(), 0, steps)) &&
           Text("culprit_component", annotation.culprit_component(),
                kNameBytes) &&
           Text("note", annotation.note(), kNoteBytes) &&
           RequiredText("annotator", annotation.annotator(), kNameBytes);
  }

  const v1::TraceLimits& limits_;
  const absl::Time now_;
  std::optional<ErrorDetail> fault_;
};

// `value` or its default. INVALID_ARGUMENT where it is not in [least, most].
absl::StatusOr<uint32_t> Settle(absl::string_view field, uint32_t value,
                                uint32_t default_value, uint32_t least,
                                uint32_t most) {
  if (value == 0) return default_value;
  if (value >= least && value <= most) return value;
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(ErrorDetail::REASON_OUT_OF_RANGE, field,
                            absl::StrCat(least, " to ", most),
                            absl::StrCat("is ", value)));
}

}  // namespace

absl::StatusOr<TraceValidator> TraceValidator::Create(
    const v1::TraceLimits& limits) {
  v1::TraceLimits settled;
  FAULTLINE_ASSIGN_OR_RETURN(
      const uint32_t trace_bytes,
      Settle("max_trace_bytes", limits.max_trace_bytes(), kDefaultTraceBytes,
             kMinTraceBytes, kMaxTraceBytes));
  FAULTLINE_ASSIGN_OR_RETURN(
      const uint32_t steps,
      Settle("max_steps", limits.max_steps(), kDefaultSteps, 1, kMaxSteps));
  FAULTLINE_ASSIGN_OR_RETURN(const uint32_t text_bytes,
                             Settle("max_text_bytes", limits.max_text_bytes(),
                                    kDefaultTextBytes, 1, kMaxTraceBytes));
  settled.set_max_trace_bytes(trace_bytes);
  settled.set_max_steps(steps);
  settled.set_max_text_bytes(text_bytes);
  return TraceValidator(settled);
}

std::optional<ErrorDetail> TraceValidator::CheckTrace(const v1::Trace& trace,
                                                      absl::string_view project,
                                                      int embedding_dimension,
                                                      absl::Time now) const {
  Checker checker(limits_, now);
  checker.Trace(trace, project, embedding_dimension);
  return checker.TakeFault();
}

std::optional<ErrorDetail> TraceValidator::CheckPiece(const v1::Piece& piece,
                                                      absl::string_view project,
                                                      int embedding_dimension,
                                                      absl::Time now) const {
  Checker checker(limits_, now);
  checker.Piece(piece, project, embedding_dimension);
  return checker.TakeFault();
}

std::optional<ErrorDetail> TraceValidator::CheckOutcome(
    const v1::OutcomeRecord& record, absl::Time now) const {
  Checker checker(limits_, now);
  checker.Outcome(record);
  return checker.TakeFault();
}

std::optional<ErrorDetail> TraceValidator::CheckAnnotation(
    const v1::AnnotationRecord& record) const {
  Checker checker(limits_, absl::InfiniteFuture());
  checker.Annotation(record);
  return checker.TakeFault();
}

std::optional<ErrorDetail> CheckProjectName(absl::string_view project) {
  Checker checker(v1::TraceLimits::default_instance(), absl::InfiniteFuture());
  checker.ProjectName(project);
  return checker.TakeFault();
}

}  // namespace faultline::trace
