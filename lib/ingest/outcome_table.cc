#include "lib/ingest/outcome_table.h"

namespace faultline::ingest {
namespace {

bool IsFailure(v1::Outcome outcome) {
  return outcome == v1::OUTCOME_FAIL || outcome == v1::OUTCOME_ERROR;
}

}  // namespace

void OutcomeTable::AddTrace(uint64_t sequence, absl::string_view trace_id,
                            v1::Outcome outcome) {
  ReplaceTrace({}, sequence, trace_id, outcome);
}

void OutcomeTable::ReplaceTrace(const std::vector<uint64_t>& earlier,
                                uint64_t sequence, absl::string_view trace_id,
                                v1::Outcome outcome) {
  bool judged = false;
  for (const uint64_t replaced : earlier) {
    if (const Entry entry = Find(replaced); entry.judged != 0) {
      judged = true;
      outcome = static_cast<v1::Outcome>(entry.outcome);
    }
    Remove(replaced);
  }
  const auto early = early_.find(trace_id);
  if (early != early_.end()) {
    judged = true;
    outcome = early->second;
    early_.erase(early);
  }
  // A judgement may have found the trace in the log before this.
  if (Find(sequence).judged == 0) Set(sequence, outcome, judged);
}

void OutcomeTable::AddJudgement(uint64_t sequence, absl::string_view trace_id,
                                v1::Outcome outcome) {
  if (sequence != 0) {
    Set(sequence, outcome, /*judged=*/true);
  } else if (early_.size() < kMaxEarly || early_.contains(trace_id)) {
    early_[trace_id] = outcome;
  }
}

void OutcomeTable::Remove(uint64_t sequence) {
  if (sequence < outcomes_.size()) {
    Set(sequence, v1::OUTCOME_UNSPECIFIED, /*judged=*/false);
  }
}

v1::Outcome OutcomeTable::Get(uint64_t sequence) const {
  return static_cast<v1::Outcome>(Find(sequence).outcome);
}

OutcomeTable::Entry OutcomeTable::Find(uint64_t sequence) const {
  return sequence < outcomes_.size() ? outcomes_[sequence] : Entry();
}

void OutcomeTable::Set(uint64_t sequence, v1::Outcome outcome, bool judged) {
  if (sequence >= outcomes_.size()) outcomes_.resize(sequence + 1);
  failures_ -= IsFailure(Get(sequence)) ? 1 : 0;
  failures_ += IsFailure(outcome) ? 1 : 0;
  outcomes_[sequence] = {static_cast<uint8_t>(outcome & 0x7f),
                         static_cast<uint8_t>(judged ? 1 : 0)};
}

}  // namespace faultline::ingest
