#include "lib/space/knn_graph.h"

#include <cstdlib>
#include <limits>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/space/planted_points.h"

namespace faultline::space {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kD = 24;

// Share of the true neighbours of every `step`-th query that the graph has.
double Recall(const KnnGraph& graph, const std::vector<float>& points,
              const std::vector<float>& queries, int d, bool exclude_self,
              size_t step) {
  size_t found = 0;
  size_t wanted = 0;
  for (size_t i = 0; i < queries.size() / d; i += step) {
    const std::set<int32_t> neighbors(
        graph.neighbors.begin() + i * graph.k,
        graph.neighbors.begin() + (i + 1) * graph.k);
    for (const auto& [distance, row] :
         BruteForce(points, &queries[i * d], d, graph.k,
                    exclude_self ? static_cast<int32_t>(i) : -1)) {
      found += neighbors.count(row);
      ++wanted;
    }
  }
  return static_cast<double>(found) / static_cast<double>(wanted);
}

TEST(KnnGraphTest, ExactGraphEqualsBruteForce) {
  // More than one block of queries and of points.
  const std::vector<float> points = PlantedPoints(1300, kD, 10, 1);
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       BuildKnnGraph(points, kD, 7, KnnOptions()));
  ASSERT_THAT(graph.neighbors, SizeIs(1300 * 7));
  for (int32_t i = 0; i < 1300; i += 13) {
    const auto expected = BruteForce(points, &points[i * kD], kD, 7, i);
    for (int j = 0; j < 7; ++j) {
      EXPECT_EQ(graph.neighbors[i * 7 + j], expected[j].second);
      EXPECT_NEAR(graph.distances[i * 7 + j], expected[j].first, 1e-3);
    }
  }
}

TEST(KnnGraphTest, SearchEqualsBruteForceAndMayFindTheQueryItself) {
  const std::vector<float> points = PlantedPoints(500, kD, 10, 1);
  std::vector<float> queries = PlantedPoints(40, kD, 10, 2);
  queries.insert(queries.end(), points.begin(), points.begin() + kD);
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       SearchKnn(points, queries, kD, 5, KnnOptions()));
  EXPECT_EQ(Recall(graph, points, queries, kD, /*exclude_self=*/false, 1), 1);
  EXPECT_EQ(graph.neighbors[40 * 5], 0);
  EXPECT_EQ(graph.distances[40 * 5], 0);
}

TEST(KnnGraphTest, PadsWhereThereAreTooFewPoints) {
  const std::vector<float> points = {0, 0, 3, 4};
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       BuildKnnGraph(points, 2, 3, KnnOptions()));
  EXPECT_THAT(graph.neighbors, ElementsAre(1, -1, -1, 0, -1, -1));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(graph.distances,
              ElementsAre(25, kInfinity, kInfinity, 25, kInfinity, kInfinity));
}

TEST(KnnGraphTest, EmptyInputGivesAnEmptyGraph) {
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       BuildKnnGraph({}, 2, 3, KnnOptions()));
  EXPECT_THAT(graph.neighbors, SizeIs(0));
  const std::vector<float> query = {0, 0};
  ASSERT_OK_AND_ASSIGN(const KnnGraph found,
                       SearchKnn({}, query, 2, 3, KnnOptions()));
  EXPECT_THAT(found.neighbors, Each(-1));
}

TEST(KnnGraphTest, DuplicatesAreAtDistanceZeroAndTieByRow) {
  std::vector<float> points = PlantedPoints(1, kD, 1, 3);
  for (int i = 0; i < 9; ++i) {
    points.insert(points.end(), points.begin(), points.begin() + kD);
  }
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       BuildKnnGraph(points, kD, 3, KnnOptions()));
  EXPECT_THAT(graph.distances, Each(0));
  EXPECT_THAT(std::vector<int32_t>(graph.neighbors.begin() + 3,
                                   graph.neighbors.begin() + 6),
              ElementsAre(0, 2, 3));
  EXPECT_THAT(
      std::vector<int32_t>(graph.neighbors.end() - 3, graph.neighbors.end()),
      ElementsAre(0, 1, 2));
}

TEST(KnnGraphTest, BucketsFindMostNeighbors) {
  const std::vector<float> points = PlantedPoints(6000, kD, 60, 4);
  const KnnOptions options{.exact_limit = 1000, .probes = 8};
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       BuildKnnGraph(points, kD, 10, options));
  EXPECT_GE(Recall(graph, points, points, kD, /*exclude_self=*/true, 40), 0.9);
  for (int32_t i = 0; i < 6000; ++i) {
    for (int j = 0; j < 10; ++j) EXPECT_NE(graph.neighbors[i * 10 + j], i);
    for (int j = 1; j < 10; ++j) {
      EXPECT_LE(graph.distances[i * 10 + j - 1], graph.distances[i * 10 + j]);
    }
  }
  const std::vector<float> queries = PlantedPoints(700, kD, 60, 4);
  ASSERT_OK_AND_ASSIGN(const KnnGraph found,
                       SearchKnn(points, queries, kD, 10, options));
  EXPECT_GE(Recall(found, points, queries, kD, /*exclude_self=*/false, 7), 0.9);
}

