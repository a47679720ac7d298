#include "client/lab/bm25.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace faultline::lab {
namespace {
constexpr double kSaturation = Bm25::kMaxFactor - 1;
constexpr double kLengthInfluence = 0.75;  // b
}  // namespace

Bm25::Bm25(const std::vector<std::vector<std::string>>& passages) {
  for (size_t i = 0; i < passages.size(); ++i) {
    lengths_.push_back(static_cast<double>(passages[i].size()));
    for (const std::string& word : passages[i]) {
      std::vector<Posting>& list = postings_[word];
      if (list.empty() || list.back().passage != i) list.push_back({i, 0});
      ++list.back().frequency;
    }
  }
  const double total = std::accumulate(lengths_.begin(), lengths_.end(), 0.0);
  if (total > 0) mean_length_ = total / static_cast<double>(lengths_.size());
}

double Bm25::Weight(const std::string& word) const {
  const auto list = postings_.find(word);
  const double with =
      list == postings_.end() ? 0 : static_cast<double>(list->second.size());
  const auto all = static_cast<double>(lengths_.size());
  return std::log1p((all - with + .5) / (with + .5));
}

std::vector<Bm25::Hit> Bm25::Search(const std::vector<std::string>& query,
                                    size_t k) const {
  absl::flat_hash_map<size_t, double> scores;
  // In a fixed order, so that sums round the same way.
  for (const std::string& word :
       std::set<std::string>(query.begin(), query.end())) {
    const auto list = postings_.find(word);
    if (list == postings_.end()) continue;
    const double weight = Weight(word);
    for (const auto& [passage, frequency] : list->second) {
      const double norm = 1 - kLengthInfluence +
                          kLengthInfluence * lengths_[passage] / mean_length_;
      scores[passage] +=
          weight * frequency * kMaxFactor / (frequency + kSaturation * norm);
    }
  }
  std::vector<Hit> hits;
  hits.reserve(scores.size());
  for (const auto& [passage, score] : scores) hits.push_back({passage, score});
  const auto order = [](const Hit& a, const Hit& b) {
    return a.score != b.score ? a.score > b.score : a.passage < b.passage;
  };
  const size_t kept = std::min(k, hits.size());
  std::partial_sort(hits.begin(),
                    hits.begin() + static_cast<std::ptrdiff_t>(kept),
                    hits.end(), order);
  hits.resize(kept);
  return hits;
}

}  // namespace faultline::lab
