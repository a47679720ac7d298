#include "lib/cluster/validity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/consensus.h"
#include "lib/cluster/duplicates.h"
#include "lib/cluster/snn_graph.h"
#include "lib/stats/contingency.h"
#include "lib/stats/evidence.h"

namespace faultline::cluster {
namespace {

// Resolution of the communities of a sample, as in ClusterFailures.
constexpr double kFineResolution = 1.0;
constexpr double kResolution = 0.5;
constexpr int32_t kFineBelow = 800;
// Neighbours that are looked for, in multiples of those needed: some will be
// left out.
constexpr int kSpareNeighbors = 2;
constexpr double kPriorSuccesses = 50;
constexpr int64_t kLeastCoAssigned = 5;
constexpr double kLeastExpectedInside = 8;
constexpr double kNormal95 = 1.959963984540054;

// METHODS 3.1, 3.3, 3.5.
constexpr double kDissolved = 0.5;
constexpr double kFoundAgain = 0.6;
constexpr double kWeakPrediction = 0.8;
constexpr double kLeastTransfer = 0.5;
constexpr double kLeastReplication = 0.6;
constexpr double kSliceItself = 0.6;
constexpr double kRefutingP = 0.2;
constexpr double kPointingP = 0.05;
constexpr uint64_t kLeastRefuting = 50;
constexpr double kDiesBelow = 0.2;
constexpr double kHeterogeneousP = 0.01;
constexpr double kHeterogeneous = 0.75;

std::vector<int32_t> FindCommunities(const Graph& graph, uint64_t seed,
                                     double resolution) {
  LeidenOptions options;
  options.seed = seed;
  options.resolution = resolution;
  if (resolution == 0) {
    options.resolution =
        graph.size() < kFineBelow ? kFineResolution : kResolution;
  }
  return Leiden(graph, options);
}

// Mean weight of the ties within each label of the points; -1 where it has
// fewer than kLeastExpectedPoints rows, or no ties.
std::vector<double> MeanTies(const Graph& graph,
                             const std::vector<int32_t>& label,
                             const std::vector<int64_t>& copies, int labels) {
  std::vector<double> weight(labels), ties(labels), rows(labels);
  for (int32_t v = 0; v < graph.size(); ++v) {
    if (label[v] < 0) continue;
    rows[label[v]] += static_cast<double>(copies[v]);
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      if (label[graph.column[e]] != label[v]) continue;
      weight[label[v]] += graph.weight[e];
      ++ties[label[v]];
    }
  }
  for (int l = 0; l < labels; ++l) {
    weight[l] = ties[l] > 0 && rows[l] >= kLeastExpectedPoints
                    ? weight[l] / ties[l]
                    : -1;
  }
  return weight;
}

std::string Share(double share) { return absl::StrFormat("%.2f", share); }

// Why held-out runs, subsamples or slices refute it; empty: they do not.
std::string Refutation(const Standing& standing) {
  const v1::Enrichment& test = standing.enrichment;
  const v1::Validity& validity = standing.validity;
  if (validity.evidence().confirmed_tick() == 0 &&
      test.p_value() > kRefutingP && test.assigned() >= kLeastRefuting) {
    return "held-out runs in its region fail no more than their strata explain";
  }
  if (standing.stability >= 0 && standing.stability < kDissolved) {
    return absl::StrCat("subsamples do not find it again (stability ",
                        Share(standing.stability), ")");
  }
  for (const v1::SliceCheck& slice : validity.slices()) {
    if (slice.agreement() > kSliceItself && test.odds_ratio_lower() <= 1) {
      return absl::StrCat("it is the slice ", slice.variable(), " = ",
                          slice.largest_value(), " (agreement ",
                          Share(slice.agreement()),
                          "), in which runs do not surely fail more");
    }
  }
  if (validity.has_residual_agreement() &&
      validity.residual_agreement() < kDiesBelow &&
      validity.slice_bound_size() > 0) {
    return absl::StrCat("nothing is left of it once what is common to ",
                        validity.slice_bound(0), " is taken out");
  }
  return "";
}

std::vector<std::string> ListConcerns(const Standing& standing) {
  const v1::Enrichment& test = standing.enrichment;
  const v1::Validity& validity = standing.validity;
  std::vector<std::string> concerns;
  if (standing.stability < 0) {
    concerns.push_back("too small for subsamples to find it again");
  } else if (standing.stability < kFoundAgain) {
    concerns.push_back(absl::StrCat("subsamples find it again with similarity ",
                                    Share(standing.stability), " only, below ",
                                    Share(kFoundAgain)));
  }
  if (validity.has_prediction_strength() &&
      validity.prediction_strength() < kWeakPrediction) {
    concerns.push_back(absl::StrCat(
        "a clustering of the held-out failures keeps only ",
        Share(validity.prediction_strength()), " of its pairs together"));
  }
  for (const v1::SliceCheck& slice : validity.slices()) {
    if (!HoldsAcross(slice)) {
      concerns.push_back(absl::StrCat(
          "it does not hold across ", slice.variable(), ": ",
          slice.has_transfer()
              ? absl::StrCat("similarity ", Share(slice.transfer()),
                             " without one of its values")
              : "",
          slice.has_transfer() && slice.has_replication() ? ", " : "",
          slice.has_replication()
              ? absl::StrCat("enriched in ", Share(slice.replication()), " of ",
                             slice.values_tested(), " values")
              : ""));
    } else if (slice.heterogeneity_p_value() < kHeterogeneousP &&
               slice.i_squared() >= kHeterogeneous) {
      concerns.push_back(absl::StrCat(
          "how much more its region fails differs with ", slice.variable(),
          " (I-squared ", Share(slice.i_squared()), ")"));
    }
  }
  if (validity.model_information_bits() > validity.failure_information_bits()) {
    concerns.push_back(absl::StrFormat(
        "its region tells more of which model ran (%.3f bits) than of the "
        "failure (%.3f bits)",
        validity.model_information_bits(),
        validity.failure_information_bits()));
  }
  if (validity.has_shuffle_null() && validity.shuffle_null().p_value() > 0.05) {
    concerns.push_back(
        "its members hang together no more than shuffled channels do");
  }
  if (test.assigned() < kLeastConfirmingRuns) {
    concerns.push_back(absl::StrCat("only ", test.assigned(),
                                    " held-out runs are in its region"));
  }
  return concerns;
}

}  // namespace

