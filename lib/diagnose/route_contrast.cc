#include "lib/diagnose/route_contrast.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "lib/stats/contingency.h"

namespace faultline::diagnose {
namespace {

constexpr size_t kMinRuns = 20;
// Runs of a cell that show that it has the choice: at least so many, and this
// share.
constexpr double kMinCellRuns = 5;
constexpr double kMinCellShare = 0.01;
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

std::vector<const RunSet*> PointersTo(const std::vector<RunSet>& sets) {
  std::vector<const RunSet*> pointers;
  pointers.reserve(sets.size());
  for (const RunSet& set : sets) pointers.push_back(&set);
  return pointers;
}

// Runs of each value alone and, where there are more than two, of all values
// but one: to ask the best, or to avoid the worst.
std::vector<RunSet> WaysToChoose(const ContextTable& table,
                                 const std::vector<const Feature*>& values) {
  std::vector<RunSet> ways;
  RunSet all(table.size());
  for (const Feature* value : values) {
    ways.push_back(value->runs);
    all = all | value->runs;
  }
  if (values.size() > 2) {
    for (const Feature* value : values) ways.push_back(all & ~value->runs);
  }
  return ways;
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
  const std::vector<const Feature*> values = table.Values(field);
  std::vector<const RunSet*> runs;
  runs.reserve(values.size());
  for (const Feature* value : values) runs.push_back(&value->runs);
  RegretCounter counter(table, runs, targets);
  counter.Count(scope, scope);
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < values.size(); ++i) {
    const Regret regret = counter.Of(i);
    if (regret.runs >= kMinRuns) candidates.push_back({values[i], regret});
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

RegretCounter::RegretCounter(const ContextTable& table,
                             absl::Span<const RunSet* const> better,
                             const RunSet& targets)
    : target_count_(static_cast<double>(targets.Count())),
      counted_(table.discovery() | targets),
      ways_(1),
      cells_(table.cells().size()),
      better_(better.size() * cells_.size()) {
  std::vector<uint32_t> ways_of(table.size());
  absl::flat_hash_map<std::pair<uint32_t, uint32_t>, uint32_t> extended;
  for (uint32_t way = 0; way < better.size(); ++way) {
    better[way]->ForEachOfAll(counted_, counted_, [&](size_t run) {
      const uint32_t before = ways_of[run];
      const auto [entry, added] = extended.try_emplace(
          {before, way}, static_cast<uint32_t>(ways_.size()));
      if (added) {
        ways_.push_back(ways_[before]);
        ways_.back().push_back(way);
      }
      ways_of[run] = entry->second;
    });
  }
  FindGroups(table, targets, ways_of);
}

void RegretCounter::FindGroups(const ContextTable& table, const RunSet& targets,
                               const std::vector<uint32_t>& ways_of) {
  constexpr uint32_t kNew = ~uint32_t{0};
  std::vector<uint32_t> number(ways_.size() * cells_.size() << 4, kNew);
  group_.resize(table.size());
  counted_.ForEach([&](size_t run) {
    const Group group{ways_of[run],
                      table.cell_of()[run],
                      table.discovery().Has(run),
                      table.treated().Has(run),
                      table.failed().Has(run),
                      targets.Has(run)};
    uint32_t& known =
        number[(group.ways * cells_.size() + group.cell) << 4 |
               (group.discovery ? 1 : 0) | (group.treated ? 2 : 0) |
               (group.failed ? 4 : 0) | (group.target ? 8 : 0)];
    if (known == kNew) {
      known = static_cast<uint32_t>(groups_.size());
      groups_.push_back(group);
    }
    group_[run] = known;
  });
  sizes_.resize(groups_.size());
}

void RegretCounter::Count(const RunSet& scope, const RunSet& term) {
  std::fill(sizes_.begin(), sizes_.end(), 0);
  counted_.ForEachOfAll(scope, term,
                        [this](size_t run) { ++sizes_[group_[run]]; });
  std::fill(cells_.begin(), cells_.end(), CellCounts());
  std::fill(better_.begin(), better_.end(), BetterCounts());
  for (size_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    CellCounts& cell = cells_[group.cell];
    const uint32_t runs = sizes_[g];
    if (group.target) cell.targets += runs;
    if (!group.discovery) continue;
    cell.discovery += runs;
    if (group.treated) continue;
    cell.runs += runs;
    if (group.failed) cell.failed += runs;
    for (const uint32_t way : ways_[group.ways]) {
      BetterCounts& better = better_[way * cells_.size() + group.cell];
      better.runs += runs;
      if (group.failed) better.failed += runs;
    }
  }
}

Regret RegretCounter::Of(size_t i) const {
  Regret regret;
  double variance = 0;
  double better_failures = 0;  // were every run with a choice like that
  double better_variance = 0;
  double other_failures = 0;
  double compared = 0;
  size_t runs = 0;
  for (size_t c = 0; c < cells_.size(); ++c) {
    const CellCounts& cell = cells_[c];
    const BetterCounts& better = better_[i * cells_.size() + c];
    regret.scope_runs += cell.discovery;
    regret.runs += better.runs;
    runs += cell.runs;
    const auto with = static_cast<double>(better.runs);
    const auto all = static_cast<double>(cell.runs);
    if (with < std::max(kMinCellRuns, kMinCellShare * all)) continue;
    const auto failed_in_all = static_cast<double>(cell.failed);
    const auto failed_with = static_cast<double>(better.failed);
    const double rate = failed_in_all / all;
    const double failed = failed_with + kShrinkage * rate;
    compared += all;
    better_failures += all * failed_with / with;
    better_variance += all * all * Variance(failed_with, with);
    other_failures +=
        all * (with < all ? (failed_in_all - failed_with) / (all - with)
                          : failed_with / with);
    const double fall = rate - failed / (with + kShrinkage);
    const auto weight = static_cast<double>(cell.targets);
    regret.spared += weight * fall;
    regret.spared_in_scope += all * fall;
    variance += weight * weight * Variance(failed, with + kShrinkage);
    regret.cells_with_choice |= uint32_t{1} << c;
    regret.choice_runs += cell.discovery;
    regret.choice_successes += cell.runs - cell.failed;
    regret.better_successes += better.runs - better.failed;
  }
  if (compared > 0) {
    regret.spared_in_scope /= static_cast<double>(runs);
    regret.large =
        IsLarge((better_failures + std::sqrt(better_variance)) / compared,
                other_failures / compared);
  }
  if (target_count_ > 0) {
    regret.spared /= target_count_;
    regret.error = std::sqrt(variance) / target_count_;
  }
  return regret;
}

RunSet RunsWithChoice(const ContextTable& table, const RunSet& scope,
                      const Regret& regret) {
  RunSet runs(table.size());
  for (size_t c = 0; c < table.cells().size(); ++c) {
    if ((regret.cells_with_choice >> c & 1) != 0) {
      runs = runs | (table.cells()[c] & scope);
    }
  }
  return runs;
}

std::optional<RouteContrast> CompareRoutes(const ContextTable& table,
                                           const RunSet& scope,
                                           absl::string_view field,
                                           const RunSet& targets) {
  const std::vector<Candidate> candidates =
      RankCandidates(table, scope, field, targets);
  if (candidates.size() < 2) return std::nullopt;

  // The best ones, of which there may be one or all but one: what they would
  // spare less its error, so that chance does not choose among equals.
  const uint32_t cells = candidates.front().regret.cells_with_choice;
  std::vector<RunSet> best = {RunSet(table.size())};
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates) {
    if (candidate.regret.cells_with_choice != cells) continue;
    names.push_back(candidate.feature->comparison.text());
    best.push_back(best.back() | candidate.feature->runs);
  }
  RegretCounter counter(table, PointersTo(best), targets);
  counter.Count(scope, scope);
  const auto worth = [&](size_t count) {
    const Regret regret = counter.Of(count);
    return regret.spared - regret.error;
  };
  size_t chosen = 1;
  for (size_t count = 2; count < std::min(best.size(), candidates.size());
       ++count) {
    if (worth(count) > worth(chosen)) chosen = count;
  }
  names.resize(chosen);
  RouteContrast contrast;
  contrast.best = std::move(names);
  contrast.with_choice = RunsWithChoice(table, scope, counter.Of(chosen));
  RunSet others(table.size());
  for (const Candidate& candidate : candidates) {
    others = others | (candidate.feature->runs & ~best[chosen]);
  }
  const RunSet runs = contrast.with_choice & ~table.treated();
  const std::optional<ArmContrast> arms =
      CompareArms(table, best[chosen] & runs, others & runs,
                  candidates.front().feature->variable);
  if (!arms) return std::nullopt;
  contrast.arms = *arms;
  return contrast;
}

RouteRegret::RouteRegret(const ContextTable& table, absl::string_view field,
                         const RunSet& targets)
    : candidates_(table.Values(field).size()),
      ways_(WaysToChoose(table, table.Values(field))),
      counter_(table, PointersTo(ways_), targets) {}

std::optional<Regret> RouteRegret::In(const RunSet& scope, const RunSet& term) {
  counter_.Count(scope, term);
  std::optional<Regret> least;
  size_t enough = 0;
  for (size_t i = 0; i < ways_.size(); ++i) {
    const Regret regret = counter_.Of(i);
    if (regret.runs < kMinRuns) continue;
    if (i < candidates_) ++enough;
    if (!least || regret.spared - regret.error > least->spared - least->error) {
      least = regret;
    }
  }
  return enough < 2 ? std::nullopt : least;
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
