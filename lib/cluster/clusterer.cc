#include "lib/cluster/clusterer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/agreement.h"
#include "lib/cluster/consensus.h"
#include "lib/cluster/duplicates.h"
#include "lib/cluster/hdbscan.h"
#include "lib/cluster/leiden.h"
#include "lib/cluster/neighbor_vote.h"
#include "lib/cluster/snn_graph.h"
#include "lib/space/knn_graph.h"
#include "lib/stats/contingency.h"

namespace faultline::cluster {
namespace {

// Share of a member's ties that must lie inside its group.
constexpr double kLeastStrength = 0.5;
constexpr size_t kFineResolutionBelow = 800;
// Points below which density is judged by fewer neighbours.
constexpr size_t kFewSamplesBelow = 500;

absl::Status Check(const ClusteringInput& input) {
  if (input.dimension < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("dimension must be positive, is ", input.dimension));
  }
  const size_t d = input.dimension;
  const size_t n = input.failures.size() / d;
  const size_t m = input.reference != nullptr ? input.reference->runs()
                                              : input.pooled.size() / d;
  if (input.failures.size() % d != 0 || input.pooled.size() % d != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("failures (", input.failures.size(), ") and pooled (",
                     input.pooled.size(), ") must be multiples of ", d));
  }
  if (input.pooled_failed.size() != m || input.failure_row.size() != n) {
    return absl::InvalidArgumentError(absl::StrCat(
        "pooled_failed (", input.pooled_failed.size(), ") must have ", m,
        " elements, failure_row (", input.failure_row.size(), ") ", n));
  }
  if (!input.failure_stratum.empty() && input.failure_stratum.size() != n) {
    return absl::InvalidArgumentError(
        absl::StrCat("failure_stratum (", input.failure_stratum.size(),
                     ") must have ", n, " elements or none"));
  }
  for (const int32_t row : input.failure_row) {
    if (row < 0 || row >= static_cast<int64_t>(m) ||
        !input.pooled_failed[row]) {
      return absl::InvalidArgumentError(
          absl::StrCat("failure_row ", row, " is not a failure of pooled"));
    }
  }
  return absl::OkStatus();
}

space::KnnOptions NeighborOptions(const ClusterOptions& options) {
  space::KnnOptions knn;
  knn.seed = options.seed;
  knn.threads = options.threads;
  return knn;
}

// Runs at one point of the pooled map.
struct Census {
  int64_t runs = 0;
  int64_t failed = 0;
};

// Of each failure: share of failures among the runs around it in the pooled
// map. The runs nearest to a failure are those at its own point, itself left
// out, then those at the nearest points; of the last point only as many count
// as are needed, at the point's average.
absl::StatusOr<std::vector<double>> SurroundingShares(
    const ClusteringInput& input, const ClusterOptions& options) {
  std::optional<Reference> own;
  if (input.reference == nullptr) {
    FAULTLINE_ASSIGN_OR_RETURN(
        own, MakeReference(input.pooled, input.dimension, options.threads));
  }
  const Reference& reference = own ? *own : *input.reference;
  const Folding& folding = reference.folding;
  std::vector<Census> census(reference.points());
  for (size_t row = 0; row < input.pooled_failed.size(); ++row) {
    Census& here = census[folding.point[row]];
    ++here.runs;
    here.failed += input.pooled_failed[row];
  }
  std::vector<bool> sought(reference.points());
  for (const int32_t row : input.failure_row) sought[folding.point[row]] = true;
  std::vector<int32_t>
      asked;  // located points with a failure that is asked for
  for (int32_t point = 0; point < folding.located; ++point) {
    if (sought[point]) asked.push_back(point);
  }
  // One more than needed: a point is its own nearest neighbour here.
  FAULTLINE_ASSIGN_OR_RETURN(
      const space::KnnGraph knn,
      reference.index.SearchPoints(asked, options.filter_neighbors + 1,
                                   options.threads));

  const auto share_around = [&](int32_t point, absl::Span<const int32_t> near) {
    int64_t runs = census[point].runs - 1;
    auto failures = static_cast<double>(census[point].failed - 1);
    for (const int32_t other : near) {
      const int64_t missing = options.filter_neighbors - runs;
      if (other < 0 || missing <= 0) break;
      if (other == point) continue;
      const int64_t taken = std::min(missing, census[other].runs);
      runs += taken;
      failures += static_cast<double>(census[other].failed) *
                  static_cast<double>(taken) /
                  static_cast<double>(census[other].runs);
    }
    return runs > 0 ? failures / static_cast<double>(runs) : 0;
  };
  std::vector<double> share(reference.points());
  for (size_t i = 0; i < asked.size(); ++i) {
    share[asked[i]] = share_around(
        asked[i], absl::MakeConstSpan(knn.neighbors).subspan(i * knn.k, knn.k));
  }
  if (static_cast<size_t>(folding.located) < census.size() &&
      sought[folding.located]) {
    share[folding.located] = share_around(folding.located, {});
  }
  std::vector<double> of_failure;
  of_failure.reserve(input.failure_row.size());
  for (const int32_t row : input.failure_row) {
    of_failure.push_back(share[folding.point[row]]);
  }
  return of_failure;
}

