#include "lib/ingest/outcome_table.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/base/status_macros.h"

namespace faultline::ingest {
namespace {

// No id of a trace is longer (trace.proto).
constexpr uint64_t kMaxIdBytes = 1 << 16;

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

absl::Status OutcomeTable::Save(Sink sink) const {
  const auto put_number = [&sink](uint64_t number) {
    return sink(absl::string_view(reinterpret_cast<const char*>(&number),
                                  sizeof(number)));
  };
  FAULTLINE_RETURN_IF_ERROR(put_number(outcomes_.size()));
  static_assert(sizeof(Entry) == 1);
  FAULTLINE_RETURN_IF_ERROR(sink(absl::string_view(
      reinterpret_cast<const char*>(outcomes_.data()), outcomes_.size())));
  FAULTLINE_RETURN_IF_ERROR(put_number(early_.size()));
  for (const auto& [trace_id, outcome] : early_) {
    FAULTLINE_RETURN_IF_ERROR(put_number(outcome));
    FAULTLINE_RETURN_IF_ERROR(put_number(trace_id.size()));
    FAULTLINE_RETURN_IF_ERROR(sink(trace_id));
  }
  return absl::OkStatus();
}

absl::Status OutcomeTable::Load(Source source, uint64_t last) {
  const auto get_number = [&source](uint64_t* number) {
    return source(
        absl::MakeSpan(reinterpret_cast<char*>(number), sizeof(*number)));
  };
  const auto malformed = [] {
    return absl::DataLossError("saved outcomes are malformed");
  };
  *this = OutcomeTable();
  uint64_t size = 0;
  FAULTLINE_RETURN_IF_ERROR(get_number(&size));
  if (size > last + 1) return malformed();
  std::array<char, 4096> part;
  for (uint64_t sequence = 0; sequence < size;) {
    const auto bytes = absl::MakeSpan(part).subspan(
        0, std::min<uint64_t>(part.size(), size - sequence));
    FAULTLINE_RETURN_IF_ERROR(source(bytes));
    for (const char byte : bytes) {
      Entry entry;
      std::memcpy(&entry, &byte, sizeof(entry));
      Set(sequence++, static_cast<v1::Outcome>(entry.outcome), entry.judged);
    }
  }
  uint64_t early = 0;
  FAULTLINE_RETURN_IF_ERROR(get_number(&early));
  if (early > kMaxEarly) return malformed();
  for (; early > 0; --early) {
    uint64_t outcome = 0;
    uint64_t length = 0;
    FAULTLINE_RETURN_IF_ERROR(get_number(&outcome));
    FAULTLINE_RETURN_IF_ERROR(get_number(&length));
    if (length > kMaxIdBytes || outcome > v1::Outcome_MAX) return malformed();
    std::string trace_id(length, '\0');
    FAULTLINE_RETURN_IF_ERROR(source(absl::MakeSpan(trace_id)));
    early_[trace_id] = static_cast<v1::Outcome>(outcome);
  }
  return absl::OkStatus();
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
