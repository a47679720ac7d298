#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/embedding/embedder.h"

namespace faultline::embedding {
namespace {

constexpr size_t kMaxTokens = 65536;
// Half-life of 5 calls (METHODS 1.2).
const double kDecay = std::exp2(-1.0 / 5);
// MAD to standard deviation, for a normal distribution.
constexpr double kMadScale = 1.4826;

constexpr double kPriorStrength = 20;
constexpr double kMaxLogOdds = 3;

using Frequencies = absl::flat_hash_map<uint64_t, double>;

// `values` must not be empty; it is reordered.
float Median(std::vector<float>* values) {
  const auto middle = values->begin() + values->size() / 2;
  std::nth_element(values->begin(), middle, values->end());
  return *middle;
}

double StandardDeviation(const std::vector<float>& values) {
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const double n = static_cast<double>(values.size());
  return std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)));
}

// Location and scale of the known values. The standard deviation stands in
// where more than half of the values are equal, and the MAD is 0.
std::pair<float, float> LocationAndScale(std::vector<float> values) {
  if (values.empty()) return {0, 0};
  const double deviation = StandardDeviation(values);
  const float location = Median(&values);
  for (float& value : values) value = std::abs(value - location);
  const double mad = kMadScale * Median(&values);
  return {location, static_cast<float>(mad > 0 ? mad : deviation)};
}

void CountNumeric(absl::Span<const Run* const> runs,
                  const v1::CorpusSnapshot* previous,
                  v1::CorpusSnapshot* corpus) {
  for (int i = 0; i < kNumericCount; ++i) {
    std::vector<float> values;
    for (const Run* run : runs) {
      if (!std::isnan(run->numeric[i])) values.push_back(run->numeric[i]);
    }
    auto [location, scale] = LocationAndScale(std::move(values));
    if (scale == 0 && previous && i < previous->numeric_scale_size()) {
      location = previous->numeric_location(i);
      scale = previous->numeric_scale(i);
    }
    corpus->add_numeric_location(location);
    corpus->add_numeric_scale(scale);
  }
}

// Mean direction. The latest length counts, should callers change theirs.
void CountCallers(absl::Span<const Run* const> runs,
                  const v1::CorpusSnapshot* previous,
                  v1::CorpusSnapshot* corpus) {
  std::vector<double> sum;
  double count = 0;
  for (const Run* run : runs) {
    const std::vector<float>& embedding = run->caller_embedding;
    double squares = 0;
    for (const float x : embedding) squares += static_cast<double>(x) * x;
    if (squares == 0) continue;
    if (sum.size() != embedding.size()) {
      sum.assign(embedding.size(), 0);
      count = 0;
    }
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += embedding[i] / std::sqrt(squares);
    }
    ++count;
  }
  if (count == 0 && previous) {
    *corpus->mutable_caller_embedding_mean() =
        previous->caller_embedding_mean();
    return;
  }
  for (const double x : sum) {
    corpus->add_caller_embedding_mean(static_cast<float>(x / count));
  }
}

Frequencies CountPresence(absl::Span<const Run* const> runs) {
  Frequencies counts;
  for (const Run* run : runs) {
    for (const TokenCount& token : run->tokens) ++counts[token.key];
  }
  return counts;
}

double Sum(const google::protobuf::RepeatedField<float>& numbers) {
  double sum = 0;
  for (const float number : numbers) sum += number;
  return sum;
}

// ln of the odds of presence, shrunk towards `pooled`.
double LogOdds(double present, double runs, double pooled) {
  const double yes = present + kPriorStrength * pooled;
  return std::log(yes / (runs + kPriorStrength - yes));
}

}  // namespace

v1::CorpusSnapshot CountCorpus(absl::Span<const Run* const> runs,
                               const v1::CorpusSnapshot* previous) {
  v1::CorpusSnapshot corpus;
  Frequencies counts = CountPresence(runs);
  corpus.set_runs(static_cast<double>(runs.size()));
  corpus.set_epoch(1);
  if (previous) {
    corpus.set_epoch(previous->epoch() + 1);
    corpus.set_watermark(previous->watermark());
    corpus.set_runs(corpus.runs() + kDecay * previous->runs());
    for (int i = 0; i < previous->token_keys_size(); ++i) {
      counts[previous->token_keys(i)] +=
          kDecay * previous->document_frequency(i);
    }
  }
  for (const Run* run : runs) {
    corpus.set_watermark(std::max(corpus.watermark(), run->sequence));
  }

  std::vector<std::pair<uint64_t, double>> tokens(counts.begin(), counts.end());
  if (tokens.size() > kMaxTokens) {
    std::nth_element(tokens.begin(), tokens.begin() + kMaxTokens, tokens.end(),
                     [](const auto& a, const auto& b) {
                       return a.second != b.second ? a.second > b.second
                                                   : a.first < b.first;
                     });
    tokens.resize(kMaxTokens);
  }
  std::sort(tokens.begin(), tokens.end());
  for (const auto& [key, count] : tokens) {
    corpus.add_token_keys(key);
    corpus.add_document_frequency(static_cast<float>(count));
  }
  CountNumeric(runs, previous, &corpus);
  CountCallers(runs, previous, &corpus);
  return corpus;
}

double CorpusDrift(const v1::CorpusSnapshot& a, const v1::CorpusSnapshot& b) {
  const double sum_a = Sum(a.document_frequency());
  const double sum_b = Sum(b.document_frequency());
  if (sum_a == 0 || sum_b == 0) return sum_a == sum_b ? 0 : 1;
  // The part that both have: 1 minus the distance.
  double common = 0;
  for (int i = 0, j = 0; i < a.token_keys_size() && j < b.token_keys_size();) {
    if (a.token_keys(i) < b.token_keys(j)) {
      ++i;
    } else if (a.token_keys(i) > b.token_keys(j)) {
      ++j;
    } else {
      common += std::min(a.document_frequency(i++) / sum_a,
                         b.document_frequency(j++) / sum_b);
    }
  }
  return std::clamp(1 - common, 0.0, 1.0);
}

ContrastWeights ComputeContrast(absl::Span<const Run* const> failures,
                                absl::Span<const Run* const> successes,
                                int threads) {
  Frequencies failed;
  Frequencies passed;
  base::ParallelFor(2, threads, [&](size_t outcome) {
    if (outcome == 0) {
      failed = CountPresence(failures);
    } else {
      passed = CountPresence(successes);
    }
  });
  const double runs = static_cast<double>(failures.size() + successes.size());
  ContrastWeights weights;
  const auto add = [&](uint64_t key, double in_failed, double in_passed) {
    // Half a run keeps the pooled rate off 0 and 1.
    const double pooled = (in_failed + in_passed + 0.5) / (runs + 1);
    const double log_odds =
        LogOdds(in_failed, static_cast<double>(failures.size()), pooled) -
        LogOdds(in_passed, static_cast<double>(successes.size()), pooled);
    weights[key] = static_cast<float>(
        std::sqrt(std::min(std::abs(log_odds), kMaxLogOdds) + 0.1));
  };
  for (const auto& [key, count] : failed) {
    const auto other = passed.find(key);
    add(key, count, other == passed.end() ? 0 : other->second);
  }
  for (const auto& [key, count] : passed) {
    if (!failed.contains(key)) add(key, 0, count);
  }
  return weights;
}

}  // namespace faultline::embedding
