#ifndef FAULTLINE_LIB_EVALUATE_JUDGED_RUNS_H_
#define FAULTLINE_LIB_EVALUATE_JUDGED_RUNS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "faultline/v1/record.pb.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::evaluate {

// The runs of a stretch of the log, each with the last judgement of it there.
// The runs themselves are handed on as they come, so that whoever reads a long
// stretch keeps of each only what it needs. Not thread-safe.
class JudgedRuns {
 public:
  // Called for each run, with its row: they count from 0. Called again for the
  // same row where a replacement takes the place of the run.
  using Visit = std::function<void(size_t row, uint64_t sequence,
                                   const v1::Trace& trace)>;

  explicit JudgedRuns(Visit visit) : visit_(std::move(visit)) {}

  // Records in the order of the log; those that say nothing of runs are
  // ignored. A judgement may come before its run, and holds for replacements.
  void Apply(const v1::LogRecord& record);

  // By row; UNSPECIFIED where it is not known.
  absl::Span<const v1::Outcome> outcomes() const { return outcomes_; }

 private:
  void ApplyTrace(uint64_t sequence, const v1::Trace& trace);

  const Visit visit_;
  absl::flat_hash_map<std::string, size_t> rows_;         // by trace id
  absl::flat_hash_map<std::string, v1::Outcome> judged_;  // by trace id
  std::vector<v1::Outcome> outcomes_;
};

// Whether a run with this outcome failed.
inline bool IsFailure(v1::Outcome outcome) {
  return outcome == v1::OUTCOME_FAIL || outcome == v1::OUTCOME_ERROR;
}

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_JUDGED_RUNS_H_
