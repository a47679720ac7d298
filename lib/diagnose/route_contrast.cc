#include "lib/diagnose/route_contrast.h"

#include <algorithm>
#include <cmath>

#include "lib/stats/contingency.h"

namespace faultline::diagnose {
namespace {

constexpr size_t kMinRuns = 20;
// Candidates this close in rate are equally good.
constexpr double kEqualRate = 0.02;
// Strength of the pull towards the rate of all candidates (METHODS 5.5).
constexpr double kShrinkage = 10;
constexpr double kSignificance = 0.05;
constexpr double kMinDifference = 0.1;
constexpr double kMaxRatio = 0.8;
constexpr double kOneSidedQuantile = 1.645;

struct Candidate {
  const Feature* feature;
  size_t runs;
  double rate;  // shrunk
};

// Candidates with enough runs, best first.
std::vector<Candidate> RankCandidates(const ContextTable& table,
                                      const RunSet& natural_runs,
                                      absl::string_view field) {
  const RunSet failures = natural_runs & table.failed();
  const auto all = static_cast<double>(natural_runs.Count());
  const double pooled = all > 0 ? failures.Count() / all : 0;
  std::vector<Candidate> candidates;
  for (const Feature* feature : table.Values(field)) {
    const size_t runs = natural_runs.CountBoth(feature->runs);
    if (runs < kMinRuns) continue;
    const auto failed = static_cast<double>(failures.CountBoth(feature->runs));
    candidates.push_back(
        {feature, runs, (failed + kShrinkage * pooled) / (runs + kShrinkage)});
  }
  std::stable_sort(
      candidates.begin(), candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.rate < b.rate; });
  return candidates;
}

double Variance(double failed, double runs) {
  const double rate = (failed + 0.5) / (runs + 1);
  return rate * (1 - rate) / runs;
}

}  // namespace

bool ArmContrast::Holds() const {
  return p_value <= kSignificance && (difference >= kMinDifference ||
                                      better_rate <= kMaxRatio * other_rate);
}

std::optional<ArmContrast> CompareArms(const ContextTable& table,
                                       const RunSet& better,
                                       const RunSet& other,
                                       Prognostic left_out) {
  ArmContrast contrast;
  std::vector<stats::Table> tables;
  double weight_sum = 0;
  double variance = 0;
  for (const RunSet& stratum : table.Strata(left_out)) {
    const auto better_runs = static_cast<double>(better.CountBoth(stratum));
    const auto other_runs = static_cast<double>(other.CountBoth(stratum));
    if (better_runs == 0 || other_runs == 0) continue;
    const auto better_failed =
        static_cast<double>(better.CountAll(stratum, table.failed()));
    const auto other_failed =
        static_cast<double>(other.CountAll(stratum, table.failed()));
    tables.push_back({better_failed, other_failed, better_runs - better_failed,
                      other_runs - other_failed});
    const double weight = better_runs + other_runs;
    weight_sum += weight;
    contrast.better_rate += weight * better_failed / better_runs;
    contrast.other_rate += weight * other_failed / other_runs;
    variance += weight * weight *
                (Variance(better_failed, better_runs) +
                 Variance(other_failed, other_runs));
  }
  if (tables.empty()) return std::nullopt;
  contrast.better_runs = better.CountBoth(table.held_out());
  contrast.other_runs = other.CountBoth(table.held_out());
  contrast.better_rate /= weight_sum;
  contrast.other_rate /= weight_sum;
  contrast.difference = contrast.other_rate - contrast.better_rate;
  contrast.difference_lower = contrast.difference - kOneSidedQuantile *
                                                        std::sqrt(variance) /
                                                        weight_sum;
  const stats::OddsRatio odds = stats::MantelHaenszel(tables);
  contrast.p_value = odds.ratio < 1 ? odds.p_value / 2 : 1;
  return contrast;
}

std::optional<RouteContrast> CompareRoutes(const ContextTable& table,
                                           const RunSet& scope,
                                           absl::string_view field) {
  const RunSet natural_runs = scope & ~table.treated();
  const std::vector<Candidate> candidates =
      RankCandidates(table, natural_runs & table.discovery(), field);
  if (candidates.size() < 2) return std::nullopt;

  RouteContrast contrast;
  RunSet best(table.size());
  RunSet others(table.size());
  for (const Candidate& candidate : candidates) {
    if (candidate.rate <= candidates.front().rate + kEqualRate) {
      contrast.best.push_back(candidate.feature->comparison.text());
      best = best | candidate.feature->runs;
    } else {
      others = others | candidate.feature->runs;
    }
  }
  const std::optional<ArmContrast> arms = CompareArms(
      table, best & natural_runs, others & natural_runs, Prognostic::kAnswerer);
  if (!arms) return std::nullopt;
  contrast.arms = *arms;
  return contrast;
}

double HeldOutShare(const ContextTable& table, const RunSet& scope) {
  const auto held_out = static_cast<double>(table.held_out().Count());
  return held_out == 0 ? 0 : scope.CountBoth(table.held_out()) / held_out;
}

double HeldOutFailureRate(const ContextTable& table, const RunSet& scope) {
  const RunSet runs = scope & table.held_out() & ~table.treated();
  const auto count = static_cast<double>(runs.Count());
  return count == 0 ? 0 : runs.CountBoth(table.failed()) / count;
}

double DiscoveryRegret(const ContextTable& table, const RunSet& scope,
                       absl::string_view field) {
  const RunSet natural_runs = scope & table.discovery() & ~table.treated();
  const std::vector<Candidate> candidates =
      RankCandidates(table, natural_runs, field);
  if (candidates.size() < 2) return 0;
  const Candidate& best = candidates.front();
  const double current =
      static_cast<double>(natural_runs.CountBoth(table.failed())) /
      static_cast<double>(natural_runs.Count());
  const double error = std::sqrt(
      Variance(best.rate * best.runs, static_cast<double>(best.runs)));
  return std::max(0.0, current - best.rate - error);
}

}  // namespace faultline::diagnose