// Which points of the failures' own map lie where runs fail more than the
// pooled share explains (METHODS 2.1, step 2). A point is judged by the mean of
// what surrounds its copies and the failures that have it among their nearest
// as it has them: one failure's surroundings are too few runs to tell.
absl::StatusOr<std::vector<bool>> EnrichedPoints(
    const ClusteringInput& input, const Folding& folding,
    const space::KnnGraph& knn, const ClusterOptions& options) {
  const size_t points = folding.first_row.size();
  const auto failed =
      std::count(input.pooled_failed.begin(), input.pooled_failed.end(), true);
  const size_t m = input.pooled_failed.size();
  if (input.failure_row.size() < options.min_failures_to_filter ||
      failed == static_cast<int64_t>(m)) {
    return std::vector<bool>(points, true);
  }
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<double> around,
                             SurroundingShares(input, options));
  std::vector<double> share(points);
  std::vector<double> copies(points);
  for (size_t row = 0; row < around.size(); ++row) {
    share[folding.point[row]] += around[row];
    ++copies[folding.point[row]];
  }
  for (size_t point = 0; point < points; ++point) share[point] /= copies[point];

  const double pooled = static_cast<double>(failed) / static_cast<double>(m);
  const int smoothing = knn.k;
  std::vector<bool> enriched(points);
  for (size_t point = 0; point < points; ++point) {
    double count = copies[point];
    double sum = share[point] * count;
    if (point < static_cast<size_t>(folding.located)) {
      // No element when a lone failure has no neighbours (k = 0).
      const int32_t* const row = knn.neighbors.data() + point * knn.k;
      for (int i = 0; i < knn.k && row[i] >= 0 && count <= smoothing; ++i) {
        const double taken = std::min(copies[row[i]], smoothing + 1 - count);
        sum += taken * share[row[i]];
        count += taken;
      }
    }
    enriched[point] =
        stats::BinomialTail(options.filter_neighbors, pooled,
                            std::llround(options.filter_neighbors * sum /
                                         count)) <= options.filter_tail;
  }
  return enriched;
}

// Ties of a point: to its mode and in all. Copies of a run are tied to each
// other with weight 1.
struct Ties {
  double inside = 0;
  double all = 0;
  double Strength() const { return all > 0 ? inside / all : 0; }
};

std::vector<Ties> CountTies(const Graph& graph,
                            const std::vector<int32_t>& mode,
                            const std::vector<int64_t>& copies) {
  std::vector<Ties> ties(graph.size());
  for (int32_t v = 0; v < graph.size(); ++v) {
    ties[v].inside = ties[v].all = static_cast<double>(copies[v] - 1);
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      ties[v].all += graph.weight[e];
      if (mode[graph.column[e]] == mode[v]) ties[v].inside += graph.weight[e];
    }
  }
  return ties;
}

// The distinct failures that passed the filter, and how they are joined.
struct Points {
  std::vector<int32_t> point;      // of each failure; -1: filtered
  std::vector<int32_t> first_row;  // of each point
  std::vector<int64_t> copies;     // of each point
  int32_t located = 0;             // as in Folding
  Graph graph;
};

// Numbers the kept points of a folding in the order of the neighbour graph:
// neighbours in number are near in memory. What has no place stays last.
std::vector<int32_t> NumberKept(const Folding& folding,
                                const space::KnnGraph& knn,
                                const std::vector<bool>& keep) {
  std::vector<int32_t> number(keep.size(), -1);
  int32_t next = 0;
  for (int32_t i = 0; i < folding.located; ++i) {
    const int32_t point = knn.order.empty() ? i : knn.order[i];
    if (keep[point]) number[point] = next++;
  }
  if (static_cast<size_t>(folding.located) < keep.size() &&
      keep[folding.located]) {
    number[folding.located] = next;
  }
  return number;
}

