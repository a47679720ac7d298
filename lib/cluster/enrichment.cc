#include "lib/cluster/enrichment.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/neighbor_vote.h"
#include "lib/stats/contingency.h"

namespace faultline::cluster {
namespace {

constexpr double kPriorRuns = 5;  // strength of the prior of a cell's rate
constexpr int kMostStrata = 8;
// Held-out runs from which a cell is a stratum of its own: mixing two large
// cells of different rates in one octile confounds what they differ in.
constexpr size_t kLeastRunsAlone = 20;

absl::Status Check(const EnrichmentInput& input) {
  if (input.dimension < 1 || input.strata < 1 || input.modes < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "dimension (", input.dimension, ") and strata (", input.strata,
        ") must be positive, modes (", input.modes, ") not negative"));
  }
  const size_t d = input.dimension;
  const size_t m = input.reference_label.size();
  const size_t q = input.held_out_failed.size();
  const size_t numbers = input.ready != nullptr
                             ? input.ready->runs() * input.ready->dimension
                             : input.reference.size();
  if (numbers != m * d) {
    return absl::InvalidArgumentError(absl::StrCat("reference has ", numbers,
                                                   " numbers for ", m,
                                                   " labels of dimension ", d));
  }
  if (input.held_out.size() != q * d || input.stratum.size() != q) {
    return absl::InvalidArgumentError(absl::StrCat(
        "held_out has ", input.held_out.size(), " numbers and ",
        input.stratum.size(), " strata for ", q, " runs of dimension ", d));
  }
  if (input.others.size() % d != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "others (", input.others.size(), ") must be a multiple of ", d));
  }
  for (const int32_t label : input.reference_label) {
    if (label < kSuccess || label >= input.modes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "reference_label ", label, " of ", input.modes, " modes"));
    }
  }
  for (const int32_t stratum : input.stratum) {
    if (stratum < 0 || stratum >= input.strata) {
      return absl::InvalidArgumentError(
          absl::StrCat("stratum ", stratum, " of ", input.strata));
    }
  }
  return absl::OkStatus();
}

v1::Enrichment Test(absl::Span<const stats::HypergeometricStratum> strata) {
  v1::Enrichment result;
  std::vector<stats::Table> tables;
  int64_t runs = 0, assigned = 0, assigned_failed = 0;
  double expected = 0;
  int used = 0;
  for (const stats::HypergeometricStratum& s : strata) {
    runs += s.population;
    assigned += s.draws;
    assigned_failed += s.observed;
    if (s.population > 0) {
      expected += static_cast<double>(s.draws) *
                  static_cast<double>(s.successes) /
                  static_cast<double>(s.population);
    }
    used += s.draws > 0 && s.draws < s.population && s.successes > 0 &&
            s.successes < s.population;
    const double a = static_cast<double>(s.observed);
    const double failed = static_cast<double>(s.successes);
    const double inside = static_cast<double>(s.draws);
    const double all = static_cast<double>(s.population);
    tables.push_back({a, failed - a, inside - a, all - failed - (inside - a)});
  }
  const stats::OddsRatio odds = stats::MantelHaenszel(tables);
  result.set_held_out_runs(runs);
  result.set_assigned(assigned);
  result.set_assigned_failed(assigned_failed);
  result.set_expected_failed(expected);
  result.set_odds_ratio(odds.ratio);
  result.set_odds_ratio_lower(odds.lower);
  result.set_odds_ratio_upper(odds.upper);
  result.set_p_value(stats::StratifiedEnrichmentPValue(strata));
  result.set_strata(used);
  return result;
}

}  // namespace

absl::StatusOr<EnrichmentResult> TestEnrichment(const EnrichmentInput& input,
                                                int threads) {
  FAULTLINE_RETURN_IF_ERROR(Check(input));
  std::optional<Reference> own;
  if (input.ready == nullptr) {
    FAULTLINE_ASSIGN_OR_RETURN(
        own, MakeReference(input.reference, input.dimension, threads));
  }
  const Reference& reference = own ? *own : *input.ready;
  const auto vote = [&](absl::Span<const float> queries) {
    return VoteByNeighbors(reference, input.reference_label, input.modes,
                           queries, threads);
  };
  EnrichmentResult result;
  FAULTLINE_ASSIGN_OR_RETURN(Votes held_out, vote(input.held_out));
  FAULTLINE_ASSIGN_OR_RETURN(Votes others, vote(input.others));
  result.assigned = std::move(held_out.mode);
  result.others_assigned = std::move(others.mode);

  result.enrichment = TestAssigned(result.assigned, input.held_out_failed,
                                   input.stratum, input.strata, input.modes);
  return result;
}

