#ifndef FAULTLINE_LIB_DIAGNOSE_RUN_SET_H_
#define FAULTLINE_LIB_DIAGNOSE_RUN_SET_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace faultline::diagnose {

// Some of the n runs of a window, one bit for each; counting an intersection
// costs n / 64 steps. Operands of one operation are over the same window.
// Not thread-safe to change; thread-safe to read.
class RunSet {
 public:
  // Empty, over `n` runs.
  explicit RunSet(size_t n = 0) : n_(n), words_((n + 63) / 64) {}

  // All of the runs.
  static RunSet All(size_t n) { return ~RunSet(n); }

  // Number of runs in the window.
  size_t window() const { return n_; }

  void Add(size_t run) { words_[run / 64] |= uint64_t{1} << (run % 64); }
  bool Has(size_t run) const {
    return (words_[run / 64] >> (run % 64) & 1) != 0;
  }

  size_t Count() const;
  // Runs in both, in all three.
  size_t CountBoth(const RunSet& other) const;
  size_t CountAll(const RunSet& second, const RunSet& third) const;

  // Calls `visit(run)` for each run; for each that is in all three. Ascending.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    ForEachOfAll(*this, *this, visit);
  }
  template <typename Visit>
  void ForEachOfAll(const RunSet& second, const RunSet& third,
                    const Visit& visit) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      uint64_t word = words_[i] & second.words_[i] & third.words_[i];
      for (; word != 0; word &= word - 1) {
        visit(64 * i + static_cast<size_t>(std::countr_zero(word)));
      }
    }
  }

  RunSet operator&(const RunSet& other) const;
  RunSet operator|(const RunSet& other) const;
  RunSet operator~() const;
  bool operator==(const RunSet& other) const = default;

 private:
  size_t n_;
  std::vector<uint64_t> words_;  // bits beyond n_ are 0
};

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_RUN_SET_H_
