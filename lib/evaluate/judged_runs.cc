#include "lib/evaluate/judged_runs.h"

namespace faultline::evaluate {

void JudgedRuns::Apply(const v1::LogRecord& record) {
  switch (record.payload_case()) {
    case v1::LogRecord::kTrace:
      ApplyTrace(record.sequence(), record.trace());
      return;
    case v1::LogRecord::kReplacement:
      ApplyTrace(record.sequence(), record.replacement());
      return;
    case v1::LogRecord::kOutcome: {
      const v1::Outcome outcome = record.outcome().evaluation().outcome();
      judged_[record.outcome().trace_id()] = outcome;
      const auto row = rows_.find(record.outcome().trace_id());
      if (row != rows_.end()) outcomes_[row->second] = outcome;
      return;
    }
    // A deleted run is a tombstone in the place where it was.
    case v1::LogRecord::kDeletion:
    case v1::LogRecord::kTombstone:
    case v1::LogRecord::kAnnotation:
    case v1::LogRecord::kReview:
    case v1::LogRecord::kClusterReview:
    case v1::LogRecord::kConfig:
    case v1::LogRecord::PAYLOAD_NOT_SET:
      return;
  }
}

void JudgedRuns::ApplyTrace(uint64_t sequence, const v1::Trace& trace) {
  const auto [entry, added] =
      rows_.try_emplace(trace.trace_id(), outcomes_.size());
  if (added) outcomes_.push_back(v1::OUTCOME_UNSPECIFIED);
  const auto judged = judged_.find(trace.trace_id());
  outcomes_[entry->second] =
      judged == judged_.end() ? trace.evaluation().outcome() : judged->second;
  visit_(entry->second, sequence, trace);
}

}  // namespace faultline::evaluate
