#ifndef FAULTLINE_LIB_STORE_KEY_VALUE_STORE_H_
#define FAULTLINE_LIB_STORE_KEY_VALUE_STORE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline::store {

// A family is a key space of its own. The numbers are not persisted, the names
// (FamilyName) are: never rename one.
enum class Family : uint8_t {
  kLog,       // (project, sequence) -> LogRecord
  kIds,       // (project, kind, id) -> sequence
  kTicks,     // (project, tick) -> TickState, and its stages
  kPolicies,  // (project, version) -> Policy
  kMeta,      // server-wide facts
  kPieces,    // (project, trace, piece) -> Piece of a run that is not whole
};
inline constexpr int kFamilyCount = 6;

// Stable name of a family on disk.
absl::string_view FamilyName(Family family);

// Changes that are applied together or not at all. Not thread-safe.
class WriteBatch {
 public:
  struct Operation {
    Family family;
    std::string key;
    std::string value;  // empty where `erase`
    bool erase;
  };

  void Put(Family family, std::string key, std::string value);
  void Delete(Family family, std::string key);
  void Clear();

  bool empty() const { return operations_.empty(); }
  // Keys and values, in bytes.
  size_t byte_size() const { return byte_size_; }
  const std::vector<Operation>& operations() const { return operations_; }

 private:
  std::vector<Operation> operations_;
  size_t byte_size_ = 0;
};

// Bytes by key, ordered by unsigned byte comparison within a family. The store
// owns its files; keys and values are copied in and out. Thread-safe.
//
// Every method returns INTERNAL where the storage fails and DATA_LOSS where it
// finds corruption; the message names the file or the key.
class KeyValueStore {
 public:
  virtual ~KeyValueStore() = default;

  // Value of `key`. NOT_FOUND where there is none.
  virtual absl::StatusOr<std::string> Get(Family family,
                                          absl::string_view key) const = 0;

  // Values of `keys`, in order; an absent key gives an empty optional.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> MultiGet(
      Family family, const std::vector<std::string>& keys) const = 0;

  // Applies `batch` atomically. With `sync`, it is durable on return.
  // UNAVAILABLE, with a delay and what to do, where the disk is full or has
  // failed.
  virtual absl::Status Write(const WriteBatch& batch, bool sync) = 0;

  // Calls `visit` for each key in [begin, end) in ascending order, on one
  // consistent snapshot, until `visit` returns false. An empty `end` is
  // unbounded. The views are valid during the call only.
  virtual absl::Status Scan(
      Family family, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>&
          visit) const = 0;

  // The same, descending from the last key in [begin, end).
  virtual absl::Status ScanReverse(
      Family family, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>&
          visit) const = 0;

  // Gives the space of what was deleted or overwritten in [begin, end) back,
  // and no longer holds its bytes anywhere. An empty `end` is unbounded. Takes
  // long; reads and writes go on meanwhile.
  virtual absl::Status Compact(Family family, absl::string_view begin,
                               absl::string_view end) = 0;

  // Copies everything that was written before the call, as one consistent
  // state, to the directory `path`, which must not exist: a store of the same
  // kind opens it. Reads and writes go on meanwhile. UNIMPLEMENTED for a store
  // without files.
  virtual absl::Status Checkpoint(const std::string& path) const = 0;
};

}  // namespace faultline::store

#endif  // FAULTLINE_LIB_STORE_KEY_VALUE_STORE_H_