// The neighbour graph among the numbered points that have a place, with at
// most k neighbours each.
space::KnnGraph RestrictNeighbors(const Folding& folding,
                                  const space::KnnGraph& knn,
                                  const std::vector<int32_t>& number,
                                  int32_t located, int k) {
  space::KnnGraph kept;
  kept.k = k;
  kept.neighbors.assign(static_cast<size_t>(located) * k, -1);
  for (int32_t point = 0; point < folding.located; ++point) {
    if (number[point] < 0) continue;
    int32_t* to = &kept.neighbors[static_cast<size_t>(number[point]) * k];
    const int32_t* const end = to + k;
    for (int i = 0; i < knn.k && to < end; ++i) {
      const int32_t other =
          knn.neighbors[static_cast<size_t>(point) * knn.k + i];
      if (other < 0) break;
      if (number[other] >= 0) *to++ = number[other];
    }
  }
  return kept;
}

// Filters the failures and joins what is left. One neighbour graph serves both:
// it has more neighbours than are needed, because some will be filtered.
absl::StatusOr<Points> MakePoints(const ClusteringInput& input,
                                  const ClusterOptions& options) {
  const int d = input.dimension;
  const Folding folding = FoldDuplicates(input.failures, d);
  space::KnnGraph knn;
  const int wanted = SnnNeighbors(folding.located);
  if (wanted > 0) {
    const int spare = std::min(wanted + wanted / 2, folding.located - 1);
    FAULTLINE_ASSIGN_OR_RETURN(knn,
                               space::BuildKnnGraph(folding.vectors, d, spare,
                                                    NeighborOptions(options)));
  }
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<bool> keep,
                             EnrichedPoints(input, folding, knn, options));
  const std::vector<int32_t> number = NumberKept(folding, knn, keep);

  Points points;
  for (int32_t point = 0; point < folding.located; ++point) {
    points.located += keep[point] ? 1 : 0;
  }
  points.copies.assign(std::count(keep.begin(), keep.end(), true), 0);
  points.first_row.resize(points.copies.size());
  points.point.reserve(folding.point.size());
  for (size_t row = 0; row < folding.point.size(); ++row) {
    const int32_t point = number[folding.point[row]];
    points.point.push_back(point);
    if (point < 0) continue;
    if (points.copies[point]++ == 0) {
      points.first_row[point] = static_cast<int32_t>(row);
    }
  }
  points.graph.row_begin = {0};
  if (const int k = SnnNeighbors(points.located); k > 0) {
    points.graph = BuildSnnGraph(
        RestrictNeighbors(folding, knn, number, points.located, k),
        options.threads);
  }
  // What has no place, or no neighbour, is a node without edges.
  points.graph.row_begin.resize(points.copies.size() + 1,
                                points.graph.row_begin.back());
  return points;
}

// A partition of the points into modes and their parts.
struct Partition {
  std::vector<int32_t> mode;  // of each point; -1: noise
  int32_t modes = 0;
  std::vector<int32_t> part;  // of each point; -1: of the mode as a whole
  std::vector<double> part_similarity;  // by part; see SubMode
  std::vector<float> strength;          // of each point, in its mode
  float least_strength = 0;             // of a member
};

double LeastSize(size_t failures) {
  return std::max(10.0, 0.5 * std::sqrt(static_cast<double>(failures)));
}

// `points`: how many there are.
HdbscanOptions DensityOptions(size_t points, size_t runs) {
  HdbscanOptions options;
  options.min_samples = points < kFewSamplesBelow ? 5 : 10;
  options.min_cluster_size = LeastSize(runs);
  return options;
}

// Clusters random parts of the points again.
class Resampler {
 public:
  Resampler(const ClusteringInput& input, const Points& points,
            const ClusterOptions& options, double resolution)
      : input_(input),
        points_(points),
        options_(options),
        resolution_(resolution) {}

  // As many as there are replicates, or none where there are too few points.
  size_t count() const {
    return SampleSize() < kLeastSample ? 0 : std::max(options_.replicates, 0);
  }

