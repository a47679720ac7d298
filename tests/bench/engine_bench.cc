// Seconds of each stage of clustering, and recall of the neighbour graph, at a
// number of failures:
//   engine_bench [--threads=N] [--dimension=D] [--whole_only] [POINTS...]
//
// Failures are bags of tokens in two blocks: 70 % of them of 12 planted modes.

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <vector>

#include "CLI/CLI.hpp"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/cluster/clusterer.h"
#include "lib/cluster/duplicates.h"
#include "lib/cluster/leiden.h"
#include "lib/cluster/snn_graph.h"
#include "lib/space/blas.h"
#include "lib/space/knn_graph.h"
#include "tests/unit/cluster/planted_world.h"

namespace faultline::bench {
namespace {

constexpr int kModes = 12;
constexpr double kPlantedShare = .7;
constexpr double kSignature = .8;
constexpr int kRecallNeighbors = 30;
constexpr size_t kRecallQueries = 1000;

// Processor seconds of this process, all threads: what the wall clock cannot
// tell on a busy machine.
double CpuSeconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

// Runs `work`, prints its seconds.
template <typename Work>
void Timed(size_t points, const char* name, const Work& work) {
  const base::Clock* const clock = base::Clock::System();
  const absl::Duration begin = clock->SteadyNow();
  const double cpu_begin = CpuSeconds();
  work();
  std::printf("%9zu  %-12s %8.3f s  (cpu %.3f s)\n", points, name,
              absl::ToDoubleSeconds(clock->SteadyNow() - begin),
              CpuSeconds() - cpu_begin);
  std::fflush(stdout);
}

// Share of the true neighbours of a sample of points that the graph has.
double Recall(const cluster::Folding& folding, int d,
              const space::KnnGraph& graph, int threads) {
  const size_t n = folding.located;
  std::vector<int32_t> sample(n);
  std::iota(sample.begin(), sample.end(), 0);
  base::Random random(7);
  random.Shuffle(&sample);
  sample.resize(std::min(n, kRecallQueries));
  std::vector<float> queries;
  queries.reserve(sample.size() * d);
  for (const int32_t point : sample) {
    const auto row = folding.vectors.begin() + static_cast<int64_t>(point) * d;
    queries.insert(queries.end(), row, row + d);
  }
  space::KnnOptions exact;
  exact.exact_limit = n;
  exact.threads = threads;
  const auto truth = space::SearchKnn(folding.vectors, queries, d,
                                      kRecallNeighbors + 1, exact);
  if (!truth.ok()) return 0;
  double found = 0;
  for (size_t i = 0; i < sample.size(); ++i) {
    const int32_t* row =
        graph.neighbors.data() + static_cast<int64_t>(sample[i]) * graph.k;
    // What is as near as the last true neighbour is as good.
    const float bound =
        truth->distances[i * truth->k + kRecallNeighbors] * 1.00001f + 1e-6f;
    const float* distances =
        graph.distances.data() + static_cast<int64_t>(sample[i]) * graph.k;
    for (int j = 0; j < kRecallNeighbors && row[j] >= 0; ++j) {
      found += distances[j] <= bound ? 1 : 0;
    }
  }
  return found / static_cast<double>(sample.size() * kRecallNeighbors);
}

// Each stage by itself; false where one fails.
bool RunStages(const cluster::PlantedWorld& world, int threads) {
  const size_t n = world.failure_row.size();
  const int d = world.dimension;
  cluster::Folding folding;
  Timed(n, "fold",
        [&] { folding = cluster::FoldDuplicates(world.failures, d); });
  const int k = cluster::SnnNeighbors(folding.located);
  space::KnnOptions options;
  options.threads = threads;
  absl::StatusOr<space::KnnGraph> knn;
  Timed(n, "knn",
        [&] { knn = space::BuildKnnGraph(folding.vectors, d, k, options); });
  if (!knn.ok()) {
    std::fprintf(stderr, "%s\n", knn.status().ToString().c_str());
    return false;
  }
  std::printf("%9zu  k %d, recall@%d %.3f, %d distinct points\n", n, k,
              kRecallNeighbors, Recall(folding, d, *knn, threads),
              folding.located);
  cluster::Graph graph;
  Timed(n, "snn", [&] { graph = cluster::BuildSnnGraph(*knn, threads); });
  std::vector<int32_t> community;
  Timed(n, "leiden", [&] { community = cluster::Leiden(graph, {}); });
  std::printf("%9zu  %zu edges, %d communities\n", n, graph.column.size() / 2,
              1 + *std::max_element(community.begin(), community.end()));
  return true;
}

int Run(size_t n, int d, int threads, bool whole_only) {
  base::Random random(1);
  const int per_mode = static_cast<int>(kPlantedShare * n / kModes);
  const cluster::PlantedWorld world = cluster::MakeTokenWorld(
      kModes, per_mode, static_cast<int>(n) - kModes * per_mode,
      /*successes=*/0, kSignature, d, &random);

  if (!whole_only && !RunStages(world, threads)) return 1;

  absl::StatusOr<cluster::Clustering> clustering;
  cluster::ClusterOptions whole;
  whole.threads = threads;
  Timed(n, "whole",
        [&] { clustering = cluster::ClusterFailures(world.Input(), whole); });
  if (!clustering.ok()) {
    std::fprintf(stderr, "%s\n", clustering.status().ToString().c_str());
    return 1;
  }
  std::printf("%9zu  %zu groups, ARI %.3f, engines agree %.3f, %zu between\n",
              n, clustering->groups.size(),
              cluster::PlantedAgreement(world.mode, clustering->label),
              clustering->agreement, clustering->boundary);
  for (const cluster::Group& group : clustering->groups) {
    std::printf("%9zu    group of %zu, %zu parts, stability %.2f\n", n,
                group.members.size(), group.sub_modes.size(), group.stability);
  }
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app("Seconds of each stage of clustering.");
  int threads = 2;
  int dimension = 256;
  bool whole_only = false;
  std::vector<size_t> sizes = {10000, 100000};
  app.add_option("--threads", threads, "Threads")->check(CLI::Range(1, 64));
  app.add_option("--dimension", dimension, "Length of a vector")
      ->check(CLI::Range(8, 1024));
  app.add_flag("--whole_only", whole_only, "Leave out the stages");
  app.add_option("points", sizes, "Failures")->check(CLI::Range(100, 2000000));
  CLI11_PARSE(app, argc, argv);
  for (const size_t size : sizes) {
    if (const int code = Run(size, dimension, threads, whole_only); code != 0)
      return code;
  }
  return 0;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) {
  faultline::space::ChooseBlasKernels(argv);
  return faultline::bench::Main(argc, argv);
}
