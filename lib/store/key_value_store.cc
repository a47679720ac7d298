#include "lib/store/key_value_store.h"

#include <utility>

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

void WriteBatch::Put(Family family, std::string key, std::string value) {
  byte_size_ += key.size() + value.size();
  operations_.push_back({.family = family,
                         .key = std::move(key),
                         .value = std::move(value),
                         .erase = false});
}

void WriteBatch::Delete(Family family, std::string key) {
  byte_size_ += key.size();
  operations_.push_back(
      {.family = family, .key = std::move(key), .value = "", .erase = true});
}

void WriteBatch::Clear() {
  operations_.clear();
  byte_size_ = 0;
}

}  // namespace faultline::store
