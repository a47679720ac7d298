#include "lib/cluster/cluster_tracker.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/support/status_matchers.h"

namespace faultline::cluster {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kEver = UINT64_MAX;

// first, ..., last.
std::vector<uint64_t> Range(uint64_t first, uint64_t last) {
  std::vector<uint64_t> sequences(last - first + 1);
  std::iota(sequences.begin(), sequences.end(), first);
  return sequences;
}

// Clusters a, b, ... born in that order.
std::vector<KnownCluster> Known(size_t count) {
  std::vector<KnownCluster> known(count);
  for (size_t k = 0; k < count; ++k) {
    known[k].id = std::string(1, static_cast<char>('a' + k));
    known[k].birth_tick = k + 1;
    known[k].size = 100;
  }
  return known;
}

struct Cell {
  size_t group;
  size_t known;
  double p;
  double q;
};

// What the rules make of P and Q.
Tracking Track(const std::vector<KnownCluster>& known,
               const std::vector<size_t>& size, const std::vector<Cell>& cells,
               const std::vector<std::pair<size_t, size_t>>& apart = {}) {
  OverlapTable table(size.size(), known.size());
  for (const Cell& cell : cells) {
    table.at(cell.group, cell.known) = {
        cell.p, cell.q, 2 * cell.p * cell.q / (cell.p + cell.q)};
  }
  std::vector<std::vector<bool>> separate(known.size(),
                                          std::vector<bool>(known.size()));
  for (const auto& [a, b] : apart) separate[a][b] = separate[b][a] = true;
  return TrackIdentity(known, size, table, separate);
}

TEST(TrackIdentity, AnOverlapOfThreeTenthsIsTheSameCluster) {
  EXPECT_THAT(Track(Known(1), {50}, {{0, 0, .3, .3}}).cluster, ElementsAre(0));
  EXPECT_THAT(Track(Known(1), {50}, {{0, 0, .29, .3}}).cluster,
              ElementsAre(-1));
}

TEST(TrackIdentity, PrefersTheBestTotalToTheBestPair) {
  // The best pair alone would leave the second group without a match.
  const Tracking tracking = Track(
      Known(2), {50, 50}, {{0, 0, .6, .6}, {0, 1, .55, .55}, {1, 0, .49, .49}});
  EXPECT_THAT(tracking.cluster, ElementsAre(1, 0));
}

TEST(TrackIdentity, TotalIsTheBestOfAllAssignments) {
  base::Random random(11);
  for (int trial = 0; trial < 200; ++trial) {
    const size_t known = 1 + random.Below(4);
    const size_t groups = 1 + random.Below(3);
    // Below kMostlyPart, so that nothing splits or merges.
    std::vector<std::vector<double>> o(groups, std::vector<double>(known));
    std::vector<Cell> cells;
    for (size_t g = 0; g < groups; ++g) {
      for (size_t k = 0; k < known; ++k) {
        o[g][k] = .499 * random.Uniform();
        cells.push_back({g, k, o[g][k], o[g][k]});
      }
    }
    const Tracking tracking =
        Track(Known(known), std::vector<size_t>(groups, 50), cells);
    double reached = 0;
    std::set<int32_t> used;
    for (size_t g = 0; g < groups; ++g) {
      if (tracking.cluster[g] < 0) continue;
      EXPECT_TRUE(used.insert(tracking.cluster[g]).second);
      reached += o[g][tracking.cluster[g]];
    }
    std::vector<size_t> order(known + groups);
    std::iota(order.begin(), order.end(), size_t{0});
    double best = 0;
    do {
      double total = 0;
      for (size_t g = 0; g < groups; ++g) {
        if (order[g] < known && o[g][order[g]] >= kLeastOverlap) {
          total += o[g][order[g]];
        }
      }
      best = std::max(best, total);
    } while (std::next_permutation(order.begin(), order.end()));
    EXPECT_NEAR(reached, best, 1e-9);
  }
}

TEST(TrackIdentity, TheLargestPartOfASplitKeepsTheId) {
  // The first part overlaps more, the second is larger.
  const Tracking tracking =
      Track(Known(1), {40, 60}, {{0, 0, .9, .5}, {1, 0, .8, .45}});
  EXPECT_THAT(tracking.cluster, ElementsAre(-1, 0));
  EXPECT_THAT(tracking.parent, ElementsAre(0, -1));
}

TEST(TrackIdentity, WhatIsMerelyNearestIsNoPart) {
  // A new mode whose nearest cluster is a, though hardly any of a goes to it.
  const Tracking tracking =
      Track(Known(1), {80, 60}, {{0, 0, .9, .9}, {1, 0, .9, .05}});
  EXPECT_THAT(tracking.cluster, ElementsAre(0, -1));
  EXPECT_THAT(tracking.parent, ElementsAre(-1, -1));
}

TEST(TrackIdentity, MergedClustersHaveTheIdOfTheOldest) {
  // b overlaps more; a is older.
  const std::vector<Cell> cells = {{0, 0, .3, .9}, {0, 1, .6, .9}};
  const Tracking tracking = Track(Known(2), {100}, cells);
  EXPECT_THAT(tracking.cluster, ElementsAre(0));
  EXPECT_THAT(tracking.merged_in, ElementsAre(-1, 0));
  // Of one age: the larger one.
  std::vector<KnownCluster> known = Known(2);
  known[1].birth_tick = known[0].birth_tick;
  known[1].size = 101;
  EXPECT_THAT(Track(known, {100}, cells).cluster, ElementsAre(1));
}

TEST(TrackIdentity, ClustersThatWentAwayAreNotTakenInByTheNearest) {
  // All of a's exemplars have only b's runs near them, but no run of b is near
  // to them.
  const Tracking tracking =
      Track(Known(2), {100}, {{0, 0, .02, .9}, {0, 1, .95, .95}});
  EXPECT_THAT(tracking.cluster, ElementsAre(1));
  EXPECT_THAT(tracking.merged_in, ElementsAre(-1, -1));
}

TEST(TrackIdentity, WhatAReviewerDecidedIsNotMerged) {
  const std::vector<Cell> cells = {{0, 0, .4, .9}, {0, 1, .5, .9}};
  std::vector<KnownCluster> known = Known(2);
  EXPECT_THAT(Track(known, {100}, cells, {{0, 1}}).merged_in, Each(-1));
  known[0].may_merge = false;
  const Tracking tracking = Track(known, {100}, cells);
  EXPECT_THAT(tracking.merged_in, Each(-1));
  EXPECT_THAT(tracking.cluster, ElementsAre(1));
}

TEST(TrackIdentity, HandlesNothing) {
  EXPECT_THAT(Track({}, {}, {}).cluster, IsEmpty());
  EXPECT_THAT(Track(Known(1), {}, {}).merged_in, ElementsAre(-1));
  EXPECT_THAT(Track({}, {50}, {}).cluster, ElementsAre(-1));
}

TEST(SharedOverlaps, ComparesWhatBothWindowsCouldHold) {
  // 30 runs in common; 40 of the group's, 50 of the cluster's are shared.
  const std::vector<std::vector<uint64_t>> known = {Range(1, 100)};
  const std::vector<std::vector<uint64_t>> groups = {Range(71, 200)};
  const OverlapTable table = SharedOverlaps(known, groups, 51, 110);
  EXPECT_NEAR(table.at(0, 0).p, 30.0 / 40, 1e-12);
  EXPECT_NEAR(table.at(0, 0).q, 30.0 / 50, 1e-12);
  EXPECT_NEAR(table.at(0, 0).o, 30.0 / 60, 1e-12);
  // Windows without a run in common.
  EXPECT_EQ(SharedOverlaps(known, groups, 201, 110).at(0, 0).o, 0);
}

TEST(SharedOverlaps, AFewSharedRunsSayNothing) {
  const std::vector<std::vector<uint64_t>> known = {Range(1, 100)};
  EXPECT_EQ(SharedOverlaps(known, {Range(92, 200)}, 92, kEver).at(0, 0).o, 0);
  EXPECT_GT(SharedOverlaps(known, {Range(91, 200)}, 91, kEver).at(0, 0).o, 0);
}

// Points around (10 x, 0).
void AddBlob(int x, int count, int32_t label, base::Random* random,
             LabelledPoints* points) {
  for (int i = 0; i < count; ++i) {
    points->vectors.push_back(
        static_cast<float>(10 * x + .1 * random->Normal()));
    points->vectors.push_back(static_cast<float>(.1 * random->Normal()));
    points->label.push_back(label);
  }
}

TEST(VoteOverlaps, SharesAreThoseThatGoToTheOther) {
  base::Random random(3);
  LabelledPoints known, group;
  // Cluster 0 lies at 1, cluster 1 at 2.
  AddBlob(1, 40, 0, &random, &known);
  AddBlob(2, 40, 1, &random, &known);
  // Group 0 has 30 runs at 1 and 10 at 2, group 1 has 60 at 2.
  AddBlob(1, 30, 0, &random, &group);
  AddBlob(2, 10, 0, &random, &group);
  AddBlob(2, 60, 1, &random, &group);
  ASSERT_OK_AND_ASSIGN(const OverlapTable table,
                       VoteOverlaps(known, 2, group, 2, 2, 1));
  EXPECT_NEAR(table.at(0, 0).p, .75, 1e-9);
  EXPECT_NEAR(table.at(0, 1).p, .25, 1e-9);
  EXPECT_NEAR(table.at(1, 1).p, 1, 1e-9);
  EXPECT_NEAR(table.at(0, 0).q, 1, 1e-9);
  EXPECT_EQ(table.at(1, 0).q, 0);
  // Few of the runs at 2 are of group 0.
  EXPECT_GT(table.at(1, 1).q, .9);
  EXPECT_NEAR(table.at(0, 0).o, 2 * .75 / 1.75, 1e-9);
}

TEST(VoteOverlaps, WhatResemblesNothingKnownGoesToTheNoise) {
  base::Random random(4);
  LabelledPoints known, group;
  AddBlob(1, 40, 0, &random, &known);
  AddBlob(4, 40, 0, &random, &group);  // nearest, but far
  AddBlob(1, 40, -1, &random, &group);
  ASSERT_OK_AND_ASSIGN(const OverlapTable table,
                       VoteOverlaps(known, 1, group, 1, 2, 2));
  EXPECT_EQ(table.at(0, 0).q, 0);
  EXPECT_EQ(table.at(0, 0).o, 0);
}

TEST(VoteOverlaps, HandlesNothing) {
  ASSERT_OK_AND_ASSIGN(const OverlapTable table,
                       VoteOverlaps({}, 2, {}, 1, 4, 1));
  EXPECT_EQ(table.at(0, 1).o, 0);
}

}  // namespace
}  // namespace faultline::cluster