  absl::StatusOr<Replicate> Draw(Engine engine, size_t index) const {
    const int d = input_.dimension;
    const uint64_t seed = base::Mix64(options_.seed ^ base::Mix64(index + 1));
    base::Random random(seed);
    Replicate replicate;
    replicate.points.resize(points_.located);
    std::iota(replicate.points.begin(), replicate.points.end(), 0);
    random.Shuffle(&replicate.points);
    replicate.points.resize(SampleSize());
    std::sort(replicate.points.begin(), replicate.points.end());

    std::vector<float> vectors;
    vectors.reserve(replicate.points.size() * d);
    std::vector<int64_t> copies;
    copies.reserve(replicate.points.size());
    for (const int32_t point : replicate.points) {
      const auto row = input_.failures.subspan(
          static_cast<size_t>(points_.first_row[point]) * d, d);
      vectors.insert(vectors.end(), row.begin(), row.end());
      copies.push_back(points_.copies[point]);
    }
    space::KnnOptions knn;
    knn.seed = seed;
    knn.threads = 1;
    FAULTLINE_ASSIGN_OR_RETURN(
        const space::KnnGraph neighbors,
        space::BuildKnnGraph(vectors, d, SnnNeighbors(copies.size()), knn));
    const Graph graph = BuildSnnGraph(neighbors, knn.threads);
    switch (engine) {
      case Engine::kLeiden: {
        LeidenOptions leiden;
        leiden.seed = seed;
        leiden.resolution = resolution_;
        replicate.community = Leiden(graph, leiden);
        break;
      }
      case Engine::kHdbscan:
        replicate.community =
            Hdbscan(
                graph, copies,
                DensityOptions(copies.size(),
                               static_cast<size_t>(std::accumulate(
                                   copies.begin(), copies.end(), int64_t{0}))))
                .label;
        break;
    }
    return replicate;
  }

 private:
  static constexpr size_t kLeastSample = 20;

  size_t SampleSize() const {
    const double share =
        options_.replicate_share * static_cast<double>(points_.located);
    return std::min(static_cast<size_t>(share), options_.max_replicate_points);
  }

  const ClusteringInput& input_;
  const Points& points_;
  const ClusterOptions& options_;
  const double resolution_;
};

// Draws the replicates, beside tasks that do not depend on them.
absl::StatusOr<std::vector<Replicate>> DrawBeside(
    const Resampler& resampler, Engine engine, int threads,
    const std::vector<std::function<void()>>& tasks) {
  std::vector<absl::StatusOr<Replicate>> drawn(resampler.count());
  // The tasks first: they take longer.
  base::ParallelFor(tasks.size() + drawn.size(), threads, [&](size_t i) {
    if (i < tasks.size()) {
      tasks[i]();
    } else {
      const size_t index = i - tasks.size();
      drawn[index] = resampler.Draw(engine, index);
    }
  });
  std::vector<Replicate> replicates;
  replicates.reserve(drawn.size());
  for (absl::StatusOr<Replicate>& replicate : drawn) {
    FAULTLINE_RETURN_IF_ERROR(replicate.status());
    replicates.push_back(*std::move(replicate));
  }
  return replicates;
}

// Communities, joined where the replicates do not tell them apart.
Partition JoinedPartition(const Points& points, std::vector<int32_t> community,
                          absl::Span<const Replicate> replicates, double cut) {
  Partition partition;
  const int32_t communities =
      1 + *std::max_element(community.begin(), community.end());
  Dendrogram dendrogram =
      JoinCommunities(community, communities, replicates, cut);
  partition.mode.reserve(community.size());
  for (const int32_t c : community) {
    partition.mode.push_back(dendrogram.mode[c]);
  }
  partition.modes =
      1 + *std::max_element(dendrogram.mode.begin(), dendrogram.mode.end());
  partition.part = std::move(community);
  partition.part_similarity = std::move(dendrogram.similarity);
  partition.least_strength = kLeastStrength;
  for (const Ties& ties :
       CountTies(points.graph, partition.mode, points.copies)) {
    partition.strength.push_back(static_cast<float>(ties.Strength()));
  }
  return partition;
}

Partition DensePartition(HdbscanResult dense) {
  Partition partition;
  partition.modes =
      1 + std::max(-1, dense.label.empty()
                           ? -1
                           : *std::max_element(dense.label.begin(),
                                               dense.label.end()));
  partition.mode = std::move(dense.label);
  partition.part = std::move(dense.part);
  partition.part_similarity.assign(dense.part_label.size(), 0);
  partition.strength = std::move(dense.strength);
  return partition;
}

