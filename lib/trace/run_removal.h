#ifndef FAULTLINE_LIB_TRACE_RUN_REMOVAL_H_
#define FAULTLINE_LIB_TRACE_RUN_REMOVAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/record.pb.h"
#include "lib/store/key_value_store.h"

namespace faultline::trace {

// The removal of runs from the store, in one commit: their records, those of
// every version and of all that was said of them, become tombstones; their
// ids and staged pieces go. Reads the store, which must not change meanwhile,
// and fills two batches: what to write, and what takes it back.
//
// Does not own the store. Not thread-safe.
class RunRemoval {
 public:
  RunRemoval(const store::KeyValueStore* store, absl::string_view project,
             v1::DeletionReason reason)
      : store_(store), project_(project), reason_(reason) {}

  // Adds the run whose latest record is at `sequence`; another sequence is
  // left out. DATA_LOSS where a key or a value is malformed.
  absl::Status Add(uint64_t sequence, absl::string_view trace_id);

  // Runs removed, and their records: all versions, ascending.
  uint64_t runs() const { return runs_; }
  const std::vector<uint64_t>& sequences() const { return sequences_; }
  uint64_t outcomes() const { return outcomes_; }
  uint64_t annotations() const { return annotations_; }
  // Bytes of all removed records.
  uint64_t bytes() const { return bytes_; }

  store::WriteBatch& apply() { return apply_; }
  store::WriteBatch& undo() { return undo_; }

 private:
  absl::Status Bury(uint64_t sequence);
  void Erase(store::Family family, absl::string_view key,
             absl::string_view value);
  // Buries and forgets what the ids of `kind` of the run stand for; returns
  // the sequences.
  absl::StatusOr<std::vector<uint64_t>> BuryAll(char kind,
                                                absl::string_view trace_id);
  absl::Status ErasePieces(absl::string_view trace_id);

  const store::KeyValueStore* const store_;
  const std::string project_;
  const v1::DeletionReason reason_;
  store::WriteBatch apply_;
  store::WriteBatch undo_;
  uint64_t runs_ = 0;
  std::vector<uint64_t> sequences_;
  uint64_t outcomes_ = 0;
  uint64_t annotations_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_RUN_REMOVAL_H_
