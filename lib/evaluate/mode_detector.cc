#include "lib/evaluate/mode_detector.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace faultline::evaluate {
namespace {

using embedding::Channel;
using embedding::Run;

constexpr size_t kMaxTokens = 40;
constexpr double kMaxWeight = 3;
// Members, and other failures, below which there is nothing to learn from.
constexpr int64_t kMinGroup = 10;

// Only what was there before the treatment is read. A treatment changes what a
// run does, so that marks of behaviour would tell the arms apart: the failures
// would leave the mode and still be failures.
bool IsRead(Channel channel) { return channel == Channel::kTask; }

struct Counts {
  int64_t members = 0;
  int64_t others = 0;
};

struct Candidate {
  uint64_t key;
  double weight;
  double z;
};

Candidate Weigh(uint64_t key, const Counts& with, const Counts& all) {
  const double a = static_cast<double>(with.members) + .5;
  const double b = static_cast<double>(all.members - with.members) + .5;
  const double c = static_cast<double>(with.others) + .5;
  const double d = static_cast<double>(all.others - with.others) + .5;
  const double log_odds = std::log(a * d / (b * c));
  return {key, std::clamp(log_odds, -kMaxWeight, kMaxWeight),
          log_odds / std::sqrt(1 / a + 1 / b + 1 / c + 1 / d)};
}

double Score(const v1::ModeDetector& detector, const Run& run) {
  double score = 0;
  for (const embedding::TokenCount& token : run.tokens) {
    const auto found = std::lower_bound(
        detector.tokens().begin(), detector.tokens().end(), token.key,
        [](const v1::ModeDetector::Token& a, uint64_t key) {
          return a.key() < key;
        });
    if (found != detector.tokens().end() && found->key() == token.key) {
      score += found->weight();
    }
  }
  return score;
}

// Sets the threshold with the best F1, the lowest of equal ones.
void SetThreshold(std::vector<std::pair<double, bool>> scored,
                  const Counts& all, v1::ModeDetector* detector) {
  std::sort(scored.begin(), scored.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  Counts counted;
  double best = -1;
  for (size_t i = 0; i < scored.size(); ++i) {
    (scored[i].second ? counted.members : counted.others) += 1;
    const bool last_of_equals =
        i + 1 == scored.size() || scored[i + 1].first < scored[i].first;
    if (!last_of_equals) continue;
    const double hits = static_cast<double>(counted.members);
    const double f1 = 2 * hits / static_cast<double>(all.members + i + 1);
    if (f1 < best) continue;
    best = f1;
    // Halfway to the next run, so that rounding decides about none.
    detector->set_threshold(i + 1 == scored.size()
                                ? scored[i].first - 1
                                : (scored[i].first + scored[i + 1].first) / 2);
    detector->set_every_failure(i + 1 == scored.size());
    detector->set_precision(hits / static_cast<double>(i + 1));
    detector->set_recall(hits / static_cast<double>(all.members));
  }
}

}  // namespace

v1::ModeDetector TrainModeDetector(const diagnose::Window& window,
                                   const diagnose::RunSet& members,
                                   const diagnose::RunSet& scope) {
  Counts all;
  std::vector<size_t> rows;
  absl::flat_hash_map<uint64_t, Counts> with;
  scope.ForEach([&](size_t row) {
    const Run& run = *window.runs[row];
    if (!window.discovery[row] || !run.failed()) return;
    rows.push_back(row);
    const bool member = members.Has(row);
    (member ? all.members : all.others) += 1;
    for (const embedding::TokenCount& token : run.tokens) {
      if (!IsRead(token.channel)) continue;
      Counts& counts = with[token.key];
      (member ? counts.members : counts.others) += 1;
    }
  });

  v1::ModeDetector detector;
  detector.set_members(all.members);
  detector.set_others(all.others);
  if (all.members < kMinGroup || all.others < kMinGroup) {
    detector.set_every_failure(true);
    detector.set_precision(all.members + all.others == 0
                               ? 0
                               : static_cast<double>(all.members) /
                                     static_cast<double>(rows.size()));
    detector.set_recall(all.members == 0 ? 0 : 1);
    return detector;
  }
  std::vector<Candidate> candidates;
  candidates.reserve(with.size());
  for (const auto& [key, counts] : with) {
    candidates.push_back(Weigh(key, counts, all));
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) {
              return std::make_tuple(-std::abs(a.z), a.key) <
                     std::make_tuple(-std::abs(b.z), b.key);
            });
  candidates.resize(std::min(candidates.size(), kMaxTokens));
  std::sort(
      candidates.begin(), candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.key < b.key; });
  for (const Candidate& candidate : candidates) {
    v1::ModeDetector::Token& token = *detector.add_tokens();
    token.set_key(candidate.key);
    token.set_weight(candidate.weight);
    const auto name = window.names->tokens.find(candidate.key);
    if (name != window.names->tokens.end()) token.set_text(name->second);
  }
  std::vector<std::pair<double, bool>> scored;
  scored.reserve(rows.size());
  for (const size_t row : rows) {
    scored.emplace_back(Score(detector, *window.runs[row]), members.Has(row));
  }
  SetThreshold(std::move(scored), all, &detector);
  if (detector.every_failure()) {
    detector.clear_tokens();
    detector.clear_threshold();
  }
  return detector;
}

bool IsOfMode(const v1::ModeDetector& detector, const Run& run) {
  return run.failed() && (detector.every_failure() ||
                          Score(detector, run) >= detector.threshold());
}

}  // namespace faultline::evaluate