double SquaredDistance(const float* a, const float* b, int d) {
  double sum = 0;
  for (int i = 0; i < d; ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  return sum;
}

// Rows of the medoid, then of the points that lie farthest from those before,
// among the stronger half.
std::vector<int32_t> ChooseExemplars(const ClusteringInput& input,
                                     std::vector<int32_t> points,
                                     int32_t medoid, const Points& all,
                                     const std::vector<Ties>& ties,
                                     int exemplars) {
  std::stable_sort(points.begin(), points.end(), [&](int32_t a, int32_t b) {
    return ties[a].Strength() > ties[b].Strength();
  });
  points.resize((points.size() + 1) / 2);

  std::vector<double> distance(points.size(),
                               std::numeric_limits<double>::infinity());
  const auto vector_of = [&](int32_t point) {
    return input.failures.data() +
           static_cast<size_t>(all.first_row[point]) * input.dimension;
  };
  std::vector<int32_t> chosen;
  int32_t last = medoid;
  while (true) {
    chosen.push_back(all.first_row[last]);
    if (static_cast<int>(chosen.size()) >= exemplars) return chosen;
    size_t farthest = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      distance[i] = std::min(
          distance[i], SquaredDistance(vector_of(points[i]), vector_of(last),
                                       input.dimension));
      if (distance[i] > distance[farthest]) farthest = i;
    }
    if (distance[farthest] == 0) return chosen;
    last = points[farthest];
  }
}

// Centroid, radius and cohesion of the members.
void Summarize(const ClusteringInput& input, Group* group) {
  const int d = input.dimension;
  const auto vector_of = [&input, d](int32_t row) {
    return input.failures.data() + static_cast<size_t>(row) * d;
  };
  std::vector<double> sum(d);
  for (const int32_t row : group->members) {
    for (int i = 0; i < d; ++i) sum[i] += vector_of(row)[i];
  }
  const double count = static_cast<double>(group->members.size());
  group->centroid.resize(d);
  for (int i = 0; i < d; ++i) {
    group->centroid[i] = static_cast<float>(sum[i] / count);
  }

  std::vector<double> distance;
  distance.reserve(group->members.size());
  for (const int32_t row : group->members) {
    distance.push_back(
        SquaredDistance(vector_of(row), group->centroid.data(), d));
  }
  const auto at =
      distance.begin() + static_cast<int64_t>(std::ceil(0.9 * count)) - 1;
  std::nth_element(distance.begin(), at, distance.end());
  group->radius = static_cast<float>(std::sqrt(*at));
  group->cohesion = static_cast<float>(
      std::accumulate(group->strengths.begin(), group->strengths.end(), 0.0) /
      count);
}

bool LargerFirst(const Group& a, const Group& b) {
  return a.members.size() != b.members.size()
             ? a.members.size() > b.members.size()
             : a.members[0] < b.members[0];
}

// Groups of one partition: only who is in them.
struct Draft {
  Group group;
  std::vector<int32_t> points;  // of the members, ascending
  int32_t mode = -1;            // of the partition
};

// Modes that are large enough, largest first.
std::vector<Draft> DraftGroups(const Points& points, const Partition& partition,
                               double least_size) {
  std::vector<Draft> drafts(partition.modes);
  for (size_t i = 0; i < points.point.size(); ++i) {
    const auto row = static_cast<int32_t>(i);
    const int32_t point = points.point[i];
    const int32_t mode = point < 0 ? -1 : partition.mode[point];
    if (mode < 0) continue;
    Draft& draft = drafts[mode];
    const float strength = partition.strength[point];
    if (strength < partition.least_strength || strength <= 0) {
      draft.group.boundary.push_back(row);
      continue;
    }
    draft.mode = mode;
    draft.group.members.push_back(row);
    draft.group.strengths.push_back(strength);
    if (points.first_row[point] == row) draft.points.push_back(point);
  }
  drafts.erase(
      std::remove_if(drafts.begin(), drafts.end(),
                     [least_size](const Draft& draft) {
                       return static_cast<double>(draft.group.members.size()) <
                              least_size;
                     }),
      drafts.end());
  std::sort(drafts.begin(), drafts.end(), [](const Draft& a, const Draft& b) {
    return LargerFirst(a.group, b.group);
  });
  for (Draft& draft : drafts) {
    std::sort(draft.points.begin(), draft.points.end());
  }
  return drafts;
}

const Group& GroupOf(const Group& group) { return group; }
const Group& GroupOf(const Draft& draft) { return draft.group; }

template <typename Groups>
std::vector<int32_t> LabelRows(const Groups& groups, size_t rows) {
  std::vector<int32_t> label(rows, -1);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const int32_t row : GroupOf(groups[g]).members) {
      label[row] = static_cast<int32_t>(g);
    }
  }
  return label;
}

