#include "lib/cluster/hdbscan.h"

#include <map>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::cluster {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::IsEmpty;

// Cliques of the given sizes and inner weights, one after the other; then the
// edges of `bridges`.
struct Clique {
  int32_t size;
  float weight;
};
using Edges = std::map<std::pair<int32_t, int32_t>, float>;

Graph MakeGraph(const std::vector<Clique>& cliques, const Edges& bridges,
                int32_t loners = 0) {
  std::vector<std::map<int32_t, float>> rows;
  for (const Clique& clique : cliques) {
    const auto begin = static_cast<int32_t>(rows.size());
    rows.resize(begin + clique.size);
    for (int32_t a = begin; a < begin + clique.size; ++a) {
      for (int32_t b = begin; b < begin + clique.size; ++b) {
        if (a != b) rows[a][b] = clique.weight;
      }
    }
  }
  rows.resize(rows.size() + loners);
  for (const auto& [ends, weight] : bridges) {
    rows[ends.first][ends.second] = rows[ends.second][ends.first] = weight;
  }
  Graph graph;
  graph.row_begin = {0};
  for (const auto& row : rows) {
    for (const auto& [column, weight] : row) {
      graph.column.push_back(column);
      graph.weight.push_back(weight);
    }
    graph.row_begin.push_back(static_cast<int64_t>(graph.column.size()));
  }
  return graph;
}

HdbscanResult Cluster(const Graph& graph, double min_cluster_size = 4) {
  return Hdbscan(graph, std::vector<int64_t>(graph.size(), 1),
                 {.min_samples = 3, .min_cluster_size = min_cluster_size});
}

TEST(Hdbscan, FindsDenseRegionsAndLeavesTheRest) {
  const Graph graph =
      MakeGraph({{5, .8f}, {6, .6f}}, {{{4, 5}, .1f}, {{0, 11}, .2f}}, 2);
  const HdbscanResult result = Cluster(graph);
  EXPECT_THAT(result.label,
              ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, -1, -1));
  EXPECT_EQ(result.strength[0], 1);
  EXPECT_EQ(result.strength[11], 0);
}

TEST(Hdbscan, RegionsWithoutAnyTieAreApart) {
  const HdbscanResult result = Cluster(MakeGraph({{5, .5f}, {5, .5f}}, {}));
  EXPECT_THAT(result.label, ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1, 1));
}

TEST(Hdbscan, TooSmallRegionsAreNoise) {
  const HdbscanResult result =
      Cluster(MakeGraph({{5, .8f}, {5, .8f}, {3, .9f}}, {}));
  EXPECT_THAT(result.label,
              ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, -1, -1, -1));
}

TEST(Hdbscan, AClusterThatPartsLateKeepsItsParts) {
  // Two cliques of .8, tied by .7 at three points; and one far away.
  const Graph graph = MakeGraph({{6, .8f}, {6, .8f}, {6, .8f}},
                                {{{3, 6}, .7f}, {{4, 7}, .7f}, {{5, 8}, .7f}});
  const HdbscanResult result = Cluster(graph);
  EXPECT_THAT(result.label, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  //
                                        1, 1, 1, 1, 1, 1));
  EXPECT_THAT(result.part, ElementsAre(0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1,  //
                                       2, 2, 2, 2, 2, 2));
  EXPECT_THAT(result.part_label, ElementsAre(0, 0, 1));
  EXPECT_THAT(result.strength, Each(Gt(.9)));
}

TEST(Hdbscan, CopiesAreADenseRegion) {
  // Node 10 stands for 20 runs and is tied to nothing.
  const Graph graph = MakeGraph({{5, .8f}, {5, .8f}}, {}, 1);
  std::vector<int64_t> copies(11, 1);
  copies[10] = 20;
  const HdbscanResult result =
      Hdbscan(graph, copies, {.min_samples = 3, .min_cluster_size = 4});
  EXPECT_THAT(result.label, ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2));
}

TEST(Hdbscan, HandlesTheSmallest) {
  EXPECT_THAT(Cluster(MakeGraph({}, {})).label, IsEmpty());
  EXPECT_THAT(Cluster(MakeGraph({}, {}, 1)).label, ElementsAre(-1));
  EXPECT_THAT(Cluster(MakeGraph({{3, .5f}}, {})).label,
              ElementsAre(-1, -1, -1));
  // One point in many copies is all that there is.
  EXPECT_THAT(Hdbscan(MakeGraph({}, {}, 1), std::vector<int64_t>{50}, {}).label,
              ElementsAre(0));
}

}  // namespace
}  // namespace faultline::cluster