absl::StatusOr<Rediscovery> Rediscovery::Create(const CheckSample& sample,
                                                uint64_t seed, int threads) {
  Rediscovery result;
  result.seed_ = seed;
  result.modes_ = sample.modes;
  Folding folding = FoldDuplicates(sample.vectors, sample.dimension);
  result.located_ = folding.located;
  result.mode_of_point_.reserve(folding.first_row.size());
  for (const int32_t row : folding.first_row) {
    result.mode_of_point_.push_back(sample.mode[row]);
  }
  const int wanted = SnnNeighbors(folding.located);
  if (wanted > 0) {
    space::KnnOptions options;
    options.seed = seed;
    options.threads = threads;
    FAULTLINE_ASSIGN_OR_RETURN(
        result.knn_,
        space::BuildKnnGraph(
            folding.vectors, sample.dimension,
            std::min(kSpareNeighbors * wanted, folding.located - 1), options));
  }
  result.point_ = std::move(folding.point);
  return result;
}

std::vector<int64_t> Rediscovery::CountCopies(
    const std::vector<bool>& kept) const {
  std::vector<int64_t> copies(mode_of_point_.size());
  for (size_t row = 0; row < point_.size(); ++row) {
    if (kept.empty() || kept[row]) ++copies[point_[row]];
  }
  return copies;
}

// The graph of the located points with copies, and which they are.
Graph Rediscovery::KeptGraph(const std::vector<int64_t>& copies,
                             std::vector<int32_t>* points) const {
  std::vector<int32_t> number(located_, -1);
  for (int32_t p = 0; p < located_; ++p) {
    if (copies[p] == 0) continue;
    number[p] = static_cast<int32_t>(points->size());
    points->push_back(p);
  }
  space::KnnGraph knn;
  knn.k = SnnNeighbors(points->size());
  if (knn.k == 0) {
    Graph graph;
    graph.row_begin.assign(points->size() + 1, 0);
    return graph;
  }
  knn.neighbors.assign(points->size() * knn.k, -1);
  for (size_t i = 0; i < points->size(); ++i) {
    const int32_t* from =
        &knn_.neighbors[static_cast<size_t>((*points)[i]) * knn_.k];
    int32_t* to = &knn.neighbors[i * knn.k];
    const int32_t* const end = to + knn.k;
    for (int j = 0; j < knn_.k && to < end && from[j] >= 0; ++j) {
      if (number[from[j]] >= 0) *to++ = number[from[j]];
    }
  }
  return BuildSnnGraph(knn, 1);
}

