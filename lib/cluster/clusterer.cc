#include "lib/cluster/clusterer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/duplicates.h"
#include "lib/cluster/leiden.h"
#include "lib/cluster/snn_graph.h"
#include "lib/space/knn_graph.h"
#include "lib/stats/contingency.h"

namespace faultline::cluster {
namespace {

// Share of a member's ties that must lie inside its group.
constexpr double kLeastStrength = 0.5;
constexpr size_t kFineResolutionBelow = 800;

absl::Status Check(const ClusteringInput& input) {
  if (input.dimension < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("dimension must be positive, is ", input.dimension));
  }
  const size_t d = input.dimension;
  const size_t n = input.failures.size() / d;
  const size_t m = input.pooled.size() / d;
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

// Rows of the failures whose surroundings fail more than the pooled share
// explains (METHODS 2.1, step 2). The runs nearest to a failure are those at
// its own point, then those at the nearest points; of the last point only as
// many count as are needed, at the point's average.
absl::StatusOr<std::vector<int32_t>> EnrichedFailures(
    const ClusteringInput& input, const ClusterOptions& options) {
  const size_t n = input.failure_row.size();
  std::vector<int32_t> kept(n);
  std::iota(kept.begin(), kept.end(), 0);
  const size_t m = input.pooled_failed.size();
  const auto failed =
      std::count(input.pooled_failed.begin(), input.pooled_failed.end(), true);
  if (n < options.min_failures_to_filter || failed == static_cast<int64_t>(m)) {
    return kept;
  }

  const int d = input.dimension;
  const Folding folding = FoldDuplicates(input.pooled, d);
  std::vector<Census> census(folding.first_row.size());
  for (size_t row = 0; row < m; ++row) {
    Census& here = census[folding.point[row]];
    ++here.runs;
    here.failed += input.pooled_failed[row];
  }
  std::vector<int32_t> asked;  // located points with a failure
  std::vector<float> queries;
  for (int32_t point = 0; point < folding.located; ++point) {
    if (census[point].failed == 0) continue;
    asked.push_back(point);
    const auto vector =
        folding.vectors.begin() + static_cast<int64_t>(point) * d;
    queries.insert(queries.end(), vector, vector + d);
  }
  // One more than needed: a point is its own nearest neighbour here.
  FAULTLINE_ASSIGN_OR_RETURN(
      const space::KnnGraph knn,
      space::SearchKnn(folding.vectors, queries, d,
                       options.filter_neighbors + 1, NeighborOptions(options)));

  const double share = static_cast<double>(failed) / static_cast<double>(m);
  const auto enriched = [&](int32_t point, absl::Span<const int32_t> near) {
    int64_t runs = census[point].runs - 1;
    double failures = static_cast<double>(census[point].failed - 1);
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
    return stats::BinomialTail(runs, share, std::llround(failures)) <=
           options.filter_tail;
  };
  std::vector<bool> keep(folding.first_row.size());
  for (size_t i = 0; i < asked.size(); ++i) {
    keep[asked[i]] = enriched(
        asked[i], absl::MakeConstSpan(knn.neighbors).subspan(i * knn.k, knn.k));
  }
  if (static_cast<size_t>(folding.located) < census.size()) {
    keep[folding.located] =
        census[folding.located].failed > 0 && enriched(folding.located, {});
  }
  kept.erase(
      std::remove_if(kept.begin(), kept.end(),
                     [&](int32_t row) {
                       return !keep[folding.point[input.failure_row[row]]];
                     }),
      kept.end());
  return kept;
}

// Ties of a point: to its community and in all. Copies of a run are tied to
// each other with weight 1.
struct Ties {
  double inside = 0;
  double all = 0;
  double Strength() const { return all > 0 ? inside / all : 0; }
};

std::vector<Ties> CountTies(const Graph& graph,
                            const std::vector<int32_t>& community,
                            const std::vector<int64_t>& copies) {
  std::vector<Ties> ties(graph.size());
  for (int32_t v = 0; v < graph.size(); ++v) {
    ties[v].inside = ties[v].all = static_cast<double>(copies[v] - 1);
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      ties[v].all += graph.weight[e];
      if (community[graph.column[e]] == community[v]) {
        ties[v].inside += graph.weight[e];
      }
    }
  }
  return ties;
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
                                     int32_t medoid, const Folding& folding,
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
           static_cast<size_t>(folding.first_row[point]) * input.dimension;
  };
  std::vector<int32_t> chosen;
  int32_t last = medoid;
  while (true) {
    chosen.push_back(folding.first_row[last]);
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

}  // namespace

absl::StatusOr<Clustering> ClusterFailures(const ClusteringInput& input,
                                           const ClusterOptions& options) {
  FAULTLINE_RETURN_IF_ERROR(Check(input));
  const int d = input.dimension;
  const size_t n = input.failure_row.size();
  Clustering result;
  result.label.assign(n, -1);
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<int32_t> kept,
                             EnrichedFailures(input, options));
  result.filtered = n - kept.size();
  if (kept.empty()) return result;

