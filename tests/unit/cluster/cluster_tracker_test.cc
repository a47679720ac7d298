#include "lib/cluster/cluster_tracker.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace faultline::cluster {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kEver = UINT64_MAX;
const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

// first, ..., last.
std::vector<uint64_t> Range(uint64_t first, uint64_t last) {
  std::vector<uint64_t> sequences(last - first + 1);
  std::iota(sequences.begin(), sequences.end(), first);
  return sequences;
}

std::vector<uint64_t> Join(std::vector<uint64_t> a,
                           const std::vector<uint64_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<Identity> Track(const std::vector<KnownCluster>& known,
                            const std::vector<std::vector<uint64_t>>& groups,
                            uint64_t first = 0, uint64_t last = kEver) {
  return TrackIdentity(known, groups, first, last, .3, kNow, 1);
}

TEST(TrackIdentity, SurvivesAChangeOfMembers) {
  const auto identities = Track({{"old", Range(1, 10)}}, {Range(4, 12)});
  ASSERT_THAT(identities, SizeIs(1));
  EXPECT_EQ(identities[0].id, "old");
  EXPECT_FALSE(identities[0].born);
  EXPECT_NEAR(identities[0].overlap, 2 * 7.0 / (10 + 9), 1e-12);
}

TEST(TrackIdentity, NewGroupsAreBornWithDistinctIds) {
  const auto identities =
      Track({{"old", Range(1, 10)}}, {Range(50, 60), Range(70, 80)});
  std::set<std::string> ids;
  for (const Identity& identity : identities) {
    EXPECT_TRUE(identity.born);
    EXPECT_EQ(identity.overlap, 0);
    EXPECT_THAT(identity.id, SizeIs(26));
    ids.insert(identity.id);
  }
  EXPECT_THAT(ids, SizeIs(2));
  EXPECT_EQ(identities[0].id, Track({}, {Range(50, 60)})[0].id);
}

TEST(TrackIdentity, DoesNotMatchBelowTheThreshold) {
  // 2 of 10 in common: 0.2.
  EXPECT_TRUE(Track({{"old", Range(1, 10)}}, {Range(9, 18)})[0].born);
  // 3 of 10: 0.3.
  EXPECT_FALSE(Track({{"old", Range(1, 10)}}, {Range(8, 17)})[0].born);
}

TEST(TrackIdentity, ComparesWhatBothWindowsCouldHold) {
  // The window moved from 1..100 to 81..180: only 81..100 is shared.
  const std::vector<KnownCluster> known = {{"old", Range(1, 100)}};
  const std::vector<std::vector<uint64_t>> groups = {Range(81, 180)};
  EXPECT_TRUE(Track(known, groups)[0].born);
  const Identity shared = Track(known, groups, 81, 100)[0];
  EXPECT_EQ(shared.id, "old");
  EXPECT_NEAR(shared.overlap, 1, 1e-12);
  // Nothing shared.
  EXPECT_TRUE(Track(known, groups, 101, 100)[0].born);
}

TEST(TrackIdentity, IsOneToOneAndGivesTheIdToTheLargerPart) {
  // A split.
  const auto parts =
      Track({{"old", Range(1, 20)}}, {Range(1, 7), Range(8, 20)});
  EXPECT_TRUE(parts[0].born);
  EXPECT_EQ(parts[1].id, "old");
  // A merger.
  const auto merged =
      Track({{"small", Range(1, 6)}, {"large", Range(7, 20)}}, {Range(1, 20)});
  EXPECT_EQ(merged[0].id, "large");
}

TEST(TrackIdentity, PrefersTheBestTotalToTheBestPair) {
  // The first group overlaps a by 0.60 and b by 0.55, the second only a, by
  // 0.50. The best pair alone would leave the second without a match.
  const std::vector<KnownCluster> known = {
      {"a", Join(Range(1, 9), Range(201, 206))}, {"b", Range(101, 107)}};
  const auto identities =
      Track(known, {Join(Range(1, 9), Range(101, 106)), Range(201, 209)});
  EXPECT_EQ(identities[0].id, "b");
  EXPECT_EQ(identities[1].id, "a");
}

TEST(TrackIdentity, TotalIsTheBestOfAllAssignments) {
  base::Random random(11);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<KnownCluster> known(1 + random.Below(5));
    std::vector<std::vector<uint64_t>> groups(1 + random.Below(5));
    for (size_t k = 0; k < known.size(); ++k) known[k].id = std::to_string(k);
    for (uint64_t sequence = 0; sequence < 60; ++sequence) {
      known[random.Below(known.size())].members.push_back(sequence);
      groups[random.Below(groups.size())].push_back(sequence);
    }
    const auto overlap = [&](size_t g, size_t k) {
      std::vector<uint64_t> both;
      std::set_intersection(groups[g].begin(), groups[g].end(),
                            known[k].members.begin(), known[k].members.end(),
                            std::back_inserter(both));
      const double o =
          2.0 * static_cast<double>(both.size()) /
          static_cast<double>(groups[g].size() + known[k].members.size());
      return o >= .3 ? o : 0;
    };
    double reached = 0;
    std::set<std::string> used;
    for (const Identity& identity : Track(known, groups)) {
      reached += identity.overlap;
      EXPECT_TRUE(used.insert(identity.id).second);
    }
    // Every order of the known clusters, padded by none.
    std::vector<size_t> order(known.size() + groups.size());
    std::iota(order.begin(), order.end(), size_t{0});
    double best = 0;
    if (order.size() > 7) continue;
    do {
      double total = 0;
      for (size_t g = 0; g < groups.size(); ++g) {
        if (order[g] < known.size()) total += overlap(g, order[g]);
      }
      best = std::max(best, total);
    } while (std::next_permutation(order.begin(), order.end()));
    EXPECT_NEAR(reached, best, 1e-9);
  }
}

TEST(TrackIdentity, HandlesNothing) {
  EXPECT_THAT(Track({}, {}), IsEmpty());
  EXPECT_THAT(Track({{"old", Range(1, 10)}}, {}), IsEmpty());
  EXPECT_TRUE(Track({{"old", {}}}, {{}})[0].born);
}

}  // namespace
}  // namespace faultline::cluster