std::vector<int32_t> Rediscovery::Communities(const std::vector<bool>& kept,
                                              double resolution) const {
  std::vector<int32_t> points;
  const Graph graph = KeptGraph(CountCopies(kept), &points);
  const std::vector<int32_t> found = FindCommunities(graph, seed_, resolution);
  std::vector<int32_t> of_point(mode_of_point_.size(), -1);
  for (size_t i = 0; i < points.size(); ++i) of_point[points[i]] = found[i];
  std::vector<int32_t> community;
  community.reserve(point_.size());
  for (size_t row = 0; row < point_.size(); ++row) {
    community.push_back(kept.empty() || kept[row] ? of_point[point_[row]] : -1);
  }
  return community;
}

std::vector<double> Rediscovery::FindAgain(
    const std::vector<bool>& kept) const {
  const std::vector<int32_t> of_row = Communities(kept);
  Replicate replicate;
  std::vector<int32_t> mode;
  std::vector<int64_t> copies;
  std::vector<int32_t> place(mode_of_point_.size(), -1);
  for (size_t row = 0; row < point_.size(); ++row) {
    if (!kept.empty() && !kept[row]) continue;
    int32_t& at = place[point_[row]];
    if (at < 0) {
      at = static_cast<int32_t>(mode.size());
      replicate.points.push_back(at);
      replicate.community.push_back(of_row[row]);
      mode.push_back(mode_of_point_[point_[row]]);
      copies.push_back(0);
    }
    ++copies[at];
  }
  return MeasureStability(mode, modes_, copies, {replicate});
}

std::vector<double> Rediscovery::TieWeights() const {
  const std::vector<int64_t> copies = CountCopies({});
  std::vector<int32_t> points;
  const Graph graph = KeptGraph(copies, &points);
  // Every located point has a row, so they are numbered as they are.
  return MeanTies(graph, mode_of_point_, copies, modes_);
}

double Rediscovery::HeaviestCommunity() const {
  const std::vector<int64_t> copies = CountCopies({});
  std::vector<int32_t> points;
  const Graph graph = KeptGraph(copies, &points);
  const std::vector<int32_t> found = FindCommunities(graph, seed_, 0);
  if (found.empty()) return 0;
  const std::vector<double> ties = MeanTies(
      graph, found, copies, 1 + *std::max_element(found.begin(), found.end()));
  return std::max(0.0, *std::max_element(ties.begin(), ties.end()));
}

absl::StatusOr<std::vector<double>> HeaviestShuffledTies(
    const CheckSample& sample, absl::Span<const VectorBlock> blocks,
    absl::Span<const int32_t> stratum, int replicates, uint64_t seed,
    int threads) {
  const int d = sample.dimension;
  const size_t n = sample.mode.size();
  std::vector<std::vector<int32_t>> strata;
  for (size_t row = 0; row < n; ++row) {
    const auto s = static_cast<size_t>(stratum[row]) + 1;
    if (strata.size() <= s) strata.resize(s + 1);
    strata[s].push_back(static_cast<int32_t>(row));
  }
  const std::vector<int32_t> no_mode(n, -1);
  const auto shuffle = [&](size_t replicate) -> absl::StatusOr<double> {
    base::Random random(base::Mix64(seed + replicate));
    std::vector<float> shuffled(sample.vectors.begin(), sample.vectors.end());
    for (const VectorBlock& block : blocks) {
      for (const std::vector<int32_t>& rows : strata) {
        std::vector<int32_t> from = rows;
        random.Shuffle(&from);
        for (size_t i = 0; i < rows.size(); ++i) {
          const auto source =
              sample.vectors.begin() + int64_t{from[i]} * d + block.begin;
          std::copy(source, source + block.size,
                    shuffled.begin() + int64_t{rows[i]} * d + block.begin);
        }
      }
    }
    for (size_t row = 0; row < n; ++row) {
      float* const x = &shuffled[row * d];
      const float norm = std::sqrt(std::inner_product(x, x + d, x, 0.0f));
      if (norm > 0) {
        for (int i = 0; i < d; ++i) x[i] /= norm;
      }
    }
    FAULTLINE_ASSIGN_OR_RETURN(
        const Rediscovery again,
        Rediscovery::Create({d, shuffled, no_mode, 0}, seed, 1));
    return again.HeaviestCommunity();
  };
  std::vector<absl::StatusOr<double>> found(std::max(replicates, 0));
  base::ParallelFor(found.size(), threads,
                    [&](size_t i) { found[i] = shuffle(i); });
  std::vector<double> heaviest;
  heaviest.reserve(found.size());
  for (const absl::StatusOr<double>& one : found) {
    FAULTLINE_RETURN_IF_ERROR(one.status());
    heaviest.push_back(*one);
  }
  return heaviest;
}

