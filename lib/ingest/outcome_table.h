#ifndef FAULTLINE_LIB_INGEST_OUTCOME_TABLE_H_
#define FAULTLINE_LIB_INGEST_OUTCOME_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::ingest {

// What became of each run of one project: a byte for each log sequence. A
// judgement replaces what the trace itself said, whichever comes first. Not
// thread-safe.
class OutcomeTable {
 public:
  // Judgements kept of traces that have not arrived; later ones are found by
  // the tick only.
  static constexpr size_t kMaxEarly = 65536;

  // A stored trace and what it said itself.
  void AddTrace(uint64_t sequence, absl::string_view trace_id,
                v1::Outcome outcome);
  // A judgement. `sequence` of its trace; 0 where that has not arrived.
  void AddJudgement(uint64_t sequence, absl::string_view trace_id,
                    v1::Outcome outcome);

  // UNSPECIFIED where not known.
  v1::Outcome Get(uint64_t sequence) const;
  // Runs known to have failed.
  uint64_t failures() const { return failures_; }

 private:
  void Set(uint64_t sequence, v1::Outcome outcome);

  std::vector<uint8_t> outcomes_;  // by sequence
  absl::flat_hash_map<std::string, v1::Outcome> early_;
  uint64_t failures_ = 0;
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_OUTCOME_TABLE_H_
