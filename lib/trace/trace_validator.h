#ifndef FAULTLINE_LIB_TRACE_TRACE_VALIDATOR_H_
#define FAULTLINE_LIB_TRACE_TRACE_VALIDATOR_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/error.pb.h"
#include "faultline/v1/record.pb.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::trace {

// Checks traces, outcomes and annotations field by field against the limits in
// trace.proto. The first fault found is reported, with field, limit and what
// was seen. Immutable, so thread-safe.
class TraceValidator {
 public:
  // Zero fields of `limits` take their defaults. INVALID_ARGUMENT, naming the
  // field, where a limit is out of its range: max_trace_bytes 1024 to 64 MiB,
  // max_steps 1 to 65536, max_text_bytes 1 to 64 MiB.
  static absl::StatusOr<TraceValidator> Create(const v1::TraceLimits& limits);

  // The fault of a trace sent to `project`, or nothing.
  // `embedding_dimension`: of the project; 0: not yet known. `now`: wall time,
  // for what may not lie ahead of it. Costs no allocation where there is no
  // fault.
  std::optional<v1::ErrorDetail> CheckTrace(const v1::Trace& trace,
                                            absl::string_view project,
                                            int embedding_dimension,
                                            absl::Time now) const;
  // The same for a part of a run. What a run needs once, such as its start, a
  // part may leave out; indexes of steps count within the part.
  std::optional<v1::ErrorDetail> CheckPiece(const v1::Piece& piece,
                                            absl::string_view project,
                                            int embedding_dimension,
                                            absl::Time now) const;
  std::optional<v1::ErrorDetail> CheckOutcome(const v1::OutcomeRecord& record,
                                              absl::Time now) const;
  std::optional<v1::ErrorDetail> CheckAnnotation(
      const v1::AnnotationRecord& record) const;

  // Every field filled in.
  const v1::TraceLimits& limits() const { return limits_; }

 private:
  explicit TraceValidator(const v1::TraceLimits& limits) : limits_(limits) {}
  v1::TraceLimits limits_;
};

// The fault of a project's name (trace.proto, Trace.project), or nothing.
std::optional<v1::ErrorDetail> CheckProjectName(absl::string_view project);

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_TRACE_VALIDATOR_H_