  const Folding folding = FoldDuplicates(input.failures, d, kept);
  const int32_t points = static_cast<int32_t>(folding.first_row.size());
  Graph graph;
  graph.row_begin = {0};
  if (const int k = SnnNeighbors(folding.located); k > 0) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const space::KnnGraph knn,
        space::BuildKnnGraph(folding.vectors, d, k, NeighborOptions(options)));
    graph = BuildSnnGraph(knn, options.threads);
  }
  // What has no neighbour is a node without edges.
  graph.row_begin.resize(points + 1, graph.row_begin.back());

  LeidenOptions leiden;
  leiden.seed = options.seed;
  leiden.resolution = options.resolution;
  if (leiden.resolution == 0) {
    leiden.resolution = n < kFineResolutionBelow ? 1.0 : 0.5;
  }
  const std::vector<int32_t> community = Leiden(graph, leiden);
  std::vector<int64_t> copies(points);
  for (const int32_t point : folding.point) ++copies[point];
  const std::vector<Ties> ties = CountTies(graph, community, copies);

  // Members and points of each community, both ascending.
  const int32_t communities =
      1 + *std::max_element(community.begin(), community.end());
  struct Draft {
    Group group;
    std::vector<int32_t> points;
  };
  std::vector<Draft> drafts(communities);
  for (size_t i = 0; i < kept.size(); ++i) {
    const int32_t point = folding.point[i];
    const double strength = ties[point].Strength();
    if (strength < kLeastStrength) continue;
    Draft& draft = drafts[community[point]];
    draft.group.members.push_back(kept[i]);
    draft.group.strengths.push_back(static_cast<float>(strength));
    if (folding.first_row[point] == kept[i]) draft.points.push_back(point);
  }
  const double least_size =
      std::max(10.0, 0.5 * std::sqrt(static_cast<double>(n)));
  drafts.erase(
      std::remove_if(drafts.begin(), drafts.end(),
                     [least_size](const Draft& draft) {
                       return static_cast<double>(draft.group.members.size()) <
                              least_size;
                     }),
      drafts.end());
  std::sort(drafts.begin(), drafts.end(), [](const Draft& a, const Draft& b) {
    const auto& x = a.group.members;
    const auto& y = b.group.members;
    return x.size() != y.size() ? x.size() > y.size() : x[0] < y[0];
  });

  for (Draft& draft : drafts) {
    Group& group = draft.group;
    const int32_t medoid = *std::max_element(
        draft.points.begin(), draft.points.end(),
        [&](int32_t a, int32_t b) { return ties[a].inside < ties[b].inside; });
    group.medoid = folding.first_row[medoid];
    group.exemplars = ChooseExemplars(input, std::move(draft.points), medoid,
                                      folding, ties, options.exemplars);
    Summarize(input, &group);
    for (const int32_t row : group.members) {
      result.label[row] = static_cast<int32_t>(result.groups.size());
    }
    result.groups.push_back(std::move(group));
  }
  return result;
}

}  // namespace faultline::cluster
