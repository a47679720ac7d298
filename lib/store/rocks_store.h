#ifndef FAULTLINE_LIB_STORE_ROCKS_STORE_H_
#define FAULTLINE_LIB_STORE_ROCKS_STORE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/store/key_value_store.h"

namespace faultline::store {

// The store on disk: RocksDB, one column family for each Family. Owns its
// directory while it is open. Thread-safe.
//
// A write is in the write-ahead log when Write returns, and on the disk where
// `sync` was set. What was synced is there after a crash, or Open fails: a
// write that was cut off at the end of the write-ahead log is dropped only
// where it was never synced, which SyncedMark knows; all other damage is
// reported.
class RocksStore : public KeyValueStore {
 public:
  struct Options {
    // Memory for blocks read, with their indexes and filters.
    size_t cache_bytes = 64 << 20;
    // Memory for writes that are not yet in a table file, in all.
    size_t write_buffer_bytes = 128 << 20;
    // Space that is left free on the disk, for tables and compaction to be
    // written: below it, writes are refused as on a full disk.
    uint64_t reserve_bytes = 64 << 20;
    // Opens without what is lost where the write-ahead log is damaged: writes
    // up to the damage are there, later ones are not.
    bool accept_loss = false;
  };

  // Opens the store in directory `path`, which is made where absent. DATA_LOSS,
  // naming the file, where it is damaged, FAILED_PRECONDITION where a newer
  // release wrote it, INTERNAL where it cannot be read or another process has
  // it open.
  static absl::StatusOr<std::unique_ptr<RocksStore>> Open(
      const Options& options, const std::string& path);

  ~RocksStore() override;

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
  class Listener;  // these keep RocksDB's headers out of here
  struct Database;
  explicit RocksStore(std::unique_ptr<Database> database);

  const std::unique_ptr<Database> database_;
};

}  // namespace faultline::store

#endif  // FAULTLINE_LIB_STORE_ROCKS_STORE_H_