std::vector<v1::Enrichment> TestAssigned(absl::Span<const int32_t> assigned,
                                         const std::vector<bool>& failed,
                                         absl::Span<const int32_t> stratum,
                                         int strata, int modes,
                                         const std::vector<bool>& counted) {
  const auto counts = [&](size_t i) { return counted.empty() || counted[i]; };
  std::vector<stats::HypergeometricStratum> all(strata);
  for (size_t i = 0; i < assigned.size(); ++i) {
    if (!counts(i)) continue;
    ++all[stratum[i]].population;
    all[stratum[i]].successes += failed[i];
  }
  std::vector<std::vector<stats::HypergeometricStratum>> by_mode(modes, all);
  for (size_t i = 0; i < assigned.size(); ++i) {
    if (assigned[i] < 0 || !counts(i)) continue;
    stats::HypergeometricStratum& s = by_mode[assigned[i]][stratum[i]];
    ++s.draws;
    s.observed += failed[i];
  }
  std::vector<v1::Enrichment> tests;
  tests.reserve(by_mode.size());
  for (const auto& of_mode : by_mode) tests.push_back(Test(of_mode));
  return tests;
}

std::vector<int32_t> PrognosticStrata(
    const std::vector<uint64_t>& discovery_cell,
    const std::vector<bool>& discovery_failed,
    const std::vector<uint64_t>& held_out_cell, int* strata) {
  struct Cell {
    double runs = 0;
    double failed = 0;
  };
  absl::flat_hash_map<uint64_t, Cell> cells;
  double failed = 0;
  for (size_t i = 0; i < discovery_cell.size(); ++i) {
    Cell& cell = cells[discovery_cell[i]];
    cell.runs += 1;
    cell.failed += discovery_failed[i];
    failed += discovery_failed[i];
  }
  const double rate = discovery_cell.empty()
                          ? 0
                          : failed / static_cast<double>(discovery_cell.size());

  const size_t q = held_out_cell.size();
  std::vector<double> score(q, rate);
  for (size_t i = 0; i < q; ++i) {
    const auto cell = cells.find(held_out_cell[i]);
    if (cell == cells.end()) continue;
    score[i] = (cell->second.failed + kPriorRuns * rate) /
               (cell->second.runs + kPriorRuns);
  }

  // Cells that are large enough stand alone, by rising score; the runs of the
  // others share octiles.
  absl::flat_hash_map<uint64_t, size_t> held_out_runs;
  for (const uint64_t cell : held_out_cell) ++held_out_runs[cell];
  std::map<std::pair<double, uint64_t>, int32_t> alone;
  std::vector<double> sorted;
  for (size_t i = 0; i < q; ++i) {
    if (held_out_runs[held_out_cell[i]] >= kLeastRunsAlone) {
      alone.emplace(std::make_pair(score[i], held_out_cell[i]), 0);
    } else {
      sorted.push_back(score[i]);
    }
  }
  std::sort(sorted.begin(), sorted.end());
  // Runs with the same score stay together, in the octile of their middle.
  std::vector<int32_t> stratum(q, 0);
  std::vector<int32_t> number(kMostStrata, 0);
  for (size_t i = 0; i < q; ++i) {
    if (alone.contains({score[i], held_out_cell[i]})) continue;
    const auto [first, last] =
        std::equal_range(sorted.begin(), sorted.end(), score[i]);
    const int64_t middle = (first - sorted.begin()) + (last - sorted.begin());
    stratum[i] = static_cast<int32_t>(
        kMostStrata * middle / (2 * static_cast<int64_t>(sorted.size())));
    number[stratum[i]] = 1;
  }
  std::partial_sum(number.begin(), number.end(), number.begin());
  int32_t next = number.back();
  for (auto& [cell, own] : alone) own = next++;
  for (size_t i = 0; i < q; ++i) {
    const auto own = alone.find({score[i], held_out_cell[i]});
    stratum[i] = own != alone.end() ? own->second : number[stratum[i]] - 1;
  }
  *strata = std::max(1, next);
  return stratum;
}

}  // namespace faultline::cluster
