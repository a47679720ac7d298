#include "lib/diagnose/route_contrast.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/stats/contingency.h"

namespace faultline::diagnose {
namespace {

constexpr size_t kMinRuns = 20;
// Runs of a cell that show that it has the choice: at least so many, and this
// share.
constexpr double kMinCellRuns = 5;
constexpr double kMinCellShare = 0.01;
// Candidates this close in rate are equally good.
constexpr double kEqualRate = 0.02;
// Strength of the pull towards the rate of all candidates (METHODS 5.5).
constexpr double kShrinkage = 10;
constexpr double kSignificance = 0.05;
constexpr double kMinDifference = 0.1;
constexpr double kMaxRatio = 0.8;
constexpr double kOneSidedQuantile = 1.645;

bool IsLarge(double better_rate, double other_rate) {
  return other_rate - better_rate >= kMinDifference ||
         better_rate <= kMaxRatio * other_rate;
}

double Variance(double failed, double runs) {
  const double rate = (failed + 0.5) / (runs + 1);
  return rate * (1 - rate) / runs;
}

struct Candidate {
  const Feature* feature;
  Regret regret;
};

// Candidates with enough runs, best first.
std::vector<Candidate> RankCandidates(const ContextTable& table,
                                      const RunSet& scope,
                                      absl::string_view field,
                                      const RunSet& targets) {
  std::vector<Candidate> candidates;
  for (const Feature* feature : table.Values(field)) {
    Candidate candidate{feature,
                        DiscoveryRegret(table, scope, feature->runs, targets)};
    if (candidate.regret.runs < kMinRuns) continue;
    candidates.push_back(std::move(candidate));
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return a.regret.spared > b.regret.spared;
                   });
  return candidates;
}

}  // namespace

bool ArmContrast::Holds() const {
  return p_value <= kSignificance && IsLarge(better_rate, other_rate);
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

Regret DiscoveryRegret(const ContextTable& table, const RunSet& scope,
                       const RunSet& better, const RunSet& targets) {
  const RunSet runs = scope & table.discovery() & ~table.treated();
  const RunSet failures = runs & table.failed();
  const RunSet chosen = runs & better;
  const RunSet in_scope = targets & scope;
  Regret regret;
  regret.runs = chosen.Count();
  regret.with_choice = RunSet(table.size());
  double variance = 0;
  double better_failures = 0;  // were every run with a choice like that
  double better_variance = 0;
  double other_failures = 0;
  double compared = 0;
  for (const RunSet& cell : table.cells()) {
    const auto with = static_cast<double>(chosen.CountBoth(cell));
    const auto all = static_cast<double>(runs.CountBoth(cell));
    if (with < std::max(kMinCellRuns, kMinCellShare * all)) continue;
    const auto failed_in_all = static_cast<double>(failures.CountBoth(cell));
    const auto failed_with =
        static_cast<double>(chosen.CountAll(cell, table.failed()));
    const double rate = failed_in_all / all;
    const double failed = failed_with + kShrinkage * rate;
    compared += all;
    better_failures += all * failed_with / with;
    better_variance += all * all * Variance(failed_with, with);
    other_failures +=
        all * (with < all ? (failed_in_all - failed_with) / (all - with)
                          : failed_with / with);
    const double fall = rate - failed / (with + kShrinkage);
    const auto weight = static_cast<double>(in_scope.CountBoth(cell));
    regret.spared += weight * fall;
    regret.spared_in_scope += all * fall;
    variance += weight * weight * Variance(failed, with + kShrinkage);
    regret.with_choice = regret.with_choice | (cell & scope);
  }
  if (compared > 0) {
    regret.spared_in_scope /= static_cast<double>(runs.Count());
    regret.large =
        IsLarge((better_failures + std::sqrt(better_variance)) / compared,
                other_failures / compared);
  }
  const auto count = static_cast<double>(targets.Count());
  if (count > 0) {
    regret.spared /= count;
    regret.error = std::sqrt(variance) / count;
  }
  return regret;
}

std::optional<RouteContrast> CompareRoutes(const ContextTable& table,
                                           const RunSet& scope,
                                           absl::string_view field,
                                           const RunSet& targets) {
  const std::vector<Candidate> candidates =
      RankCandidates(table, scope, field, targets);
  if (candidates.size() < 2) return std::nullopt;

  const Regret& least = candidates.front().regret;
  RouteContrast contrast;
  contrast.with_choice = least.with_choice;
  RunSet best(table.size());
  RunSet others(table.size());
  for (const Candidate& candidate : candidates) {
    if (candidate.regret.spared >= least.spared - kEqualRate &&
        candidate.regret.with_choice == least.with_choice) {
      contrast.best.push_back(candidate.feature->comparison.text());
      best = best | candidate.feature->runs;
    } else {
      others = others | candidate.feature->runs;
    }
  }
  const RunSet runs = contrast.with_choice & ~table.treated();
  const std::optional<ArmContrast> arms =
      CompareArms(table, best & runs, others & runs, Prognostic::kAnswerer);
  if (!arms) return std::nullopt;
  contrast.arms = *arms;
  return contrast;
}

std::optional<Regret> RouteRegret(const ContextTable& table,
                                  const RunSet& scope, absl::string_view field,
                                  const RunSet& targets) {
  const std::vector<Candidate> candidates =
      RankCandidates(table, scope, field, targets);
  if (candidates.size() < 2) return std::nullopt;
  return candidates.front().regret;
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

}  // namespace faultline::diagnose
