#include "lib/cluster/consensus.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::cluster {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Labels = std::vector<int32_t>;

// `sizes[c]` points of community c, one community after the other.
Labels Blocks(const std::vector<int>& sizes) {
  Labels labels;
  for (size_t c = 0; c < sizes.size(); ++c) {
    labels.insert(labels.end(), sizes[c], static_cast<int32_t>(c));
  }
  return labels;
}

// A replicate of every point.
Replicate Whole(Labels community) {
  Replicate replicate;
  replicate.points.resize(community.size());
  std::iota(replicate.points.begin(), replicate.points.end(), 0);
  replicate.community = std::move(community);
  return replicate;
}

TEST(JoinCommunities, JoinsWhatReplicatesDoNotTellApart) {
  // 0 and 2 are one community in every replicate.
  const Labels community = Blocks({40, 40, 40});
  Labels found = community;
  std::replace(found.begin(), found.end(), 2, 0);
  const std::vector<Replicate> replicates(3, Whole(found));
  const Dendrogram dendrogram = JoinCommunities(community, 3, replicates, .5);
  EXPECT_THAT(dendrogram.mode, ElementsAre(0, 1, 0));
  EXPECT_THAT(dendrogram.similarity, ElementsAre(1, 1, 1));
  ASSERT_THAT(dendrogram.joins, SizeIs(2));
  EXPECT_EQ(dendrogram.joins[0].first, 0);
  EXPECT_EQ(dendrogram.joins[0].second, 2);
  EXPECT_EQ(dendrogram.joins[0].similarity, 1);
  // The join of all is in the tree, below the cut.
  EXPECT_EQ(dendrogram.joins[1].first, 3);
  EXPECT_EQ(dendrogram.joins[1].second, 1);
  EXPECT_EQ(dendrogram.joins[1].similarity, 0);
}

TEST(JoinCommunities, SimilarityIsTheShareOfReplicatesThatJoin) {
  const Labels community = Blocks({40, 40});
  const Replicate apart = Whole(community);
  const Replicate joined = Whole(Labels(80, 0));
  const auto modes = [&](const std::vector<Replicate>& replicates) {
    return JoinCommunities(community, 2, replicates, .5);
  };
  const Dendrogram most = modes({joined, joined, apart});
  EXPECT_THAT(most.mode, ElementsAre(0, 0));
  EXPECT_THAT(most.similarity,
              ElementsAre(DoubleNear(2. / 3, 1e-9), DoubleNear(2. / 3, 1e-9)));
  const Dendrogram few = modes({joined, apart, apart});
  EXPECT_THAT(few.mode, ElementsAre(0, 1));
  EXPECT_THAT(few.similarity, ElementsAre(1, 1));
}

TEST(JoinCommunities, LinksByTheAverage) {
  // 0 and 1 always together, 2 with both in 4 of 10, 3 with 2 in 6 of 10: the
  // average of 2's links to {0, 1} and of 3's decides.
  const Labels community = Blocks({40, 40, 40, 40});
  std::vector<Replicate> replicates;
  for (int b = 0; b < 10; ++b) {
    const int32_t third = b < 4 ? 0 : 2;
    const int32_t fourth = b >= 4 ? 2 : 3;
    Labels found = community;
    for (int32_t& c : found) c = c < 2 ? 0 : c == 2 ? third : fourth;
    replicates.push_back(Whole(std::move(found)));
  }
  const Dendrogram dendrogram = JoinCommunities(community, 4, replicates, .5);
  EXPECT_THAT(dendrogram.mode, ElementsAre(0, 0, 1, 1));
  ASSERT_THAT(dendrogram.joins, SizeIs(3));
  EXPECT_NEAR(dendrogram.joins[1].similarity, .6, 1e-9);
  EXPECT_NEAR(dendrogram.joins[2].similarity, .2, 1e-9);
}

TEST(JoinCommunities, ASmallCommunityStaysAlone) {
  const Labels community = Blocks({40, 14});
  const std::vector<Replicate> replicates(2, Whole(Labels(54, 0)));
  const Dendrogram dendrogram = JoinCommunities(community, 2, replicates, .5);
  EXPECT_THAT(dendrogram.mode, ElementsAre(0, 1));
  EXPECT_THAT(dendrogram.joins, IsEmpty());
}

TEST(JoinCommunities, WithoutReplicatesNothingIsJoined) {
  const Dendrogram dendrogram = JoinCommunities(Blocks({40, 40}), 2, {}, .5);
  EXPECT_THAT(dendrogram.mode, ElementsAre(0, 1));
  EXPECT_THAT(dendrogram.joins, IsEmpty());
}

TEST(MeasureStability, IsOneWhereEveryReplicateFindsIt) {
  const Labels mode = Blocks({30, 50});
  const std::vector<int64_t> copies(80, 1);
  // Found in two parts each, which are united.
  Labels found;
  for (size_t v = 0; v < mode.size(); ++v) {
    found.push_back(2 * mode[v] + static_cast<int32_t>(v % 2));
  }
  EXPECT_THAT(MeasureStability(mode, 2, copies, {Whole(found)}),
              ElementsAre(1, 1));
}

TEST(MeasureStability, IsTheMeanJaccardOfWhatAModeGets) {
  const Labels mode = Blocks({30, 30});
  const std::vector<int64_t> copies(60, 1);
  // A third of mode 1 goes with mode 0.
  const Labels found = Blocks({40, 20});
  const std::vector<double> stability =
      MeasureStability(mode, 2, copies, {Whole(found), Whole(mode)});
  EXPECT_NEAR(stability[0], (30. / 40 + 1) / 2, 1e-9);
  EXPECT_NEAR(stability[1], (20. / 30 + 1) / 2, 1e-9);
}

TEST(MeasureStability, IsZeroForAModeThatIsSwallowed) {
  const Labels mode = Blocks({30, 20});
  const std::vector<int64_t> copies(50, 1);
  EXPECT_THAT(MeasureStability(mode, 2, copies, {Whole(Labels(50, 0))}),
              ElementsAre(DoubleNear(.6, 1e-9), 0));
}

TEST(MeasureStability, PointsOfNoModeCountAgainstIt) {
  Labels mode = Blocks({30});
  mode.insert(mode.end(), 10, -1);
  const std::vector<int64_t> copies(40, 1);
  EXPECT_THAT(MeasureStability(mode, 1, copies, {Whole(Labels(40, 0))}),
              ElementsAre(DoubleNear(.75, 1e-9)));
}

TEST(MeasureStability, CopiesCountAndTheTooSmallIsNotJudged) {
  const Labels mode = Blocks({1, 5, 20});
  std::vector<int64_t> copies(26, 1);
  copies[0] = 20;
  const std::vector<double> stability =
      MeasureStability(mode, 3, copies, {Whole(mode)});
  EXPECT_THAT(stability, ElementsAre(1, -1, 1));
}

TEST(MeasureStability, WithoutReplicatesNothingIsJudged) {
  EXPECT_THAT(
      MeasureStability(Blocks({30}), 1, std::vector<int64_t>(30, 1), {}),
      ElementsAre(-1));
}

}  // namespace
}  // namespace faultline::cluster
