#ifndef FAULTLINE_LIB_INGEST_OUTCOME_TABLE_H_
#define FAULTLINE_LIB_INGEST_OUTCOME_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
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
  // A trace that takes the place of those with sequences `earlier`: what was
  // judged of them holds of it.
  void ReplaceTrace(const std::vector<uint64_t>& earlier, uint64_t sequence,
                    absl::string_view trace_id, v1::Outcome outcome);
  // A judgement. `sequence` of its trace; 0 where that has not arrived.
  void AddJudgement(uint64_t sequence, absl::string_view trace_id,
                    v1::Outcome outcome);
  // Forgets a trace.
  void Remove(uint64_t sequence);

  // Writes everything, for Load. Returns the sink's errors.
  using Sink = absl::FunctionRef<absl::Status(absl::string_view bytes)>;
  absl::Status Save(Sink sink) const;
  // Becomes what was saved. `source` gives the next bytes.size() bytes, or an
  // error, which is returned. DATA_LOSS where the bytes are malformed, or tell
  // of a sequence beyond `last`.
  using Source = absl::FunctionRef<absl::Status(absl::Span<char> bytes)>;
  absl::Status Load(Source source, uint64_t last);

  // UNSPECIFIED where not known.
  v1::Outcome Get(uint64_t sequence) const;
  // Runs known to have failed.
  uint64_t failures() const { return failures_; }

 private:
  // An outcome, in a byte.
  struct Entry {
    uint8_t outcome : 7;
    uint8_t judged : 1;
  };

  Entry Find(uint64_t sequence) const;
  void Set(uint64_t sequence, v1::Outcome outcome, bool judged);

  std::vector<Entry> outcomes_;  // by sequence
  absl::flat_hash_map<std::string, v1::Outcome> early_;
  uint64_t failures_ = 0;
};

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_OUTCOME_TABLE_H_
