#include "lib/diagnose/run_set.h"

namespace faultline::diagnose {
namespace {

using Word = uint64_t;

// Bits set in all three rows of n words.
[[gnu::always_inline]] inline size_t CountBits(const Word* a, const Word* b,
                                               const Word* c, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    count += __builtin_popcountll(a[i] & b[i] & c[i]);
  }
  return count;
}

size_t CountPortably(const Word* a, const Word* b, const Word* c, size_t n) {
  return CountBits(a, b, c, n);
}

#ifdef __x86_64__
// The compiler may not take the instruction for granted, and does without it
// at ten times the cost.
[[gnu::target("popcnt")]] size_t CountByInstruction(const Word* a,
                                                    const Word* b,
                                                    const Word* c, size_t n) {
  return CountBits(a, b, c, n);
}
#endif

}  // namespace

size_t RunSet::Count() const { return CountAll(*this, *this); }

size_t RunSet::CountBoth(const RunSet& other) const {
  return CountAll(other, other);
}

size_t RunSet::CountAll(const RunSet& second, const RunSet& third) const {
#ifdef __x86_64__
  static const bool has_instruction = __builtin_cpu_supports("popcnt") != 0;
  const auto count = has_instruction ? CountByInstruction : CountPortably;
#else
  const auto count = CountPortably;
#endif
  return count(words_.data(), second.words_.data(), third.words_.data(),
               words_.size());
}

RunSet RunSet::operator&(const RunSet& other) const {
  RunSet result(n_);
  for (size_t i = 0; i < words_.size(); ++i) {
    result.words_[i] = words_[i] & other.words_[i];
  }
  return result;
}

RunSet RunSet::operator|(const RunSet& other) const {
  RunSet result(n_);
  for (size_t i = 0; i < words_.size(); ++i) {
    result.words_[i] = words_[i] | other.words_[i];
  }
  return result;
}

RunSet RunSet::operator~() const {
  RunSet result(n_);
  for (size_t i = 0; i < words_.size(); ++i) result.words_[i] = ~words_[i];
  if (n_ % 64 != 0) result.words_.back() &= (uint64_t{1} << (n_ % 64)) - 1;
  return result;
}

}  // namespace faultline::diagnose
