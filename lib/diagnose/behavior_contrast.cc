#include "lib/diagnose/behavior_contrast.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace faultline::diagnose {
namespace {

using embedding::Channel;

// Rarer tokens can neither name a cluster nor decide a reading.
constexpr uint32_t kMinRuns = 3;

bool IsBehavior(Channel channel) { return channel <= Channel::kSignal; }

}  // namespace

BehaviorContrast::BehaviorContrast(const Window& window,
                                   const ContextTable& table)
    : window_(window), extent_(window.runs.size()) {
  absl::flat_hash_map<uint64_t, uint32_t> support;
  for (size_t i = 0; i < window.runs.size(); ++i) {
    if (!window.discovery[i]) continue;
    for (const embedding::TokenCount& token : window.runs[i]->tokens) {
      if (IsBehavior(token.channel)) ++support[token.key];
    }
  }
  absl::flat_hash_map<uint64_t, uint32_t> column;
  for (size_t i = 0; i < window.runs.size(); ++i) {
    extent_[i].first = static_cast<uint32_t>(tokens_.size());
    if (window.discovery[i]) {
      for (const embedding::TokenCount& token : window.runs[i]->tokens) {
        if (!IsBehavior(token.channel) || support[token.key] < kMinRuns) {
          continue;
        }
        const auto name = window.names->tokens.find(token.key);
        if (name == window.names->tokens.end()) continue;
        const auto [entry, added] = column.try_emplace(
            token.key, static_cast<uint32_t>(columns_.size()));
        if (added) columns_.push_back(&name->second);
        tokens_.push_back(entry->second);
      }
    }
    extent_[i].second = static_cast<uint32_t>(tokens_.size());
  }
  const RunSet successes = table.discovery() & ~table.failed();
  successes_with_ = Count(successes);
  successes_ = static_cast<double>(successes.Count());
}

std::vector<uint32_t> BehaviorContrast::Count(const RunSet& group) const {
  std::vector<uint32_t> counts(columns_.size());
  group.ForEach([&](size_t run) {
    for (uint32_t t = extent_[run].first; t < extent_[run].second; ++t) {
      ++counts[tokens_[t]];
    }
  });
  return counts;
}

std::vector<TokenContrast> BehaviorContrast::Compare(
    const RunSet& first, const RunSet& second) const {
  const std::vector<uint32_t> in_first = Count(first);
  const std::vector<uint32_t> in_second = Count(second);
  const auto first_size = static_cast<double>(first.Count());
  const auto second_size = static_cast<double>(second.Count());
  std::vector<TokenContrast> contrasts;
  for (size_t c = 0; c < columns_.size(); ++c) {
    if (in_first[c] + in_second[c] == 0) continue;
    TokenContrast& contrast = contrasts.emplace_back();
    contrast.text = columns_[c];
    contrast.z =
        StandardizedLogOdds(in_first[c], first_size, in_second[c], second_size);
    if (first_size > 0) contrast.first_share = in_first[c] / first_size;
    if (second_size > 0) contrast.second_share = in_second[c] / second_size;
    if (successes_ > 0) {
      contrast.success_share = successes_with_[c] / successes_;
    }
  }
  std::sort(contrasts.begin(), contrasts.end(),
            [](const TokenContrast& a, const TokenContrast& b) {
              return a.z != b.z ? a.z > b.z : *a.text < *b.text;
            });
  return contrasts;
}

double BehaviorContrast::NumericEffect(int index, const RunSet& first,
                                       const RunSet& second) const {
  struct Moments {
    double n = 0;
    double sum = 0;
    double squares = 0;
    double mean() const { return sum / n; }
    double deviations() const { return squares - sum * sum / n; }
  };
  const auto measure = [&](const RunSet& group) {
    Moments moments;
    group.ForEach([&](size_t run) {
      const double value = window_.runs[run]->numeric[index];
      if (std::isnan(value)) return;
      moments.n += 1;
      moments.sum += value;
      moments.squares += value * value;
    });
    return moments;
  };
  const Moments in_first = measure(first);
  const Moments in_second = measure(second);
  if (in_first.n < 2 || in_second.n < 2) return 0;
  const double variance = (in_first.deviations() + in_second.deviations()) /
                          (in_first.n + in_second.n - 2);
  if (!(variance > 1e-12)) return 0;
  return (in_first.mean() - in_second.mean()) / std::sqrt(variance);
}

RunSet RunsWithToken(
    const Window& window,
    const std::function<bool(absl::string_view text)>& matches) {
  absl::flat_hash_set<uint64_t> keys;
  uint64_t ends = 0;  // last bits of the keys: most tokens differ in them
  for (const auto& [key, name] : window.names->tokens) {
    if (!matches(name)) continue;
    keys.insert(key);
    ends |= uint64_t{1} << (key % 64);
  }
  RunSet runs(window.runs.size());
  if (keys.empty()) return runs;
  for (size_t i = 0; i < window.runs.size(); ++i) {
    for (const embedding::TokenCount& token : window.runs[i]->tokens) {
      if ((ends >> (token.key % 64) & 1) == 0 || !keys.contains(token.key)) {
        continue;
      }
      runs.Add(i);
      break;
    }
  }
  return runs;
}

}  // namespace faultline::diagnose
