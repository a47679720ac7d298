#ifndef FAULTLINE_TESTS_FAKES_FAULT_STORE_H_
#define FAULTLINE_TESTS_FAKES_FAULT_STORE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/store/key_value_store.h"

namespace faultline::fakes {

// A store that fails on demand. Forwards to another store, which it does not
// own; nobody else may write to that store. Thread-safe.
class FaultStore : public store::KeyValueStore {
 public:
  enum class Fault {
    kBeforeApplying,  // nothing is written
    kAfterApplying,   // everything is written, not synced; the caller sees an
                      // error
  };

  explicit FaultStore(store::KeyValueStore* base) : base_(base) {}

  // Passes `skip` writes (reads, scans), then fails `count` of them with
  // `status`. Replaces earlier orders.
  void FailWrites(int skip, int count, Fault fault,
                  absl::Status status = absl::InternalError("injected fault"))
      ABSL_LOCKS_EXCLUDED(mutex_);
  void FailReads(int skip, int count,
                 absl::Status status = absl::InternalError("injected fault"))
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Writes that begin from now on wait until ReleaseWrites.
  void HoldWrites() ABSL_LOCKS_EXCLUDED(mutex_);
  void ReleaseWrites() ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until a write waits.
  void WaitForHeldWrite() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Power loss: undoes every write since the last synced one. Not while a
  // write is under way.
  void Crash() ABSL_LOCKS_EXCLUDED(mutex_);

  // Writes asked for, failed ones included.
  int writes() const ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::string> Get(store::Family family,
                                  absl::string_view key) const override;
  absl::StatusOr<std::vector<std::optional<std::string>>> MultiGet(
      store::Family family,
      const std::vector<std::string>& keys) const override;
  absl::Status Write(const store::WriteBatch& batch, bool sync) override;
  absl::Status Scan(
      store::Family family, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>&
          visit) const override;
  absl::Status ScanReverse(
      store::Family family, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>&
          visit) const override;
  absl::Status Compact(store::Family family, absl::string_view begin,
                       absl::string_view end) override;
  absl::Status Checkpoint(const std::string& path) const override;

 private:
  struct Order {
    int skip = 0;
    int count = 0;
    Fault fault = Fault::kBeforeApplying;
    absl::Status status;

    // Counts one operation; whether it fails.
    bool Hit();
  };

  absl::Status Read() const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Apply(const store::WriteBatch& batch, bool sync)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  store::KeyValueStore* const base_;

  mutable absl::Mutex mutex_;
  mutable Order read_order_ ABSL_GUARDED_BY(mutex_);
  Order write_order_ ABSL_GUARDED_BY(mutex_);
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  int held_ ABSL_GUARDED_BY(mutex_) = 0;
  int writes_ ABSL_GUARDED_BY(mutex_) = 0;
  // What takes back the unsynced writes, latest last.
  std::vector<store::WriteBatch> undo_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::fakes

#endif  // FAULTLINE_TESTS_FAKES_FAULT_STORE_H_
