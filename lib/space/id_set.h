#ifndef FAULTLINE_LIB_SPACE_ID_SET_H_
#define FAULTLINE_LIB_SPACE_ID_SET_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"

namespace faultline::space {

// A set of ids, small where they lie close together as log sequences do: a bit
// an id, and some bytes for each 64 neighbours. Not thread-safe.
class IdSet {
 public:
  bool contains(uint64_t id) const {
    const auto it = words_.find(id / kBits);
    return it != words_.end() && (it->second & Bit(id)) != 0;
  }

  // False where it is there already.
  bool insert(uint64_t id) {
    uint64_t& word = words_[id / kBits];
    if ((word & Bit(id)) != 0) return false;
    word |= Bit(id);
    ++size_;
    return true;
  }

  // False where it is not there.
  bool erase(uint64_t id) {
    const auto it = words_.find(id / kBits);
    if (it == words_.end() || (it->second & Bit(id)) == 0) return false;
    it->second &= ~Bit(id);
    if (it->second == 0) words_.erase(it);
    --size_;
    return true;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  static constexpr uint64_t kBits = 64;
  static uint64_t Bit(uint64_t id) { return uint64_t{1} << (id % kBits); }

  absl::flat_hash_map<uint64_t, uint64_t> words_;  // by id / kBits
  size_t size_ = 0;
};

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_ID_SET_H_
