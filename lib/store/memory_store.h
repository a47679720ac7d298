#ifndef FAULTLINE_LIB_STORE_MEMORY_STORE_H_
#define FAULTLINE_LIB_STORE_MEMORY_STORE_H_

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/store/key_value_store.h"

namespace faultline::store {

// The store in memory, for tests and trials: nothing survives it, and it never
// fails. A scan first lists its whole range, so that `visit` may call the
// store. Thread-safe.
class MemoryStore : public KeyValueStore {
 public:
  absl::StatusOr<std::string> Get(Family family,
                                  absl::string_view key) const override;
  absl::StatusOr<std::vector<std::optional<std::string>>> MultiGet(
      Family family, const std::vector<std::string>& keys) const override;
  absl::Status Write(const WriteBatch& batch, bool sync) override;
  absl::Status Scan(
      Family family, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>&
          visit) const override;
  absl::Status ScanReverse(
      Family family, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>&
          visit) const override;
  absl::Status Compact(Family family, absl::string_view begin,
                       absl::string_view end) override;
  absl::Status Checkpoint(const std::string& path) const override;

 private:
  // Values are shared with the scans that are under way.
  using Map = std::map<std::string, std::shared_ptr<const std::string>>;
  using Range =
      std::vector<std::pair<std::string, std::shared_ptr<const std::string>>>;

  Range List(Family family, absl::string_view begin,
             absl::string_view end) const ABSL_LOCKS_EXCLUDED(mutex_);

  mutable absl::Mutex mutex_;
  std::array<Map, kFamilyCount> families_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::store

#endif  // FAULTLINE_LIB_STORE_MEMORY_STORE_H_
