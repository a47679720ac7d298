#include "lib/diagnose/run_set.h"

#include <bit>

namespace faultline::diagnose {

size_t RunSet::Count() const {
  size_t count = 0;
  for (const uint64_t word : words_) count += std::popcount(word);
  return count;
}

size_t RunSet::CountBoth(const RunSet& other) const {
  size_t count = 0;
  for (size_t i = 0; i < words_.size(); ++i) {
    count += std::popcount(words_[i] & other.words_[i]);
  }
  return count;
}

size_t RunSet::CountAll(const RunSet& second, const RunSet& third) const {
  size_t count = 0;
  for (size_t i = 0; i < words_.size(); ++i) {
    count += std::popcount(words_[i] & second.words_[i] & third.words_[i]);
  }
  return count;
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
