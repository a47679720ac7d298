#include "lib/ingest/otlp/judgements.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "lib/trace/trace_fitter.h"

namespace faultline::otlp {
namespace {

constexpr std::pair<absl::string_view, v1::Outcome> kLabels[] = {
    {"pass", v1::OUTCOME_PASS},        {"passed", v1::OUTCOME_PASS},
    {"success", v1::OUTCOME_PASS},     {"successful", v1::OUTCOME_PASS},
    {"succeeded", v1::OUTCOME_PASS},   {"correct", v1::OUTCOME_PASS},
    {"resolved", v1::OUTCOME_PASS},    {"thumbs-up", v1::OUTCOME_PASS},
    {"thumbs_up", v1::OUTCOME_PASS},   {"fail", v1::OUTCOME_FAIL},
    {"failed", v1::OUTCOME_FAIL},      {"failure", v1::OUTCOME_FAIL},
    {"incorrect", v1::OUTCOME_FAIL},   {"unresolved", v1::OUTCOME_FAIL},
    {"thumbs-down", v1::OUTCOME_FAIL}, {"thumbs_down", v1::OUTCOME_FAIL},
    {"error", v1::OUTCOME_ERROR},
};

// Names whose score in [0, 1] says whether the task was done.
constexpr absl::string_view kVerdictNames[] = {
    "outcome", "success",     "task_success", "task_completion",
    "passed",  "correctness", "resolved",
};

std::string AnnotatorOf(const Judgement& judgement) {
  if (judgement.identifier.empty()) return judgement.name;
  return absl::StrCat(judgement.name, "/", judgement.identifier);
}

// `KIND, score 0.4: explanation`, as far as these are known.
std::string NoteOf(const Judgement& judgement) {
  std::string note = judgement.annotator_kind;
  if (judgement.score.has_value()) {
    absl::StrAppend(&note, note.empty() ? "" : ", ", "score ",
                    *judgement.score);
  }
  if (!judgement.explanation.empty()) {
    absl::StrAppend(&note, note.empty() ? "" : ": ", judgement.explanation);
  }
  return note;
}

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t nanos = absl::ToUnixNanos(time);
  timestamp->set_seconds(nanos / 1'000'000'000);
  timestamp->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

v1::OutcomeRecord MakeOutcome(const Judgement& judgement, v1::Outcome verdict,
                              const std::string& trace_id, absl::Time time) {
  v1::OutcomeRecord record;
  record.set_trace_id(trace_id);
  v1::Evaluation* evaluation = record.mutable_evaluation();
  evaluation->set_outcome(verdict);
  evaluation->set_evaluator(AnnotatorOf(judgement));
  if (judgement.score.has_value()) evaluation->set_score(*judgement.score);
  SetTime(judgement.time == absl::InfinitePast() ? time : judgement.time,
          record.mutable_observe_time());
  trace::FitOutcome(&record);
  return record;
}

v1::AnnotationRecord MakeAnnotation(const Judgement& judgement,
                                    v1::Outcome verdict,
                                    const std::string& trace_id,
                                    absl::string_view component) {
  v1::AnnotationRecord record;
  record.set_trace_id(trace_id);
  v1::Annotation* annotation = record.mutable_annotation();
  annotation->set_annotator(AnnotatorOf(judgement));
  if (verdict == v1::OUTCOME_UNSPECIFIED) {
    annotation->set_failure_mode(judgement.label);
  }
  if (verdict == v1::OUTCOME_FAIL || verdict == v1::OUTCOME_ERROR) {
    annotation->set_culprit_component(std::string(component));
  }
  annotation->set_note(NoteOf(judgement));
  trace::FitAnnotation(&record);
  return record;
}

}  // namespace

v1::Outcome VerdictOf(const Judgement& judgement) {
  const std::string label = absl::AsciiStrToLower(judgement.label);
  for (const auto& [known, outcome] : kLabels) {
    if (label == known) return outcome;
  }
  const std::string name = absl::AsciiStrToLower(judgement.name);
  for (const absl::string_view known : kVerdictNames) {
    if (name != known || !judgement.score.has_value() || *judgement.score < 0 ||
        *judgement.score > 1) {
      continue;
    }
    return *judgement.score >= 0.5 ? v1::OUTCOME_PASS : v1::OUTCOME_FAIL;
  }
  return v1::OUTCOME_UNSPECIFIED;
}

RunJudgements JudgeRun(const std::vector<Judgement>& judgements,
                       const std::string& trace_id, absl::Time time,
                       absl::string_view component) {
  RunJudgements result;
  std::set<std::pair<std::string, std::string>> seen;
  for (const Judgement& judgement : judgements) {
    if (!seen.emplace(judgement.name, judgement.identifier).second) continue;
    const v1::Outcome verdict = VerdictOf(judgement);
    const bool judges_run =
        component.empty() && verdict != v1::OUTCOME_UNSPECIFIED;
    if (judges_run) {
      result.outcomes.push_back(
          MakeOutcome(judgement, verdict, trace_id, time));
    }
    const bool explains =
        verdict != v1::OUTCOME_PASS && !judgement.explanation.empty();
    if (!judges_run || explains) {
      result.annotations.push_back(
          MakeAnnotation(judgement, verdict, trace_id, component));
    }
  }
  return result;
}

}  // namespace faultline::otlp
