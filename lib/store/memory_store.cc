#include "lib/store/memory_store.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace faultline::store {

absl::StatusOr<std::string> MemoryStore::Get(Family family,
                                             absl::string_view key) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Map& map = families_[static_cast<size_t>(family)];
  const auto it = map.find(std::string(key));
  if (it == map.end()) {
    return absl::NotFoundError(
        absl::StrCat(FamilyName(family), ": no key ", absl::CHexEscape(key)));
  }
  return *it->second;
}

absl::StatusOr<std::vector<std::optional<std::string>>> MemoryStore::MultiGet(
    Family family, const std::vector<std::string>& keys) const {
  std::vector<std::optional<std::string>> values(keys.size());
  absl::ReaderMutexLock lock(&mutex_);
  const Map& map = families_[static_cast<size_t>(family)];
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto it = map.find(keys[i]);
    if (it != map.end()) values[i] = *it->second;
  }
  return values;
}

absl::Status MemoryStore::Write(const WriteBatch& batch, bool /*sync*/) {
  absl::MutexLock lock(&mutex_);
  for (const WriteBatch::Operation& operation : batch.operations()) {
    Map& map = families_[static_cast<size_t>(operation.family)];
    if (operation.erase) {
      map.erase(operation.key);
    } else {
      map[operation.key] = std::make_shared<const std::string>(operation.value);
    }
  }
  return absl::OkStatus();
}

MemoryStore::Range MemoryStore::List(Family family, absl::string_view begin,
                                     absl::string_view end) const {
  Range range;
  if (!end.empty() && end <= begin) return range;
  absl::ReaderMutexLock lock(&mutex_);
  const Map& map = families_[static_cast<size_t>(family)];
  const auto last = end.empty() ? map.end() : map.lower_bound(std::string(end));
  for (auto it = map.lower_bound(std::string(begin)); it != last; ++it) {
    range.emplace_back(it->first, it->second);
  }
  return range;
}

absl::Status MemoryStore::Scan(
    Family family, absl::string_view begin, absl::string_view end,
    const std::function<bool(absl::string_view, absl::string_view)>& visit)
    const {
  for (const auto& [key, value] : List(family, begin, end)) {
    if (!visit(key, *value)) break;
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::ScanReverse(
    Family family, absl::string_view begin, absl::string_view end,
    const std::function<bool(absl::string_view, absl::string_view)>& visit)
    const {
  const Range range = List(family, begin, end);
  for (auto it = range.rbegin(); it != range.rend(); ++it) {
    if (!visit(it->first, *it->second)) break;
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::Compact(Family /*family*/,
                                  absl::string_view /*begin*/,
                                  absl::string_view /*end*/) {
  return absl::OkStatus();
}

absl::Status MemoryStore::Checkpoint(const std::string& /*path*/) const {
  return absl::UnimplementedError("store: what is in memory has no files");
}

}  // namespace faultline::store