TEST(KnnGraphTest, ManyBucketsFindMostNeighborsToo) {
  // So many that the centres are in buckets themselves.
  constexpr int kFew = 4;
  const std::vector<float> points = PlantedPoints(110000, kFew, 900, 8);
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       BuildKnnGraph(points, kFew, 5, {.probes = 8}));
  EXPECT_GE(Recall(graph, points, points, kFew, /*exclude_self=*/true, 1999),
            0.9);
}

TEST(KnnGraphTest, OrderPutsNeighborsTogether) {
  const std::vector<float> points = PlantedPoints(6000, kD, 60, 4);
  ASSERT_OK_AND_ASSIGN(
      const KnnGraph graph,
      BuildKnnGraph(points, kD, 10, {.exact_limit = 1000, .probes = 8}));
  ASSERT_THAT(graph.order, SizeIs(6000));
  std::vector<int32_t> place(6000, -1);
  for (int32_t i = 0; i < 6000; ++i) place[graph.order[i]] = i;
  EXPECT_THAT(place, Each(Ge(0)));
  int near = 0;
  for (int32_t i = 0; i < 6000; ++i) {
    near += std::abs(place[i] - place[graph.neighbors[i * 10]]) < 300 ? 1 : 0;
  }
  EXPECT_GE(near, 4500);
  ASSERT_OK_AND_ASSIGN(const KnnGraph small, BuildKnnGraph(points, kD, 10, {}));
  EXPECT_THAT(small.order, IsEmpty());
}

TEST(KnnGraphTest, AllBucketsFindEveryNeighbor) {
  const std::vector<float> points = PlantedPoints(2500, kD, 20, 5);
  ASSERT_OK_AND_ASSIGN(
      const KnnGraph graph,
      BuildKnnGraph(points, kD, 10, {.exact_limit = 100, .probes = 1000}));
  EXPECT_EQ(Recall(graph, points, points, kD, /*exclude_self=*/true, 25), 1);
}

TEST(KnnGraphTest, QueriesMayBeAPartOfThePoints) {
  const std::vector<float> points = PlantedPoints(2500, kD, 20, 5);
  const auto queries = absl::MakeConstSpan(points).subspan(0, 50 * kD);
  ASSERT_OK_AND_ASSIGN(const KnnGraph graph,
                       SearchKnn(points, queries, kD, 1, {.exact_limit = 100}));
  ASSERT_THAT(graph.neighbors, SizeIs(50));
  for (int32_t i = 0; i < 50; ++i) EXPECT_EQ(graph.neighbors[i], i);
}

TEST(KnnGraphTest, ThreadsDoNotChangeTheResult) {
  const std::vector<float> points = PlantedPoints(3000, kD, 30, 6);
  for (const size_t exact_limit : {100, 10000}) {
    KnnOptions options{.exact_limit = exact_limit, .probes = 4, .threads = 1};
    ASSERT_OK_AND_ASSIGN(const KnnGraph one,
                         BuildKnnGraph(points, kD, 10, options));
    for (const int threads : {2, 3}) {
      options.threads = threads;
      ASSERT_OK_AND_ASSIGN(const KnnGraph many,
                           BuildKnnGraph(points, kD, 10, options));
      EXPECT_EQ(one.neighbors, many.neighbors);
      EXPECT_EQ(one.distances, many.distances);
    }
  }
}

TEST(KnnGraphTest, RefusesBadInput) {
  const std::vector<float> points = {0, 1, 2};
  const auto refusal = [](absl::Span<const float> rows, int d, int k) {
    return BuildKnnGraph(rows, d, k, KnnOptions()).status();
  };
  constexpr auto kCode = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(refusal(points, 2, 1),
              StatusIs(kCode, HasSubstr("points: has 3 numbers")));
  EXPECT_THAT(refusal(points, 1, 0), StatusIs(kCode, HasSubstr("k: is 0")));
  EXPECT_THAT(refusal(points, 0, 1), StatusIs(kCode, HasSubstr("d: is 0")));
  const std::vector<float> broken = {0, std::numeric_limits<float>::quiet_NaN(),
                                     1};
  EXPECT_THAT(refusal(broken, 1, 1), StatusIs(kCode, HasSubstr("points[1]")));
}

}  // namespace
}  // namespace faultline::space