// Largest Jaccard similarity of each group to one of the other labelling.
void CompareGroups(const std::vector<int32_t>& other,
                   std::vector<Draft>* drafts) {
  const int32_t others =
      other.empty() ? 0 : 1 + *std::max_element(other.begin(), other.end());
  std::vector<double> sizes(others);
  for (const int32_t label : other) {
    if (label >= 0) ++sizes[label];
  }
  std::vector<double> shared(others);
  for (Draft& draft : *drafts) {
    std::fill(shared.begin(), shared.end(), 0);
    for (const int32_t row : draft.group.members) {
      if (other[row] >= 0) ++shared[other[row]];
    }
    const auto size = static_cast<double>(draft.group.members.size());
    for (int32_t o = 0; o < others; ++o) {
      draft.group.agreement = std::max(
          draft.group.agreement, shared[o] / (size + sizes[o] - shared[o]));
    }
  }
}

// The point with the most ties inside, the lowest where there are several.
int32_t ChooseMedoid(const std::vector<int32_t>& points,
                     const std::vector<Ties>& ties) {
  return *std::max_element(
      points.begin(), points.end(),
      [&](int32_t a, int32_t b) { return ties[a].inside < ties[b].inside; });
}

// Parts with enough members, where there are two at least.
void DescribeParts(const Points& points, const Partition& partition,
                   const std::vector<Ties>& ties, double least_size,
                   Draft* draft) {
  std::map<int32_t, std::pair<SubMode, std::vector<int32_t>>> parts;
  for (const int32_t row : draft->group.members) {
    const int32_t part = partition.part[points.point[row]];
    if (part >= 0) parts[part].first.members.push_back(row);
  }
  for (const int32_t point : draft->points) {
    const int32_t part = partition.part[point];
    if (part >= 0) parts[part].second.push_back(point);
  }
  for (auto& [part, found] : parts) {
    auto& [sub_mode, members] = found;
    if (static_cast<double>(sub_mode.members.size()) < least_size) continue;
    sub_mode.medoid = points.first_row[ChooseMedoid(members, ties)];
    sub_mode.similarity = partition.part_similarity[part];
    draft->group.sub_modes.push_back(std::move(sub_mode));
  }
  std::vector<SubMode>& found = draft->group.sub_modes;
  if (found.size() < 2) found.clear();
  std::stable_sort(found.begin(), found.end(),
                   [](const SubMode& a, const SubMode& b) {
                     return a.members.size() > b.members.size();
                   });
}

