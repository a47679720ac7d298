#include "lib/trace/run_removal.h"

#include "lib/base/status_macros.h"
#include "lib/store/ordered_key.h"
#include "lib/trace/log_keys.h"

namespace faultline::trace {

using ::faultline::store::Family;

absl::Status RunRemoval::Add(uint64_t sequence, absl::string_view trace_id) {
  const std::string id_key = IdKey(project_, kTraceId, {trace_id});
  const auto id = store_->Get(Family::kIds, id_key);
  if (absl::IsNotFound(id.status())) return absl::OkStatus();
  FAULTLINE_RETURN_IF_ERROR(id.status());
  FAULTLINE_ASSIGN_OR_RETURN(const Known known, Known::Decode(*id));
  if (known.sequence != sequence) return absl::OkStatus();

  FAULTLINE_ASSIGN_OR_RETURN(const auto versions,
                             BuryAll(kEarlierVersion, trace_id));
  sequences_.insert(sequences_.end(), versions.begin(), versions.end());
  FAULTLINE_RETURN_IF_ERROR(Bury(sequence));
  Erase(Family::kIds, id_key, *id);
  sequences_.push_back(sequence);
  ++runs_;

  FAULTLINE_ASSIGN_OR_RETURN(const auto outcomes,
                             BuryAll(kOutcomeId, trace_id));
  outcomes_ += outcomes.size();
  FAULTLINE_ASSIGN_OR_RETURN(const auto annotations,
                             BuryAll(kAnnotationId, trace_id));
  annotations_ += annotations.size();
  FAULTLINE_RETURN_IF_ERROR(BuryAll(kEarlierJudgement, trace_id).status());
  return ErasePieces(trace_id);
}

absl::Status RunRemoval::Bury(uint64_t sequence) {
  const std::string key = LogKey(project_, sequence);
  FAULTLINE_ASSIGN_OR_RETURN(const std::string value,
                             store_->Get(Family::kLog, key));
  v1::LogRecord tombstone;
  tombstone.set_sequence(sequence);
  tombstone.mutable_tombstone()->set_reason(reason_);
  apply_.Put(Family::kLog, key, tombstone.SerializeAsString());
  undo_.Put(Family::kLog, key, value);
  bytes_ += value.size();
  return absl::OkStatus();
}

void RunRemoval::Erase(Family family, absl::string_view key,
                       absl::string_view value) {
  apply_.Delete(family, std::string(key));
  undo_.Put(family, std::string(key), std::string(value));
}

absl::StatusOr<std::vector<uint64_t>> RunRemoval::BuryAll(
    char kind, absl::string_view trace_id) {
  std::vector<uint64_t> sequences;
  absl::Status fault;
  const std::string prefix = IdKey(project_, kind, {trace_id});
  const bool in_key = kind == kEarlierVersion || kind == kEarlierJudgement;
  FAULTLINE_RETURN_IF_ERROR(store_->Scan(
      Family::kIds, prefix, store::PrefixEnd(prefix),
      [&](absl::string_view key, absl::string_view value) {
        Erase(Family::kIds, key, value);
        if (in_key) {
          key.remove_prefix(prefix.size());
          if (!store::ConsumeNumber(&key, &sequences.emplace_back())) {
            fault = absl::DataLossError("trace log: a key is malformed");
          }
        } else {
          const absl::StatusOr<Known> known = Known::Decode(value);
          fault = known.status();
          if (fault.ok()) sequences.push_back(known->sequence);
        }
        return fault.ok();
      }));
  FAULTLINE_RETURN_IF_ERROR(fault);
  for (const uint64_t sequence : sequences) {
    FAULTLINE_RETURN_IF_ERROR(Bury(sequence));
  }
  return sequences;
}

absl::Status RunRemoval::ErasePieces(absl::string_view trace_id) {
  const std::string prefix = PiecePrefix(project_, trace_id);
  return store_->Scan(Family::kPieces, prefix, store::PrefixEnd(prefix),
                      [&](absl::string_view key, absl::string_view value) {
                        Erase(Family::kPieces, key, value);
                        return true;
                      });
}

}  // namespace faultline::trace
