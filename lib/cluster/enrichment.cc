#include "lib/cluster/enrichment.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/duplicates.h"
#include "lib/space/knn_graph.h"
#include "lib/stats/contingency.h"

namespace faultline::cluster {
namespace {

constexpr int kVoters = 15;
constexpr double kLeastVotes = 5;
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
  if (input.reference.size() != m * d) {
    return absl::InvalidArgumentError(
        absl::StrCat("reference has ", input.reference.size(), " numbers for ",
                     m, " labels of dimension ", d));
  }
  if (input.held_out.size() != q * d || input.stratum.size() != q) {
    return absl::InvalidArgumentError(absl::StrCat(
        "held_out has ", input.held_out.size(), " numbers and ",
        input.stratum.size(), " strata for ", q, " runs of dimension ", d));
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

// Reference runs at one point.
struct Voters {
  int64_t runs = 0;
  std::vector<std::pair<int32_t, int64_t>> modes;  // mode, runs
};

std::vector<Voters> CountVoters(const Folding& folding,
                                const std::vector<int32_t>& labels) {
  std::vector<Voters> voters(folding.first_row.size());
  for (size_t row = 0; row < labels.size(); ++row) {
    Voters& here = voters[folding.point[row]];
    ++here.runs;
    if (labels[row] < 0) continue;
    const auto entry = std::find_if(
        here.modes.begin(), here.modes.end(),
        [&](const auto& mode) { return mode.first == labels[row]; });
    if (entry == here.modes.end()) {
      here.modes.emplace_back(labels[row], 1);
    } else {
      ++entry->second;
    }
  }
  return voters;
}

// The mode with the most votes among the voters at `points`, nearest first, or
// -1. `votes` is scratch (by mode), zero on entry and on return.
int32_t Vote(absl::Span<const int32_t> points,
             const std::vector<Voters>& voters, std::vector<double>* votes) {
  std::vector<int32_t> voted;
  int64_t missing = kVoters;
  for (const int32_t point : points) {
    if (point < 0 || missing <= 0) break;
    const Voters& here = voters[point];
    const int64_t taken = std::min(missing, here.runs);
    missing -= taken;
    for (const auto& [mode, runs] : here.modes) {
      if ((*votes)[mode] == 0) voted.push_back(mode);
      (*votes)[mode] += static_cast<double>(runs) * static_cast<double>(taken) /
                        static_cast<double>(here.runs);
    }
  }
  int32_t winner = -1;
  for (const int32_t mode : voted) {
    if ((*votes)[mode] < kLeastVotes) continue;
    if (winner < 0 || (*votes)[mode] > (*votes)[winner] ||
        ((*votes)[mode] == (*votes)[winner] && mode < winner)) {
      winner = mode;
    }
  }
  for (const int32_t mode : voted) (*votes)[mode] = 0;
  return winner;
}

absl::StatusOr<std::vector<int32_t>> Assign(const EnrichmentInput& input,
                                            int threads) {
  const int d = input.dimension;
  const size_t q = input.held_out_failed.size();
  const Folding reference = FoldDuplicates(input.reference, d);
  const std::vector<Voters> voters =
      CountVoters(reference, input.reference_label);
  const Folding held_out = FoldDuplicates(input.held_out, d);

  std::vector<double> votes(input.modes);
  std::vector<int32_t> mode_of(held_out.first_row.size(), -1);
  if (held_out.located > 0 && reference.located > 0) {
    space::KnnOptions options;
    options.threads = threads;
    FAULTLINE_ASSIGN_OR_RETURN(
        const space::KnnGraph knn,
        space::SearchKnn(reference.vectors, held_out.vectors, d, kVoters,
                         options));
    for (int32_t point = 0; point < held_out.located; ++point) {
      mode_of[point] =
          Vote(absl::MakeConstSpan(knn.neighbors)
                   .subspan(static_cast<size_t>(point) * knn.k, knn.k),
               voters, &votes);
    }
  }
  // Runs without any token are near to each other only.
  if (held_out.located < static_cast<int32_t>(mode_of.size()) &&
      reference.located < static_cast<int32_t>(voters.size())) {
    mode_of[held_out.located] = Vote({reference.located}, voters, &votes);
  }
  std::vector<int32_t> assigned(q);
  for (size_t i = 0; i < q; ++i) assigned[i] = mode_of[held_out.point[i]];
  return assigned;
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
  EnrichmentResult result;
  FAULTLINE_ASSIGN_OR_RETURN(result.assigned, Assign(input, threads));

  std::vector<stats::HypergeometricStratum> all(input.strata);
  for (size_t i = 0; i < result.assigned.size(); ++i) {
    ++all[input.stratum[i]].population;
    all[input.stratum[i]].successes += input.held_out_failed[i];
  }
  std::vector<std::vector<stats::HypergeometricStratum>> by_mode(input.modes,
                                                                 all);
  for (size_t i = 0; i < result.assigned.size(); ++i) {
    if (result.assigned[i] < 0) continue;
    stats::HypergeometricStratum& s =
        by_mode[result.assigned[i]][input.stratum[i]];
    ++s.draws;
    s.observed += input.held_out_failed[i];
  }
  for (const auto& strata : by_mode) result.enrichment.push_back(Test(strata));
  return result;
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