std::vector<float> RemoveSliceMeans(absl::Span<const float> failures,
                                    absl::Span<const int32_t> failure_level,
                                    absl::Span<const float> successes,
                                    absl::Span<const int32_t> success_level,
                                    int levels, int d) {
  std::vector<double> all(d);
  std::vector<double> sum(static_cast<size_t>(levels) * d);
  std::vector<double> count(levels);
  double total = 0;
  for (size_t row = 0; row < success_level.size(); ++row) {
    const int32_t level = success_level[row];
    if (level < 0) continue;
    ++count[level];
    ++total;
    for (int i = 0; i < d; ++i) {
      const double x = successes[row * d + i];
      sum[static_cast<size_t>(level) * d + i] += x;
      all[i] += x;
    }
  }
  std::vector<double> shift(sum.size());
  for (int l = 0; l < levels; ++l) {
    if (count[l] == 0) continue;
    const double trust = count[l] / (count[l] + kPriorSuccesses);
    for (int i = 0; i < d; ++i) {
      const size_t at = static_cast<size_t>(l) * d + i;
      shift[at] = trust * (sum[at] / count[l] - all[i] / total);
    }
  }
  std::vector<float> result(failures.begin(), failures.end());
  for (size_t row = 0; row < failure_level.size(); ++row) {
    if (failure_level[row] < 0) continue;
    const double* const slice =
        &shift[static_cast<size_t>(failure_level[row]) * d];
    float* const x = &result[row * d];
    double before = 0, after = 0;
    for (int i = 0; i < d; ++i) {
      before += static_cast<double>(x[i]) * x[i];
      x[i] = static_cast<float>(x[i] - slice[i]);
      after += static_cast<double>(x[i]) * x[i];
    }
    if (after == 0) continue;
    const auto factor = static_cast<float>(std::sqrt(before / after));
    for (int i = 0; i < d; ++i) x[i] *= factor;
  }
  return result;
}

std::vector<double> PredictionStrengths(absl::Span<const int32_t> assigned,
                                        absl::Span<const int32_t> community,
                                        int modes) {
  const int32_t communities =
      community.empty() ? 0
                        : 1 + std::max(-1, *std::max_element(community.begin(),
                                                             community.end()));
  std::vector<int64_t> runs(modes);
  std::vector<int64_t> together(static_cast<size_t>(modes) * communities);
  for (size_t row = 0; row < assigned.size(); ++row) {
    if (assigned[row] < 0 || community[row] < 0) continue;
    ++runs[assigned[row]];
    ++together[static_cast<size_t>(assigned[row]) * communities +
               community[row]];
  }
  std::vector<double> strength(modes, -1);
  for (int m = 0; m < modes; ++m) {
    if (runs[m] < kLeastCoAssigned) continue;
    double pairs = 0;
    for (int32_t c = 0; c < communities; ++c) {
      const auto both = static_cast<double>(
          together[static_cast<size_t>(m) * communities + c]);
      pairs += both * (both - 1);
    }
    const auto all = static_cast<double>(runs[m]);
    strength[m] = pairs / (all * (all - 1));
  }
  return strength;
}

std::vector<Replication> ReplicateWithin(const HeldOutRuns& runs,
                                         absl::Span<const int32_t> level,
                                         int levels) {
  // Runs and failures by (level, stratum), of all and of each mode's region.
  struct Count {
    double runs = 0;
    double failed = 0;
  };
  const auto cells = static_cast<size_t>(levels) * runs.strata;
  std::vector<Count> all(cells), inside(runs.modes * cells);
  std::vector<double> assigned(runs.modes), in_level(levels);
  for (size_t i = 0; i < level.size(); ++i) {
    const int32_t mode = runs.assigned[i];
    if (mode >= 0) ++assigned[mode];
    if (level[i] < 0) continue;
    ++in_level[level[i]];
    const size_t cell =
        static_cast<size_t>(level[i]) * runs.strata + runs.stratum[i];
    const double failed = (*runs.failed)[i] ? 1 : 0;
    ++all[cell].runs;
    all[cell].failed += failed;
    if (mode < 0) continue;
    ++inside[mode * cells + cell].runs;
    inside[mode * cells + cell].failed += failed;
  }
  std::vector<Replication> result(runs.modes);
  for (int m = 0; m < runs.modes; ++m) {
    int above = 0;
    std::vector<stats::Estimate> ratios;
    for (int l = 0; l < levels; ++l) {
      if (assigned[m] * in_level[l] / static_cast<double>(level.size()) <
          kLeastExpectedInside) {
        continue;
      }
      std::vector<stats::Table> tables;
      for (int s = 0; s < runs.strata; ++s) {
        const size_t cell = static_cast<size_t>(l) * runs.strata + s;
        const Count& here = all[cell];
        const Count& in = inside[m * cells + cell];
        tables.push_back({in.failed, here.failed - in.failed,
                          in.runs - in.failed,
                          here.runs - here.failed - (in.runs - in.failed)});
      }
      const stats::OddsRatio odds = stats::MantelHaenszel(tables);
      ++result[m].tested;
      above += odds.ratio > 1 ? 1 : 0;
      if (odds.ratio > 0 && odds.lower > 0 && odds.upper > odds.lower &&
          std::isfinite(odds.upper)) {
        ratios.push_back({std::log(odds.ratio),
                          std::log(odds.upper / odds.lower) / (2 * kNormal95)});
      }
    }
    if (result[m].tested > 0) {
      result[m].share = static_cast<double>(above) / result[m].tested;
    }
    const stats::Heterogeneity spread = stats::MeasureHeterogeneity(ratios);
    result[m].q = spread.q;
    result[m].i_squared = spread.i_squared;
    result[m].p_value = spread.p_value;
  }
  return result;
}

