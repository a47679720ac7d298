#include "client/importers/runs_importer.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/importers/error_class.h"
#include "client/importers/json_fields.h"
#include "client/importers/line_reader.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::importers {
namespace {

// Longest run that a duration can be; absurd metrics must not overflow.
constexpr double kMaxLatencySeconds = 1e9;

constexpr std::pair<const char*, v1::Step::Kind> kStepKinds[] = {
    {"llm", v1::Step::KIND_LLM},
    {"tool", v1::Step::KIND_TOOL},
    {"retrieval", v1::Step::KIND_RETRIEVAL},
    {"memory", v1::Step::KIND_MEMORY},
    {"handoff", v1::Step::KIND_HANDOFF},
    {"guardrail", v1::Step::KIND_GUARDRAIL},
    {"user", v1::Step::KIND_USER},
};

constexpr std::pair<const char*, v1::Step::Status> kStepStatuses[] = {
    {"ok", v1::Step::STATUS_OK},
    {"error", v1::Step::STATUS_ERROR},
    {"unknown", v1::Step::STATUS_UNSPECIFIED},
    {"", v1::Step::STATUS_UNSPECIFIED},
};

// The value that `key` names in `names`, or the first one after an error.
template <typename T, size_t n>
T ParseName(const JsonFields& fields, const char* key,
            const std::pair<const char*, T> (&names)[n]) {
  const std::string text = fields.Text(key);
  std::string known;
  for (const auto& [name, value] : names) {
    if (text == name) return value;
    if (*name != 0) absl::StrAppend(&known, known.empty() ? "" : ", ", name);
  }
  fields.Fail(key, absl::StrCat("one of ", known), "is none of these");
  return names[0].second;
}

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void ParseStartTime(const JsonFields& run, absl::Time undated_start,
                    v1::Trace* trace) {
  absl::Time start = undated_start;
  const std::string text = run.Text("timestamp");
  std::string error;
  if (!text.empty() &&
      !absl::ParseTime(absl::RFC3339_full, text, &start, &error) &&
      !absl::ParseTime("%Y-%m-%dT%H:%M:%E*S", text, &start, &error) &&
      !absl::ParseTime("%Y-%m-%d %H:%M:%E*S", text, &start, &error)) {
    run.Fail("timestamp", "ISO 8601, such as 2025-06-05T14:01:10.5Z",
             "is no such time");
    return;
  }
  if (start < absl::UnixEpoch() ||
      start > absl::FromUnixSeconds(253402300799)) {
    run.Fail("timestamp", "from 1970 to 9999", "is outside");
    return;
  }
  SetTime(start, trace->mutable_start_time());
}

void ParseTask(const JsonFields& fields, v1::Task* task) {
  task->set_id(fields.AnyText("id"));
  task->set_type(fields.Text("type"));
  task->set_input(fields.Text("input"));
}

void ParseSystem(const JsonFields& fields, v1::System* system) {
  system->set_model(fields.Text("model"));
  system->set_agent(fields.Text("agent"));
  system->set_prompt_strategy(fields.Text("prompt_strategy"));
  const std::string memory = fields.Text("memory");
  if (!memory.empty()) (*system->mutable_config())["memory"] = memory;
}

void ParseRoute(const JsonFields& fields, v1::Trace* trace) {
  const std::string chosen = fields.Text("chosen");
  if (chosen.empty()) return;
  v1::Decision* decision = trace->add_decisions();
  decision->set_kind(v1::Decision::KIND_ROUTE);
  decision->set_chosen(chosen);
  for (std::string& name : fields.Texts("candidates")) {
    decision->add_candidates()->set_name(std::move(name));
  }
}

void ParseStep(const JsonFields& fields, v1::Step* step) {
  step->set_kind(ParseName(fields, "kind", kStepKinds));
  step->set_name(fields.Text("name"));
  step->set_actor(fields.Text("actor"));
  step->set_status(ParseName(fields, "status", kStepStatuses));
  step->set_input(fields.AnyText("args"));
  step->set_output(fields.AnyText("output"));
  const std::string error = fields.AnyText("error");
  step->set_error_message(error);
  step->set_error_type(ErrorClass(error));
}

void ParseMemoryState(const JsonFields& fields, v1::Trace* trace) {
  fields.Objects("recalls", [trace](const JsonFields& recall) {
    const std::optional<int32_t> step = recall.Integer("step");
    if (!step.has_value()) return;
    v1::MemoryState::Write* write = trace->mutable_memory()->add_writes();
    write->set_record_id(absl::StrCat("recall-", *step));
    write->set_record_class("recall");
  });
}

void ParseEvaluation(const JsonFields& fields, v1::Evaluation* evaluation) {
  const std::optional<bool> passed = fields.Flag("passed");
  if (passed.has_value()) {
    evaluation->set_outcome(*passed ? v1::OUTCOME_PASS : v1::OUTCOME_FAIL);
  } else if (fields.Has("error")) {
    evaluation->set_outcome(v1::OUTCOME_ERROR);
  }
  if (const auto score = fields.Number("score")) evaluation->set_score(*score);
  evaluation->set_evaluator(fields.Text("evaluator"));
}

void ParseMetrics(const JsonFields& fields, v1::Evaluation* evaluation) {
  if (const auto cost = fields.Number("agent_cost_usd")) {
    evaluation->set_cost(*cost);
  }
  const std::optional<double> seconds = fields.Number("duration_s");
  if (!seconds.has_value()) return;
  if (*seconds < 0 || *seconds > kMaxLatencySeconds) {
    fields.Fail("duration_s", "from 0 to 1e9 seconds", "is outside");
    return;
  }
  google::protobuf::Duration* latency = evaluation->mutable_latency();
  latency->set_seconds(static_cast<int64_t>(*seconds));
  latency->set_nanos(
      static_cast<int32_t>((*seconds - std::floor(*seconds)) * 1e9));
}

void ParseLabels(const JsonFields& fields, v1::Trace* trace) {
  v1::Annotation annotation;
  if (const auto step = fields.Integer("culprit_step")) {
    annotation.set_culprit_step(*step);
  }
  std::string component = fields.Text("culprit_agent");
  if (component.empty()) component = fields.Text("culprit_module");
  annotation.set_culprit_component(std::move(component));
  annotation.set_note(fields.Text("reason"));
  const bool has_culprit = annotation.ByteSizeLong() > 0;
  const std::string annotator = fields.Text("annotator");
  annotation.set_annotator(annotator.empty() ? "unknown" : annotator);

  const std::vector<std::string> modes = fields.Texts("failure_modes");
  for (const std::string& mode : modes) {
    v1::Annotation* reading = trace->add_annotations();
    *reading = annotation;
    reading->set_failure_mode(mode);
  }
  if (modes.empty() && has_culprit) *trace->add_annotations() = annotation;
}

class RunsReader final : public TraceReader {
 public:
  explicit RunsReader(std::unique_ptr<std::istream> input)
      : lines_(std::move(input)) {}

