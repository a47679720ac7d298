#ifndef FAULTLINE_LIB_INGEST_OTLP_JUDGEMENTS_H_
#define FAULTLINE_LIB_INGEST_OTLP_JUDGEMENTS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "faultline/v1/trace.pb.h"
#include "lib/ingest/otlp/draft.h"

namespace faultline::otlp {

// What judgements say of a run.
struct RunJudgements {
  std::vector<v1::OutcomeRecord> outcomes;
  std::vector<v1::AnnotationRecord> annotations;
};

// What a judgement says of how a run ended: its label (`pass`, `incorrect`,
// ...), or, where its name asks for that (`task_success`, ...), its score in
// [0, 1] from a half on. UNSPECIFIED where it says nothing of that.
v1::Outcome VerdictOf(const Judgement& judgement);

// Judgements of the run `trace_id`. One with a verdict is an outcome by its
// name; a failure's explanation and what has no verdict are annotations. Where
// `component` is not empty, only that part of the run was judged: all are
// annotations, and a failure names it. `time`: of judgements that have none of
// their own. Of several with the same name and identifier the first one counts.
// Pure; the records keep the limits of trace.proto.
RunJudgements JudgeRun(const std::vector<Judgement>& judgements,
                       const std::string& trace_id, absl::Time time,
                       absl::string_view component);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_JUDGEMENTS_H_
