#include "lib/slowloop/known_modes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/slowloop/cluster_decisions.h"
#include "lib/space/blas.h"
#include "lib/stats/contingency.h"

namespace faultline::slowloop {
namespace {

using embedding::Run;

constexpr size_t kMaxExemplars = 32;
constexpr double kReachQuantile = 0.95;
// Distances below it are of rounding, or of a token among hundreds.
constexpr double kLeastReach = 0.05;
constexpr size_t kMaxCompared = 4096;
constexpr size_t kBlock = 256;
constexpr uint64_t kSalt = 0x0e1;

// The `limit` runs that come first by a hash of their ids. `run_of` gives the
// run of an item.
template <typename T, typename RunOf>
std::vector<T> SampleByHash(std::vector<T> items, size_t limit,
                            const RunOf& run_of) {
  if (items.size() <= limit) return items;
  const auto key = [&run_of](const T& item) {
    const std::string& id = run_of(item)->trace_id;
    return std::make_pair(base::Hash64(id, kSalt), absl::string_view(id));
  };
  std::nth_element(items.begin(), items.begin() + static_cast<ptrdiff_t>(limit),
                   items.end(),
                   [&key](const T& a, const T& b) { return key(a) < key(b); });
  items.resize(limit);
  return items;
}

// Distance to the nearest exemplar of a mode that is not run `self`.
double NearestExemplar(const v1::KnownMode& mode,
                       absl::Span<const float> vector, uint64_t self) {
  const auto vectors = absl::MakeConstSpan(mode.vectors());
  double nearest = std::numeric_limits<double>::infinity();
  for (int e = 0; e < mode.sequences_size(); ++e) {
    if (mode.sequences(e) == self) continue;
    nearest = std::min(
        nearest,
        embedding::Distance(vectors.subspan(e * vector.size(), vector.size()),
                            vector));
  }
  return nearest;
}

// `held`: everything that the cluster is known again by.
v1::KnownMode DescribeMode(const std::string& cluster_id, v1::View view,
                           const std::vector<const Run*>& held,
                           const embedding::Embedder& embedder) {
  v1::KnownMode mode;
  mode.set_cluster_id(cluster_id);
  mode.set_view(view);
  std::vector<const Run*> exemplars =
      SampleByHash(held, kMaxExemplars, [](const Run* run) { return run; });
  std::sort(exemplars.begin(), exemplars.end(), [](const Run* a, const Run* b) {
    return a->sequence < b->sequence;
  });
  for (const Run* run : exemplars) {
    const std::vector<float> vector =
        embedding::EmbedInView(embedder, *run, view);
    mode.add_sequences(run->sequence);
    mode.mutable_vectors()->Add(vector.begin(), vector.end());
  }
  std::vector<double> distances;
  for (const Run* run : held) {
    const double distance = NearestExemplar(
        mode, embedding::EmbedInView(embedder, *run, view), run->sequence);
    if (std::isfinite(distance)) distances.push_back(distance);
  }
  mode.set_reach(kLeastReach);
  if (!distances.empty()) {
    const auto rank = static_cast<size_t>(
        std::ceil(kReachQuantile * static_cast<double>(distances.size())));
    std::nth_element(distances.begin(),
                     distances.begin() + static_cast<ptrdiff_t>(rank - 1),
                     distances.end());
    mode.set_reach(std::max(kLeastReach, distances[rank - 1]));
  }
  return mode;
}

// The exemplars of all modes of one view, for many runs at once.
class ExemplarTable {
 public:
  ExemplarTable(absl::Span<const v1::KnownMode> modes, v1::View view, int d)
      : d_(d) {
    for (const v1::KnownMode& mode : modes) {
      if (mode.view() != view) continue;
      vectors_.insert(vectors_.end(), mode.vectors().begin(),
                      mode.vectors().end());
      owners_.insert(owners_.end(), mode.sequences_size(), &mode);
    }
    for (size_t e = 0; e < owners_.size(); ++e) {
      norms_.push_back(space::SquaredNorm(&vectors_[e * d], d));
    }
  }

  // Lowers `relative` to the least relative distance of each run.
  void Compare(const Matrix& vectors, absl::Span<const int32_t> rows,
               absl::Span<double> relative) const {
    if (owners_.empty()) return;
    const Matrix queries = SelectRows(vectors, rows);
    std::vector<float> products(rows.size() * owners_.size());
    space::MultiplyTransposed(
        queries.values.data(), static_cast<int>(rows.size()), vectors_.data(),
        static_cast<int>(owners_.size()), d_, products.data());
    for (size_t q = 0; q < rows.size(); ++q) {
      const float norm = space::SquaredNorm(queries.row(q).data(), d_);
      for (size_t e = 0; e < owners_.size(); ++e) {
        const double squared =
            norm + norms_[e] - 2 * products[q * owners_.size() + e];
        relative[q] = std::min(relative[q], std::sqrt(std::max(0.0, squared)) /
                                                owners_[e]->reach());
      }
    }
  }

