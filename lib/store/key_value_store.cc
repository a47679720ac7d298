#include "lib/store/key_value_store.h"

namespace faultline::store {

absl::string_view FamilyName(Family family) {
  switch (family) {
    case Family::kLog:
      return "log";
    case Family::kIds:
      return "ids";
    case Family::kTicks:
      return "ticks";
    case Family::kPolicies:
      return "policies";
    case Family::kMeta:
      return "meta";
    case Family::kPieces:
      return "pieces";
  }
  return "";
}

void WriteBatch::Put(Family family, absl::string_view key,
                     absl::string_view value) {
  operations_.push_back({.family = family,
                         .key = std::string(key),
                         .value = std::string(value),
                         .erase = false});
  byte_size_ += key.size() + value.size();
}

void WriteBatch::Delete(Family family, absl::string_view key) {
  operations_.push_back(
      {.family = family, .key = std::string(key), .value = "", .erase = true});
  byte_size_ += key.size();
}

void WriteBatch::Clear() {
  operations_.clear();
  byte_size_ = 0;
}

}  // namespace faultline::store
