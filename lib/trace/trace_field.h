#ifndef FAULTLINE_LIB_TRACE_TRACE_FIELD_H_
#define FAULTLINE_LIB_TRACE_TRACE_FIELD_H_

#include <functional>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::trace {

// Value of a field: absent, text or number. Text is a view into the trace.
using FieldValue = std::variant<std::monostate, absl::string_view, double>;

// A parsed path to a field that a router can know before or during a run. This
// is the one place that gives fields their names; predicates, diagnoses and
// slices all use it. Never reaches an answer (outcome, score, annotation).
//
// Paths: session_id;
//   task.{id,type,dataset,input}, task.labels.KEY;
//   system.{agent,agent_version,model,prompt_strategy,prompt_version,toolset},
//   system.config.KEY;
//   decisions.{route,tool,memory_read,prompt_strategy}.chosen (first such);
//   memory.{snapshot_id,schema_version,size}, memory.stats.KEY,
//   memory.{reads,skipped} (counts);
//   signals.KEY (Evaluation.signals); steps (count).
// Empty text counts as absent.
//
// Immutable.
class TraceField {
 public:
  // INVALID_ARGUMENT, naming the path and the roots, where it is none of the
  // above.
  static absl::StatusOr<TraceField> Parse(absl::string_view path);

  FieldValue Get(const v1::Trace& trace) const;
  const std::string& path() const { return path_; }

 private:
  enum class Root;
  TraceField(Root root, std::string path, std::string key);

  Root root_;
  std::string path_;
  std::string key_;  // map key, where the root is a map
};

// Calls `visit(path, value)` for every present field of the CONTEXT role
// (known before the first step) but session_id, task.id and task.input, in a
// fixed order: what diagnosis tests as a cause. That is task.*, system.*,
// memory.{snapshot_id,schema_version,size,stats.KEY}, and the route, memory
// and prompt decisions made before the run began (Decision.step at most 0).
// `path` is valid during the call only.
void VisitContext(const v1::Trace& trace,
                  const std::function<void(absl::string_view path,
                                           const FieldValue& value)>& visit);

// Calls `visit` for each word of `text`: maximal runs of letters, digits and
// apostrophes (other UTF-8 bytes count as letters), ASCII lower-cased. Both
// OPERATOR_HAS_WORD and the embedding use it.
void VisitWords(absl::string_view text,
                const std::function<void(absl::string_view word)>& visit);

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_TRACE_FIELD_H_
