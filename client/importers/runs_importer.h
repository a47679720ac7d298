#ifndef FAULTLINE_CLIENT_IMPORTERS_RUNS_IMPORTER_H_
#define FAULTLINE_CLIENT_IMPORTERS_RUNS_IMPORTER_H_

#include <istream>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/importers/trace_reader.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::importers {

// Recorded runs as public benchmarks publish them, one JSON object per line:
//
//   trace_id, dataset, timestamp, task {id, type, input}, system {model, agent,
//   prompt_strategy, memory}, route {chosen, candidates[]}, steps[] {kind,
//   name, actor, args, output, status, error}, memory_state {recalls[] {step}},
//   evaluation {passed, score, evaluator, error}, metrics {duration_s,
//   agent_cost_usd}, labels {failure_modes[], culprit_step, culprit_agent,
//   culprit_module, reason, annotator}
//
// Everything but trace_id is optional; null is absent; other members are
// ignored, among them answer keys such as labels.oracle.
//
// Answers stay answers: `labels` become annotations, `evaluation` and `metrics`
// become the evaluation, and nothing of them reaches task, system or steps.
// The route becomes a decision without propensity, since none was logged.
// A step's error text becomes error_message and, by ErrorClass, error_type.
// `recalls` were written by the run itself and become memory writes.

// Where a run without timestamp begins: a date that is no one's, plus one
// second for each line before it, so that the order of the file is kept.
inline constexpr absl::Time kUndatedRunStart =
    absl::FromUnixSeconds(946684800);  // 2000-01-01T00:00:00Z

// One run. `undated_start` stands in for a missing timestamp; a timestamp
// without zone is in UTC. INVALID_ARGUMENT, with an ErrorDetail naming field
// and reason, where `json` is not such an object. Never crashes, whatever the
// bytes.
absl::StatusOr<v1::Trace> ParseRun(absl::string_view json,
                                   absl::Time undated_start);

// A reader of such lines. Blank lines are skipped.
std::unique_ptr<TraceReader> NewRunsReader(std::unique_ptr<std::istream> input);

}  // namespace faultline::importers

#endif  // FAULTLINE_CLIENT_IMPORTERS_RUNS_IMPORTER_H_
