#include "lib/cluster/snn_graph.h"

#include <algorithm>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

space::KnnGraph MakeKnn(int k, std::vector<int32_t> neighbors) {
  space::KnnGraph knn;
  knn.k = k;
  knn.neighbors = std::move(neighbors);
  knn.distances.resize(knn.neighbors.size());
  return knn;
}

TEST(SnnNeighbors, FollowsTheFormula) {
  EXPECT_EQ(SnnNeighbors(0), 0);
  EXPECT_EQ(SnnNeighbors(1), 0);
  EXPECT_EQ(SnnNeighbors(2), 1);
  EXPECT_EQ(SnnNeighbors(13), 12);
  EXPECT_EQ(SnnNeighbors(300), 12);
  EXPECT_EQ(SnnNeighbors(1000), 15);
  EXPECT_EQ(SnnNeighbors(10000), 34);
  EXPECT_EQ(SnnNeighbors(1000000), 64);
}

TEST(BuildSnnGraph, WeighsByJaccardOfNeighborhoods) {
  // 0 and 1 have each other and 2; 2 has 0 and 3; 3 has 2 only.
  const Graph graph = BuildSnnGraph(MakeKnn(2, {1, 2,  //
                                                0, 2,  //
                                                0, 3,  //
                                                2, -1}),
                                    1);
  // {0,1,2}, {0,1,2}, {0,2,3}, {2,3}.
  EXPECT_THAT(graph.row_begin, ElementsAre(0, 2, 4, 7, 8));
  EXPECT_THAT(graph.column, ElementsAre(1, 2, 0, 2, 0, 1, 3, 2));
  EXPECT_THAT(
      graph.weight,
      ElementsAre(FloatNear(1, 1e-6), FloatNear(.5, 1e-6), FloatNear(1, 1e-6),
                  FloatNear(.5, 1e-6), FloatNear(.5, 1e-6), FloatNear(.5, 1e-6),
                  FloatNear(2. / 3, 1e-6), FloatNear(2. / 3, 1e-6)));
}

TEST(BuildSnnGraph, IsSymmetricAndTheSameWithAnyNumberOfThreads) {
  base::Random random(1);
  const int32_t n = 300;
  const int k = 9;
  std::vector<int32_t> neighbors;
  for (int32_t v = 0; v < n; ++v) {
    std::set<int32_t> row;
    while (row.size() < k) {
      const auto u = static_cast<int32_t>(random.Below(n));
      if (u != v) row.insert(u);
    }
    neighbors.insert(neighbors.end(), row.begin(), row.end());
  }
  const space::KnnGraph knn = MakeKnn(k, neighbors);
  const Graph graph = BuildSnnGraph(knn, 1);
  for (int32_t v = 0; v < n; ++v) {
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      const int32_t u = graph.column[e];
      const auto begin = graph.column.begin() + graph.row_begin[u];
      const auto end = graph.column.begin() + graph.row_begin[u + 1];
      ASSERT_TRUE(std::is_sorted(begin, end));
      const auto back = std::lower_bound(begin, end, v);
      ASSERT_TRUE(back != end && *back == v);
      EXPECT_EQ(graph.weight[back - graph.column.begin()], graph.weight[e]);
    }
  }
  for (const int threads : {2, 7, 1000}) {
    const Graph other = BuildSnnGraph(knn, threads);
    EXPECT_EQ(graph.row_begin, other.row_begin);
    EXPECT_EQ(graph.column, other.column);
    EXPECT_EQ(graph.weight, other.weight);
  }
}

TEST(BuildSnnGraph, OfNothingIsEmpty) {
  EXPECT_EQ(BuildSnnGraph(MakeKnn(12, {}), 2).size(), 0);
}

}  // namespace
}  // namespace faultline::cluster