 private:
  const int d_;
  std::vector<float> vectors_;
  std::vector<float> norms_;
  std::vector<const v1::KnownMode*> owners_;
};

}  // namespace

std::vector<v1::KnownMode> DescribeKnownModes(
    const v1::TickState& state, const RunWindow& window,
    const embedding::Embedder& embedder, int threads) {
  std::map<absl::string_view, const v1::Cluster*> clusters;
  for (const v1::Cluster& cluster : state.clusters()) {
    clusters[cluster.cluster_id()] = &cluster;
  }
  const ClusterDecisions decisions(state);
  struct Subject {
    const v1::Cluster* cluster;
    std::vector<const Run*> held;
  };
  std::vector<Subject> subjects;
  for (const v1::ClusterExemplars& set : state.exemplars()) {
    const auto cluster = clusters.find(decisions.Root(set.cluster_id()));
    if (cluster == clusters.end()) continue;
    Subject subject{cluster->second, {}};
    for (const uint64_t sequence : set.sequences()) {
      const Run* run = window.Find(sequence);
      if (run != nullptr && run->failed()) subject.held.push_back(run);
    }
    if (!subject.held.empty()) subjects.push_back(std::move(subject));
  }
  std::stable_sort(subjects.begin(), subjects.end(),
                   [](const Subject& a, const Subject& b) {
                     return a.cluster->cluster_id() < b.cluster->cluster_id();
                   });
  std::vector<v1::KnownMode> modes(subjects.size());
  base::ParallelFor(subjects.size(), threads, [&](size_t s) {
    const v1::Cluster& cluster = *subjects[s].cluster;
    modes[s] = DescribeMode(
        cluster.cluster_id(),
        cluster.views().empty() ? v1::VIEW_TRAJECTORY : cluster.views(0),
        subjects[s].held, embedder);
  });
  return modes;
}

std::vector<ModeDistance> LocateRun(const v1::TickState& state,
                                    const embedding::Embedder& embedder,
                                    const Run& run) {
  const std::vector<float> trajectory =
      embedding::EmbedInView(embedder, run, v1::VIEW_TRAJECTORY);
  const std::vector<float> behavior =
      embedding::EmbedInView(embedder, run, v1::VIEW_BEHAVIOR);
  std::vector<ModeDistance> located;
  for (const v1::KnownMode& mode : state.known_modes()) {
    const double distance = NearestExemplar(
        mode, mode.view() == v1::VIEW_BEHAVIOR ? behavior : trajectory,
        run.sequence);
    if (std::isfinite(distance)) located.push_back({&mode, distance});
  }
  std::stable_sort(located.begin(), located.end(),
                   [](const ModeDistance& a, const ModeDistance& b) {
                     return a.relative() < b.relative();
                   });
  return located;
}

v1::Novelty MeasureNovelty(const NoveltyInput& input) {
  const uint64_t watermark = input.previous->tick().watermark();
  std::vector<int32_t> fresh;
  std::vector<int32_t> earlier;
  for (size_t i = 0; i < input.runs.size(); ++i) {
    const Run& run = *input.runs[i];
    if (!run.failed()) continue;
    if (run.known_sequence > watermark) {
      fresh.push_back(static_cast<int32_t>(i));
    } else if (!(*input.discovery)[i]) {
      earlier.push_back(static_cast<int32_t>(i));
    }
  }
  v1::Novelty novelty;
  novelty.set_failures(fresh.size());
  novelty.set_p_value(1);
  const bool same_epoch =
      input.previous->corpus().epoch() == input.embedder->epoch();
  const std::vector<v1::KnownMode> modes =
      same_epoch
          ? std::vector<v1::KnownMode>(input.previous->known_modes().begin(),
                                       input.previous->known_modes().end())
          : DescribeKnownModes(*input.previous, *input.window, *input.embedder,
                               input.threads);
  if (modes.empty()) return novelty;

  const int d = input.embedder->dimension();
  const ExemplarTable behavior(modes, v1::VIEW_BEHAVIOR, d);
  const ExemplarTable trajectory(modes, v1::VIEW_TRAJECTORY, d);
  const auto compare = [&](std::vector<int32_t> rows) {
    rows = SampleByHash(std::move(rows), kMaxCompared,
                        [&](int32_t row) { return input.runs[row]; });
    std::sort(rows.begin(), rows.end());
    std::vector<double> relative(rows.size(),
                                 std::numeric_limits<double>::infinity());
    const size_t blocks = (rows.size() + kBlock - 1) / kBlock;
    base::ParallelFor(blocks, input.threads, [&](size_t block) {
      const auto of_block =
          absl::MakeConstSpan(rows).subspan(block * kBlock, kBlock);
      const auto out = absl::MakeSpan(relative).subspan(block * kBlock, kBlock);
      behavior.Compare(*input.behavior, of_block, out);
      trajectory.Compare(*input.trajectory, of_block, out);
    });
    return std::make_pair(rows.size(), static_cast<size_t>(std::count_if(
                                           relative.begin(), relative.end(),
                                           [](double r) { return r > 1; })));
  };
  const auto [compared, emerging] = compare(std::move(fresh));
  const auto [earlier_compared, earlier_emerging] = compare(std::move(earlier));
  novelty.set_compared(compared);
  novelty.set_emerging(emerging);
  novelty.set_earlier_compared(earlier_compared);
  novelty.set_earlier_emerging(earlier_emerging);
  stats::HypergeometricStratum stratum;
  stratum.population = static_cast<int64_t>(compared + earlier_compared);
  stratum.successes = static_cast<int64_t>(emerging + earlier_emerging);
  stratum.draws = static_cast<int64_t>(compared);
  stratum.observed = static_cast<int64_t>(emerging);
  novelty.set_p_value(stats::StratifiedEnrichmentPValue({&stratum, 1}));
  return novelty;
}

}  // namespace faultline::slowloop
