// What every engine keeps to, on worlds and at the edges.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/cluster/clusterer.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/cluster/planted_world.h"

namespace faultline::cluster {
namespace {

using ::testing::Each;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class EngineContract : public ::testing::TestWithParam<Engine> {
 protected:
  Clustering Cluster(const PlantedWorld& world, ClusterOptions options = {}) {
    options.engine = GetParam();
    absl::StatusOr<Clustering> clustering =
        ClusterFailures(world.Input(), options);
    EXPECT_OK(clustering);
    return *std::move(clustering);
  }
};

// Failures only, at the given points (rows of d numbers).
PlantedWorld FailuresAt(int d, std::vector<float> vectors) {
  PlantedWorld world;
  world.dimension = d;
  const size_t n = vectors.size() / d;
  world.mode.assign(n, 0);
  world.failures = vectors;
  world.pooled = std::move(vectors);
  world.pooled_failed.assign(n, true);
  world.failure_row.resize(n);
  std::iota(world.failure_row.begin(), world.failure_row.end(), 0);
  return world;
}

void ExpectSame(const Clustering& a, const Clustering& b) {
  EXPECT_EQ(a.label, b.label);
  EXPECT_EQ(a.filtered, b.filtered);
  EXPECT_EQ(a.boundary, b.boundary);
  EXPECT_EQ(a.assigned, b.assigned);
  EXPECT_EQ(a.agreement, b.agreement);
  ASSERT_EQ(a.groups.size(), b.groups.size());
  for (size_t g = 0; g < a.groups.size(); ++g) {
    const Group& x = a.groups[g];
    const Group& y = b.groups[g];
    EXPECT_EQ(x.members, y.members);
    EXPECT_EQ(x.strengths, y.strengths);
    EXPECT_EQ(x.medoid, y.medoid);
    EXPECT_EQ(x.exemplars, y.exemplars);
    EXPECT_EQ(x.centroid, y.centroid);
    EXPECT_EQ(x.radius, y.radius);
    EXPECT_EQ(x.cohesion, y.cohesion);
    EXPECT_EQ(x.stability, y.stability);
    EXPECT_EQ(x.agreement, y.agreement);
    EXPECT_EQ(x.boundary, y.boundary);
    ASSERT_EQ(x.sub_modes.size(), y.sub_modes.size());
    for (size_t s = 0; s < x.sub_modes.size(); ++s) {
      EXPECT_EQ(x.sub_modes[s].members, y.sub_modes[s].members);
      EXPECT_EQ(x.sub_modes[s].medoid, y.sub_modes[s].medoid);
      EXPECT_EQ(x.sub_modes[s].similarity, y.sub_modes[s].similarity);
    }
  }
}

void ExpectWellFormed(const PlantedWorld& world, const Clustering& clustering) {
  const size_t n = world.failure_row.size();
  ASSERT_THAT(clustering.label, SizeIs(n));
  const double least = std::max(10.0, .5 * std::sqrt(static_cast<double>(n)));
  EXPECT_GE(clustering.agreement, -1);
  EXPECT_LE(clustering.agreement, 1);
  size_t boundary = 0;
  size_t members = 0;
  for (size_t g = 0; g < clustering.groups.size(); ++g) {
    const Group& group = clustering.groups[g];
    EXPECT_GE(group.members.size(), least);
    EXPECT_TRUE(std::is_sorted(group.members.begin(), group.members.end()));
    ASSERT_EQ(group.members.size(), group.strengths.size());
    for (size_t i = 0; i < group.members.size(); ++i) {
      EXPECT_EQ(clustering.label[group.members[i]], static_cast<int32_t>(g));
      EXPECT_GT(group.strengths[i], 0);
      EXPECT_LE(group.strengths[i], 1);
    }
    if (g > 0) {
      EXPECT_GE(clustering.groups[g - 1].members.size(), group.members.size());
    }
    EXPECT_EQ(clustering.label[group.medoid], static_cast<int32_t>(g));
    for (const int32_t row : group.exemplars) {
      EXPECT_EQ(clustering.label[row], static_cast<int32_t>(g));
    }
    for (const int32_t row : group.boundary) {
      EXPECT_EQ(clustering.label[row], -1);
    }
    EXPECT_THAT(group.centroid, SizeIs(world.dimension));
    EXPECT_GE(group.stability, -1);
    EXPECT_LE(group.stability, 1);
    EXPECT_NE(group.sub_modes.size(), 1);
    std::set<int32_t> in_parts;
    for (const SubMode& part : group.sub_modes) {
      for (const int32_t row : part.members) {
        EXPECT_EQ(clustering.label[row], static_cast<int32_t>(g));
        EXPECT_TRUE(in_parts.insert(row).second);
      }
      EXPECT_TRUE(std::binary_search(part.members.begin(), part.members.end(),
                                     part.medoid));
    }
    boundary += group.boundary.size();
    members += group.members.size();
  }
  EXPECT_EQ(boundary, clustering.boundary);
  EXPECT_EQ(n - members,
            std::count(clustering.label.begin(), clustering.label.end(), -1));
}

TEST_P(EngineContract, FindsSeparateModesAndSaysThatTheyAreStable) {
  base::Random random(1);
  const PlantedWorld world =
      MakeGaussianWorld(5, 100, 100, 400, .7, 32, &random);
  const Clustering clustering = Cluster(world);
  ExpectWellFormed(world, clustering);
  EXPECT_THAT(clustering.groups, SizeIs(5));
  EXPECT_GE(PlantedAgreement(world.mode, clustering.label), .9);
  EXPECT_GE(clustering.agreement, .7);
  for (const Group& group : clustering.groups) {
    EXPECT_GE(group.stability, .7);
    EXPECT_GE(group.agreement, .7);
  }
}

TEST_P(EngineContract, IsWellFormedWhereNothingIsClear) {
  base::Random random(2);
  const PlantedWorld world = MakeTokenWorld(6, 90, 400, 500, .6, 64, &random);
  ExpectWellFormed(world, Cluster(world));
}

TEST_P(EngineContract, SameBytesForASeedWithAnyNumberOfThreads) {
  base::Random random(3);
  const PlantedWorld world = MakeTokenWorld(5, 90, 300, 400, .8, 64, &random);
  ClusterOptions options;
  options.seed = 7;
  options.threads = 1;
  const Clustering once = Cluster(world, options);
  ExpectSame(once, Cluster(world, options));
  for (const int threads : {2, 5}) {
    options.threads = threads;
    ExpectSame(once, Cluster(world, options));
  }
}

TEST_P(EngineContract, NoFailureIsNoGroup) {
  const Clustering clustering = Cluster(FailuresAt(4, {}));
  EXPECT_THAT(clustering.groups, IsEmpty());
  EXPECT_THAT(clustering.label, IsEmpty());
}

TEST_P(EngineContract, SuccessesOnlyAreNoGroup) {
  PlantedWorld world = FailuresAt(2, {1, 0, 0, 1});
  world.failures.clear();
  world.failure_row.clear();
  world.pooled_failed.assign(2, false);
  EXPECT_THAT(Cluster(world).groups, IsEmpty());
}

TEST_P(EngineContract, ASingleFailureIsNoise) {
  const Clustering clustering = Cluster(FailuresAt(4, {1, 0, 0, 0}));
  EXPECT_THAT(clustering.groups, IsEmpty());
  EXPECT_THAT(clustering.label, Each(-1));
}

TEST_P(EngineContract, ConstantsAreOneGroup) {
  std::vector<float> vectors;
  for (int i = 0; i < 500; ++i) {
    for (const float x : {.6f, .8f, 0.f, 0.f}) vectors.push_back(x);
  }
  const PlantedWorld world = FailuresAt(4, vectors);
  const Clustering clustering = Cluster(world);
  ExpectWellFormed(world, clustering);
  ASSERT_THAT(clustering.groups, SizeIs(1));
  EXPECT_THAT(clustering.groups[0].members, SizeIs(500));
  EXPECT_EQ(clustering.agreement, 1);
}

TEST_P(EngineContract, RunsWithoutTokensAreOneGroup) {
  const PlantedWorld world = FailuresAt(4, std::vector<float>(4 * 50, 0.f));
  const Clustering clustering = Cluster(world);
  ExpectWellFormed(world, clustering);
  ASSERT_THAT(clustering.groups, SizeIs(1));
}

TEST_P(EngineContract, CopiesAreTogether) {
  base::Random random(4);
  const PlantedWorld single = MakeGaussianWorld(4, 60, 40, 0, .6, 16, &random);
  std::vector<float> vectors;
  for (int copy = 0; copy < 3; ++copy) {
    vectors.insert(vectors.end(), single.failures.begin(),
                   single.failures.end());
  }
  const PlantedWorld world = FailuresAt(16, vectors);
  const Clustering clustering = Cluster(world);
  ExpectWellFormed(world, clustering);
  EXPECT_GE(clustering.groups.size(), 4);
  const size_t n = single.failure_row.size();
  for (size_t i = 0; i < n; ++i) {
    EXPECT_EQ(clustering.label[i], clustering.label[i + n]);
    EXPECT_EQ(clustering.label[i], clustering.label[i + 2 * n]);
  }
}

TEST_P(EngineContract, WhereAllRunsFailNothingIsFiltered) {
  base::Random random(5);
  const PlantedWorld world = MakeGaussianWorld(3, 200, 0, 0, .6, 16, &random);
  const Clustering clustering = Cluster(world);
  ExpectWellFormed(world, clustering);
  EXPECT_EQ(clustering.filtered, 0);
  EXPECT_THAT(clustering.groups, SizeIs(3));
}

TEST_P(EngineContract, BeyondTheCapASampleVotesForTheRest) {
  base::Random random(6);
  PlantedWorld world = MakeGaussianWorld(4, 250, 100, 900, .6, 24, &random);
  ClusterOptions options;
  options.max_failures = 500;
  options.max_successes = 400;
  const Clustering clustering = Cluster(world, options);
  ExpectWellFormed(world, clustering);
  EXPECT_EQ(clustering.assigned, 600);
  EXPECT_THAT(clustering.groups, SizeIs(4));
  EXPECT_GE(PlantedAgreement(world.mode, clustering.label), .9);
}

TEST_P(EngineContract, WithoutReplicatesStabilityIsUnknown) {
  base::Random random(7);
  const PlantedWorld world = MakeGaussianWorld(3, 80, 0, 0, .6, 16, &random);
  ClusterOptions options;
  options.replicates = 0;
  const Clustering clustering = Cluster(world, options);
  ExpectWellFormed(world, clustering);
  ASSERT_THAT(clustering.groups, SizeIs(Ge(3)));
  for (const Group& group : clustering.groups) EXPECT_EQ(group.stability, -1);
}

INSTANTIATE_TEST_SUITE_P(Engines, EngineContract,
                         ::testing::Values(Engine::kLeiden, Engine::kHdbscan),
                         [](const auto& tested) -> std::string {
                           switch (tested.param) {
                             case Engine::kLeiden:
                               return "Leiden";
                             case Engine::kHdbscan:
                               return "Hdbscan";
                           }
                           return "";
                         });

}  // namespace
}  // namespace faultline::cluster
