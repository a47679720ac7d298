#include "lib/ingest/outcome_table.h"

namespace faultline::ingest {
namespace {

bool IsFailure(v1::Outcome outcome) {
  return outcome == v1::OUTCOME_FAIL || outcome == v1::OUTCOME_ERROR;
}

}  // namespace

void OutcomeTable::AddTrace(uint64_t sequence, absl::string_view trace_id,
                            v1::Outcome outcome) {
  const auto early = early_.find(trace_id);
  if (early != early_.end()) {
    outcome = early->second;
    early_.erase(early);
  }
  if (Get(sequence) == v1::OUTCOME_UNSPECIFIED) Set(sequence, outcome);
}

void OutcomeTable::AddJudgement(uint64_t sequence, absl::string_view trace_id,
                                v1::Outcome outcome) {
  if (sequence != 0) {
    Set(sequence, outcome);
  } else if (early_.size() < kMaxEarly || early_.contains(trace_id)) {
    early_[trace_id] = outcome;
  }
}

v1::Outcome OutcomeTable::Get(uint64_t sequence) const {
  return sequence < outcomes_.size()
             ? static_cast<v1::Outcome>(outcomes_[sequence])
             : v1::OUTCOME_UNSPECIFIED;
}

void OutcomeTable::Set(uint64_t sequence, v1::Outcome outcome) {
  if (sequence >= outcomes_.size()) outcomes_.resize(sequence + 1);
  failures_ -= IsFailure(Get(sequence)) ? 1 : 0;
  failures_ += IsFailure(outcome) ? 1 : 0;
  outcomes_[sequence] = static_cast<uint8_t>(outcome);
}

}  // namespace faultline::ingest
