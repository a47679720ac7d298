#ifndef FAULTLINE_LIB_SPACE_BLOCK_LISTS_H_
#define FAULTLINE_LIB_SPACE_BLOCK_LISTS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "lib/space/id_set.h"

namespace faultline::space {

// Inverted lists of ids and codes in blocks of one size. They grow without
// copying and without room to spare for more than a block each, which arrays
// that double cannot: at a million points of a kilobyte that is hundreds of
// megabytes. A copy shares the blocks: it stays as it is while the original
// goes on. Not thread-safe, but const methods run side by side, and those of a
// copy beside changes of the original.
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
      Block& block = *grown.blocks.emplace_back(std::make_shared<Block>());
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
        const int64_t id = BlockOf(list, i).ids[i % kBlockPoints];
        if (doomed.contains(static_cast<uint64_t>(id))) {
          RemoveAt(&list, i);
        }
      }
    }
  }

 private:
  struct List {
    std::vector<std::shared_ptr<Block>> blocks;  // all but the last are full
    size_t size = 0;
  };

  static const Block& BlockOf(const List& list, size_t i) {
    return *list.blocks[i / kBlockPoints];
  }
  // No entry that a copy has may change under it.
  Block& OwnBlockOf(List* list, size_t i) const {
    std::shared_ptr<Block>& block = list->blocks[i / kBlockPoints];
    if (block.use_count() > 1) {
      auto own = std::make_shared<Block>();
      own->ids = block->ids;
      own->codes.reset(new uint8_t[kBlockPoints * code_size_]);
      std::memcpy(own->codes.get(), block->codes.get(),
                  kBlockPoints * code_size_);
      block = std::move(own);
    } else {
      // After whatever a copy that is gone has read: counting down orders what
      // asking for the count does not.
      std::shared_ptr<Block>(block).reset();
    }
    return *block;
  }
  void RemoveAt(List* list, size_t i) const {
    const size_t last = list->size - 1;
    if (i != last) {
      Block& to = OwnBlockOf(list, i);
      const Block& from = BlockOf(*list, last);
      to.ids[i % kBlockPoints] = from.ids[last % kBlockPoints];
      std::memcpy(to.codes.get() + i % kBlockPoints * code_size_,
                  from.codes.get() + last % kBlockPoints * code_size_,
                  code_size_);
    }
    // What is appended next must not take the place of an entry of a copy.
    if (last % kBlockPoints == 0) {
      list->blocks.pop_back();
    } else {
      OwnBlockOf(list, last);
    }
    --list->size;
  }

  size_t code_size_;
  std::vector<List> lists_;
};

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_BLOCK_LISTS_H_