// Everything but the cap.
absl::StatusOr<Clustering> ClusterAll(const ClusteringInput& input,
                                      const ClusterOptions& options) {
  const size_t n = input.failure_row.size();
  Clustering result;
  result.label.assign(n, -1);
  if (n == 0) return result;
  FAULTLINE_ASSIGN_OR_RETURN(const Points points, MakePoints(input, options));
  result.filtered = std::count(points.point.begin(), points.point.end(), -1);
  const size_t kept = n - result.filtered;
  if (kept == 0) return result;

  LeidenOptions leiden;
  leiden.seed = options.seed;
  leiden.resolution = options.resolution;
  if (leiden.resolution == 0) {
    leiden.resolution = n < kFineResolutionBelow ? 1.0 : 0.5;
  }
  const Resampler resampler(input, points, options, leiden.resolution);
  std::vector<int32_t> community;
  HdbscanResult density;
  const auto find_communities = [&] {
    community = Leiden(points.graph, leiden);
  };
  const auto find_density = [&] {
    density = Hdbscan(points.graph, points.copies,
                      DensityOptions(points.copies.size(), kept));
  };
  FAULTLINE_ASSIGN_OR_RETURN(
      std::vector<Replicate> replicates,
      DrawBeside(resampler, Engine::kLeiden, options.threads,
                 {find_communities, find_density}));
  Partition partition = JoinedPartition(points, std::move(community),
                                        replicates, options.join_similarity);
  Partition other_partition = DensePartition(std::move(density));
  const double least_size = LeastSize(n);
  std::vector<Draft> drafts = DraftGroups(points, partition, least_size);
  std::vector<Draft> others = DraftGroups(points, other_partition, least_size);
  switch (options.engine) {
    case Engine::kLeiden:
      break;
    case Engine::kHdbscan: {
      std::swap(drafts, others);
      std::swap(partition, other_partition);
      FAULTLINE_ASSIGN_OR_RETURN(
          replicates,
          DrawBeside(resampler, Engine::kHdbscan, options.threads, {}));
      break;
    }
  }

  result.label = LabelRows(drafts, n);
  const std::vector<int32_t> other_label = LabelRows(others, n);
  std::vector<int32_t> own, other;
  own.reserve(kept);
  other.reserve(kept);
  for (size_t row = 0; row < n; ++row) {
    if (points.point[row] < 0) continue;
    own.push_back(result.label[row]);
    other.push_back(other_label[row]);
  }
  result.agreement = AdjustedRandIndex(own, other);
  CompareGroups(other_label, &drafts);

  std::vector<int32_t> group_of_mode(partition.modes, -1);
  for (size_t g = 0; g < drafts.size(); ++g) {
    group_of_mode[drafts[g].mode] = static_cast<int32_t>(g);
  }
  std::vector<int32_t> group_of_point;
  group_of_point.reserve(partition.mode.size());
  for (const int32_t mode : partition.mode) {
    group_of_point.push_back(mode < 0 ? -1 : group_of_mode[mode]);
  }
  const std::vector<double> stability =
      MeasureStability(group_of_point, static_cast<int32_t>(drafts.size()),
                       points.copies, replicates);

  const std::vector<Ties> ties =
      CountTies(points.graph, partition.mode, points.copies);
  const std::vector<Ties> part_ties =
      CountTies(points.graph, partition.part, points.copies);
  base::ParallelFor(drafts.size(), options.threads, [&](size_t g) {
    Draft& draft = drafts[g];
    Group& group = draft.group;
    group.stability = stability[g];
    DescribeParts(points, partition, part_ties, least_size, &draft);
    const int32_t medoid = ChooseMedoid(draft.points, ties);
    group.medoid = points.first_row[medoid];
    group.exemplars = ChooseExemplars(input, std::move(draft.points), medoid,
                                      points, ties, options.exemplars);
    Summarize(input, &group);
  });
  result.groups.reserve(drafts.size());
  for (Draft& draft : drafts) {
    result.boundary += draft.group.boundary.size();
    std::stable_sort(draft.group.boundary.begin(), draft.group.boundary.end(),
                     [&](int32_t a, int32_t b) {
                       return partition.strength[points.point[a]] >
                              partition.strength[points.point[b]];
                     });
    result.groups.push_back(std::move(draft.group));
  }
  return result;
}

// A random part of `rows`, at most `most` of them, ascending: of each stratum
// its share, rounded by largest remainder. `stratum` is by row; empty: one.
std::vector<int32_t> SampleByStratum(const std::vector<int32_t>& rows,
                                     absl::Span<const uint64_t> stratum,
                                     size_t most, uint64_t seed) {
  if (rows.size() <= most) return rows;
  std::map<uint64_t, std::vector<int32_t>> strata;
  for (const int32_t row : rows) {
    strata[stratum.empty() ? 0 : stratum[row]].push_back(row);
  }
  std::vector<std::pair<double, uint64_t>> remainders;  // negative, stratum
  std::map<uint64_t, size_t> quota;
  size_t left = most;
  for (const auto& [key, members] : strata) {
    const double share = static_cast<double>(most) *
                         static_cast<double>(members.size()) /
                         static_cast<double>(rows.size());
    quota[key] = static_cast<size_t>(share);
    left -= quota[key];
    remainders.emplace_back(std::floor(share) - share, key);
  }
  std::sort(remainders.begin(), remainders.end());
  for (size_t i = 0; i < left; ++i) ++quota[remainders[i].second];

  base::Random random(seed);
  std::vector<int32_t> sample;
  sample.reserve(most);
  for (auto& [key, members] : strata) {
    random.Shuffle(&members);
    sample.insert(sample.end(), members.begin(),
                  members.begin() + static_cast<int64_t>(quota[key]));
  }
  std::sort(sample.begin(), sample.end());
  return sample;
}

std::vector<float> CopyRows(absl::Span<const float> matrix, int d,
                            const std::vector<int32_t>& rows) {
  std::vector<float> copy;
  copy.reserve(rows.size() * d);
  for (const int32_t row : rows) {
    const auto from = matrix.subspan(static_cast<size_t>(row) * d, d);
    copy.insert(copy.end(), from.begin(), from.end());
  }
  return copy;
}

void MapRows(const std::vector<int32_t>& to, std::vector<int32_t>* rows) {
  for (int32_t& row : *rows) row = to[row];
}

