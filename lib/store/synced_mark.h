#ifndef FAULTLINE_LIB_STORE_SYNCED_MARK_H_
#define FAULTLINE_LIB_STORE_SYNCED_MARK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace faultline::store {

// A file that says how much of a store has reached the disk, so that a start
// notices where less of it is there: a log file may be cut so that its end
// looks like that of a write that a crash interrupted, and then only somebody
// who knows what was there can tell.
//
// It is written after what it speaks of was synced, and is not synced itself:
// after a loss of power it may say too little, never too much. Thread-safe.
class SyncedMark {
 public:
  // What is on the disk at least.
  struct State {
    uint64_t sequence = 0;  // of the last write
    // The list of the store's files: its number, and so many bytes of it with
    // this xxh64. Number 0: not known.
    uint64_t manifest = 0;
    uint64_t manifest_bytes = 0;
    uint64_t manifest_digest = 0;
  };

  // What the file says. Nothing where it is absent, or damaged: then it is of
  // no use, and nothing else suffers. INTERNAL where it cannot be read.
  static absl::StatusOr<std::optional<State>> Read(const std::string& path);

  // Opens the file, which is made where absent. INTERNAL where it cannot be.
  static absl::StatusOr<std::unique_ptr<SyncedMark>> Open(
      const std::string& path);
  ~SyncedMark();
  SyncedMark(const SyncedMark&) = delete;
  SyncedMark& operator=(const SyncedMark&) = delete;

  // Where writing fails the file goes on saying less than there is.
  void SetSequence(uint64_t sequence) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetManifest(uint64_t number, uint64_t bytes, uint64_t digest)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  explicit SyncedMark(int descriptor) : descriptor_(descriptor) {}
  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int descriptor_;
  absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::store

#endif  // FAULTLINE_LIB_STORE_SYNCED_MARK_H_