bool HoldsAcross(const v1::SliceCheck& slice) {
  return (!slice.has_transfer() && !slice.has_replication()) ||
         (slice.has_transfer() && slice.transfer() >= kLeastTransfer) ||
         (slice.has_replication() && slice.replication() >= kLeastReplication);
}

Verdict Judge(const Standing& standing) {
  const v1::Enrichment& test = standing.enrichment;
  const v1::Validity& validity = standing.validity;
  const v1::SequentialEvidence& evidence = validity.evidence();
  const std::string figures = absl::StrFormat(
      "%d of %d held-out runs in its region failed, %.1f expected; odds ratio "
      "%.2f, p %.2g, adjusted %.2g",
      test.assigned_failed(), test.assigned(), test.expected_failed(),
      test.odds_ratio(), test.p_value(), test.adjusted_p_value());
  Verdict verdict;
  verdict.concerns = ListConcerns(standing);
  const auto set = [&](v1::Cluster::Status status, absl::string_view reason) {
    verdict.status = status;
    verdict.reason = absl::StrCat(reason, ": ", figures);
    return verdict;
  };
  if (const std::string refutation = Refutation(standing);
      !refutation.empty()) {
    verdict.concerns.insert(verdict.concerns.begin(), refutation);
    return set(v1::Cluster::STATUS_ARTIFACT, refutation);
  }
  if (standing.refused_before) {
    return set(v1::Cluster::STATUS_ARTIFACT,
               "refused before, and no held-out runs have been tested since");
  }

  const bool known = standing.stability >= 0;
  const bool found_again = !known || standing.stability >= kFoundAgain;
  const bool confirmed = evidence.confirmed_tick() > 0;
  const bool bound = validity.slice_bound_size() > 0;
  std::vector<std::string> missing;
  if (!found_again) {
    missing.push_back(absl::StrCat("stability is ", Share(standing.stability),
                                   ", below ", Share(kFoundAgain)));
  }
  if (!confirmed) {
    missing.push_back(
        test.assigned() < kLeastConfirmingRuns
            ? absl::StrCat("fewer than ", kLeastConfirmingRuns,
                           " held-out runs are in its region")
            : "held-out runs have not confirmed it beyond the other clusters "
              "tested");
  }
  if (test.odds_ratio() < standing.min_odds_ratio) {
    missing.push_back(absl::StrFormat("the odds ratio is below %.2f",
                                      standing.min_odds_ratio));
  }
  if (!validity.transferable() && !bound) {
    missing.push_back("it does not hold across slices");
  }
  if (missing.empty()) {
    return set(
        v1::Cluster::STATUS_STABLE,
        absl::StrCat(
            "held-out runs confirm it, ",
            known ? absl::StrCat("subsamples find it again (stability ",
                                 Share(standing.stability), ")")
                  : "it is too small for subsamples",
            bound ? absl::StrCat(", bound to ",
                                 absl::StrJoin(validity.slice_bound(), ", "))
                  : ", and it holds across slices"));
  }
  const std::string lacks = absl::StrJoin(missing, "; ");
  if (found_again && (confirmed || test.p_value() <= kPointingP)) {
    return set(v1::Cluster::STATUS_CANDIDATE,
               absl::StrCat("held-out runs point the same way, but ", lacks));
  }
  if (test.p_value() > kPointingP && !confirmed) {
    return set(v1::Cluster::STATUS_HYPOTHESIS,
               absl::StrCat("too little held-out evidence; ", lacks));
  }
  return set(v1::Cluster::STATUS_HYPOTHESIS, lacks);
}

}  // namespace faultline::cluster
