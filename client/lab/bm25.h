#ifndef FAULTLINE_CLIENT_LAB_BM25_H_
#define FAULTLINE_CLIENT_LAB_BM25_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace faultline::lab {

// A retriever: Okapi BM25 (Robertson et al. 1994) over passages as bags of
// words, k1 = 1.2 and b = 0.75. It knows no synonyms and no word forms, and
// that is where it misses. Immutable once made, so thread-safe.
class Bm25 {
 public:
  struct Hit {
    size_t passage;  // index
    double score;    // above 0
  };

  // A word counts at most so many times its weight.
  static constexpr double kMaxFactor = 2.2;  // k1 + 1

  // `passages`: the words of each.
  explicit Bm25(const std::vector<std::vector<std::string>>& passages);

  // The at most `k` best passages that share a word with the query, best
  // first, of equals the one that comes first. Repeated words count once.
  std::vector<Hit> Search(const std::vector<std::string>& query,
                          size_t k) const;

  // Weight of a word: ln(1 + (N - n + .5) / (n + .5)), where n of N passages
  // have it.
  double Weight(const std::string& word) const;

 private:
  struct Posting {
    size_t passage;
    double frequency;
  };

  absl::flat_hash_map<std::string, std::vector<Posting>> postings_;
  std::vector<double> lengths_;
  double mean_length_ = 1;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_BM25_H_