  absl::StatusOr<std::optional<v1::Trace>> Next() override {
    std::string line;
    while (true) {
      FAULTLINE_ASSIGN_OR_RETURN(const bool more, lines_.Next(&line));
      if (!more) return std::nullopt;
      const absl::string_view text = absl::StripAsciiWhitespace(line);
      if (text.empty()) continue;
      absl::StatusOr<v1::Trace> trace = ParseRun(
          text, kUndatedRunStart + absl::Seconds(lines_.line_number() - 1));
      if (trace.ok()) return *std::move(trace);
      return RecordError(
          lines_.line_number(),
          base::GetErrorDetail(trace.status()).value_or(v1::ErrorDetail()));
    }
  }

  uint64_t bytes_read() const override { return lines_.bytes_read(); }

 private:
  LineReader lines_;
};

}  // namespace

absl::StatusOr<v1::Trace> ParseRun(absl::string_view json,
                                   absl::Time undated_start) {
  FAULTLINE_ASSIGN_OR_RETURN(const nlohmann::json object,
                             ParseJsonObject(json));
  absl::Status error;
  const JsonFields run(object, &error);
  v1::Trace trace;
  trace.set_trace_id(run.Text("trace_id"));
  if (trace.trace_id().empty()) {
    run.Fail("trace_id", "text that is not empty", "is absent");
  }
  ParseStartTime(run, undated_start, &trace);
  trace.mutable_task()->set_dataset(run.Text("dataset"));
  run.Object("task", [&](const JsonFields& fields) {
    ParseTask(fields, trace.mutable_task());
  });
  run.Object("system", [&](const JsonFields& fields) {
    ParseSystem(fields, trace.mutable_system());
  });
  run.Object("route",
             [&](const JsonFields& fields) { ParseRoute(fields, &trace); });
  run.Objects("steps", [&](const JsonFields& fields) {
    ParseStep(fields, trace.add_steps());
  });
  run.Object("memory_state", [&](const JsonFields& fields) {
    ParseMemoryState(fields, &trace);
  });
  run.Object("evaluation", [&](const JsonFields& fields) {
    ParseEvaluation(fields, trace.mutable_evaluation());
  });
  run.Object("metrics", [&](const JsonFields& fields) {
    ParseMetrics(fields, trace.mutable_evaluation());
  });
  run.Object("labels",
             [&](const JsonFields& fields) { ParseLabels(fields, &trace); });
  FAULTLINE_RETURN_IF_ERROR(error);
  return trace;
}

std::unique_ptr<TraceReader> NewRunsReader(
    std::unique_ptr<std::istream> input) {
  return std::make_unique<RunsReader>(std::move(input));
}

}  // namespace faultline::importers