// Clusters a sample and lets it vote for the rest.
absl::StatusOr<Clustering> ClusterSample(const ClusteringInput& input,
                                         const ClusterOptions& options) {
  const int d = input.dimension;
  const size_t n = input.failure_row.size();
  std::vector<int32_t> failures(n);
  std::iota(failures.begin(), failures.end(), 0);
  failures = SampleByStratum(failures, input.failure_stratum,
                             options.max_failures, options.seed);
  const std::vector<float> vectors = CopyRows(input.failures, d, failures);
  std::vector<float> pooled;
  ClusteringInput sample;
  sample.dimension = d;
  sample.failures = vectors;
  if (input.reference != nullptr) {
    sample.reference = input.reference;
    sample.pooled_failed = input.pooled_failed;
    for (const int32_t row : failures) {
      sample.failure_row.push_back(input.failure_row[row]);
    }
  } else {
    std::vector<int32_t> successes;
    for (size_t row = 0; row < input.pooled_failed.size(); ++row) {
      if (!input.pooled_failed[row]) {
        successes.push_back(static_cast<int32_t>(row));
      }
    }
    successes =
        SampleByStratum(successes, {}, options.max_successes, options.seed);
    std::vector<int32_t> pooled_rows;
    pooled_rows.reserve(failures.size() + successes.size());
    for (const int32_t row : failures) {
      pooled_rows.push_back(input.failure_row[row]);
    }
    pooled_rows.insert(pooled_rows.end(), successes.begin(), successes.end());
    pooled = CopyRows(input.pooled, d, pooled_rows);
    sample.pooled = pooled;
    sample.pooled_failed.assign(pooled_rows.size(), false);
    sample.failure_row.resize(failures.size());
    std::iota(sample.failure_row.begin(), sample.failure_row.end(), 0);
    std::fill_n(sample.pooled_failed.begin(), failures.size(), true);
  }
  FAULTLINE_ASSIGN_OR_RETURN(Clustering result, ClusterAll(sample, options));
  if (failures.size() == n) return result;

  std::vector<bool> sampled(n);
  for (const int32_t row : failures) sampled[row] = true;
  std::vector<int32_t> rest;
  rest.reserve(n - failures.size());
  for (size_t row = 0; row < n; ++row) {
    if (!sampled[row]) rest.push_back(static_cast<int32_t>(row));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const Votes votes,
      VoteByNeighbors(vectors, result.label,
                      static_cast<int>(result.groups.size()),
                      CopyRows(input.failures, d, rest), d, options.threads));
  result.assigned = rest.size();
  std::vector<std::vector<std::pair<int32_t, float>>> joining(
      result.groups.size());
  for (size_t i = 0; i < rest.size(); ++i) {
    if (votes.mode[i] < 0) continue;
    joining[votes.mode[i]].emplace_back(rest[i], votes.share[i]);
  }
  for (size_t g = 0; g < result.groups.size(); ++g) {
    Group& group = result.groups[g];
    MapRows(failures, &group.members);
    MapRows(failures, &group.exemplars);
    MapRows(failures, &group.boundary);
    group.medoid = failures[group.medoid];
    for (SubMode& part : group.sub_modes) {
      MapRows(failures, &part.members);
      part.medoid = failures[part.medoid];
    }
    std::vector<std::pair<int32_t, float>>& members = joining[g];
    members.reserve(members.size() + group.members.size());
    for (size_t i = 0; i < group.members.size(); ++i) {
      members.emplace_back(group.members[i], group.strengths[i]);
    }
    std::sort(members.begin(), members.end());
    group.members.clear();
    group.strengths.clear();
    for (const auto& [row, strength] : members) {
      group.members.push_back(row);
      group.strengths.push_back(strength);
    }
    Summarize(input, &group);
  }
  std::sort(result.groups.begin(), result.groups.end(), LargerFirst);
  result.label = LabelRows(result.groups, n);
  return result;
}

}  // namespace

absl::StatusOr<Clustering> ClusterFailures(const ClusteringInput& input,
                                           const ClusterOptions& options) {
  FAULTLINE_RETURN_IF_ERROR(Check(input));
  const size_t failures = input.failure_row.size();
  const size_t successes =
      std::count(input.pooled_failed.begin(), input.pooled_failed.end(), false);
  const bool many_successes =
      input.reference == nullptr && successes > options.max_successes;
  return failures > options.max_failures || many_successes
             ? ClusterSample(input, options)
             : ClusterAll(input, options);
}

}  // namespace faultline::cluster
