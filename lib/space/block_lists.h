#ifndef FAULTLINE_LIB_SPACE_BLOCK_LISTS_H_
#define FAULTLINE_LIB_SPACE_BLOCK_LISTS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "lib/space/id_set.h"

namespace faultline::space {

// Inverted lists of ids and codes in blocks of one size. They grow without
// copying and without room to spare for more than a block each, which arrays
// that double cannot: at a million points of a kilobyte that is hundreds of
// megabytes. Not thread-safe, but const methods run side by side.
class BlockLists {
 public:
  static constexpr size_t kBlockPoints = 64;

  struct Block {
    std::array<int64_t, kBlockPoints> ids;
    std::unique_ptr<uint8_t[]> codes;  // kBlockPoints x code_size
  };

  BlockLists(size_t lists, size_t code_size)
      : code_size_(code_size), lists_(lists) {}

  size_t lists() const { return lists_.size(); }
  size_t code_size() const { return code_size_; }
  size_t size(size_t list) const { return lists_[list].size; }

  void Append(size_t list, int64_t id, const uint8_t* code) {
    List& grown = lists_[list];
    const size_t at = grown.size % kBlockPoints;
    if (at == 0) {
      Block& block = *grown.blocks.emplace_back(std::make_unique<Block>());
      // Written before it is read: zeroing it would cost as much.
      block.codes.reset(new uint8_t[kBlockPoints * code_size_]);
    }
    Block& block = *grown.blocks.back();
    block.ids[at] = id;
    std::memcpy(block.codes.get() + at * code_size_, code, code_size_);
    ++grown.size;
  }

  // Calls `visit(count, ids, codes)` for each block of a list.
  template <typename Visit>
  void ForEachBlock(size_t list, Visit visit) const {
    size_t left = lists_[list].size;
    for (const auto& block : lists_[list].blocks) {
      const size_t count = std::min(left, kBlockPoints);
      visit(count, block->ids.data(), block->codes.get());
      left -= count;
    }
  }

  // Removes the entries whose id is in `doomed`; the last entries of their
  // lists take the places.
  void Remove(const IdSet& doomed) {
    for (List& list : lists_) {
      for (size_t i = list.size; i-- > 0;) {
        if (doomed.contains(static_cast<uint64_t>(IdAt(list, i)))) {
          RemoveAt(&list, i);
        }
      }
    }
  }

 private:
  struct List {
    std::vector<std::unique_ptr<Block>> blocks;  // all but the last are full
    size_t size = 0;
  };

  static int64_t& IdAt(List& list, size_t i) {
    return list.blocks[i / kBlockPoints]->ids[i % kBlockPoints];
  }
  uint8_t* CodeAt(List& list, size_t i) const {
    return list.blocks[i / kBlockPoints]->codes.get() +
           i % kBlockPoints * code_size_;
  }
  void RemoveAt(List* list, size_t i) const {
    const size_t last = list->size - 1;
    if (i != last) {
      IdAt(*list, i) = IdAt(*list, last);
      std::memcpy(CodeAt(*list, i), CodeAt(*list, last), code_size_);
    }
    if (last % kBlockPoints == 0) list->blocks.pop_back();
    --list->size;
  }

  const size_t code_size_;
  std::vector<List> lists_;
};

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_BLOCK_LISTS_H_
