#include "lib/cluster/clusterer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/cluster/planted_world.h"

namespace faultline::cluster {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Clustering Cluster(const PlantedWorld& world, ClusterOptions options = {}) {
  absl::StatusOr<Clustering> clustering =
      ClusterFailures(world.Input(), options);
  EXPECT_OK(clustering);
  return *std::move(clustering);
}

// A world of failures only, given as vectors of length 4.
PlantedWorld FailuresOnly(const std::vector<std::vector<float>>& vectors) {
  PlantedWorld world;
  world.dimension = 4;
  for (const std::vector<float>& vector : vectors) {
    world.failure_row.push_back(static_cast<int32_t>(world.failure_row.size()));
    world.failures.insert(world.failures.end(), vector.begin(), vector.end());
  }
  world.pooled = world.failures;
  world.pooled_failed.assign(vectors.size(), true);
  world.mode.assign(vectors.size(), 0);
  return world;
}

// Share of the elements of class `planted` that are in a group.
double GroupedShare(const PlantedWorld& world, const Clustering& clustering,
                    bool planted) {
  double grouped = 0, all = 0;
  for (size_t i = 0; i < world.mode.size(); ++i) {
    if ((world.mode[i] >= 0) != planted) continue;
    ++all;
    grouped += clustering.label[i] >= 0;
  }
  return grouped / all;
}

TEST(ClusterFailures, RecoversSeparateModes) {
  base::Random random(1);
  const PlantedWorld world =
      MakeGaussianWorld(6, 100, 200, 500, .8, 48, &random);
  const Clustering clustering = Cluster(world);
  EXPECT_THAT(clustering.groups, SizeIs(6));
  EXPECT_GE(PlantedAgreement(world.mode, clustering.label), .95);
}

TEST(ClusterFailures, RecoversTokenModesAmongUnstructuredFailures) {
  // Hard: tasks split modes into parts that are as real as the modes.
  base::Random random(2);
  const PlantedWorld world = MakeTokenWorld(6, 110, 340, 900, .9, 128, &random);
  const Clustering clustering = Cluster(world);
  EXPECT_GE(PlantedAgreement(world.mode, clustering.label), .75);
  EXPECT_LE(GroupedShare(world, clustering, false), .1);
  // Most unstructured failures fall to the filter, and few others.
  EXPECT_NEAR(static_cast<double>(clustering.filtered), 340 * .8, 90);
}

TEST(ClusterFailures, RecoversAFewFailuresWithoutFilter) {
  base::Random random(3);
  const PlantedWorld world = MakeTokenWorld(4, 40, 60, 300, .9, 128, &random);
  const Clustering clustering = Cluster(world);
  EXPECT_EQ(clustering.filtered, 0);
  EXPECT_GE(PlantedAgreement(world.mode, clustering.label), .9);
}

TEST(ClusterFailures, LeavesNoiseAlone) {
  base::Random random(4);
  const PlantedWorld world = MakeGaussianWorld(0, 0, 600, 600, 1, 48, &random);
  const Clustering clustering = Cluster(world);
  // About half lies where runs fail more than the average, by chance.
  EXPECT_GE(clustering.filtered, 330);
  EXPECT_LE(GroupedShare(world, clustering, false), .25);
}

TEST(ClusterFailures, MembersHaveMostTiesInside) {
  base::Random random(11);
  const PlantedWorld world = MakeGaussianWorld(0, 0, 300, 0, 1, 48, &random);
  const Clustering clustering = Cluster(world);
  ASSERT_FALSE(clustering.groups.empty());
  for (const Group& group : clustering.groups) {
    EXPECT_THAT(group.strengths, Each(Ge(.5)));
  }
  EXPECT_LT(GroupedShare(world, clustering, false), .8);
}

TEST(ClusterFailures, DescribesItsGroups) {
  base::Random random(5);
  const PlantedWorld world =
      MakeGaussianWorld(3, 120, 100, 300, .6, 32, &random);
  const Clustering clustering = Cluster(world);
  ASSERT_THAT(clustering.groups, SizeIs(3));
  const int d = world.dimension;
  size_t last_size = SIZE_MAX;
  for (size_t g = 0; g < clustering.groups.size(); ++g) {
    const Group& group = clustering.groups[g];
    EXPECT_LE(group.members.size(), last_size);
    last_size = group.members.size();
    EXPECT_TRUE(std::is_sorted(group.members.begin(), group.members.end()));
    ASSERT_EQ(group.members.size(), group.strengths.size());
    for (const float strength : group.strengths) {
      EXPECT_GE(strength, .5);
      EXPECT_LE(strength, 1);
    }
    const std::set<int32_t> members(group.members.begin(), group.members.end());
    for (const int32_t row : group.members) EXPECT_EQ(clustering.label[row], g);

    EXPECT_THAT(group.exemplars, SizeIs(5));
    EXPECT_EQ(group.exemplars[0], group.medoid);
    EXPECT_THAT(
        std::set<int32_t>(group.exemplars.begin(), group.exemplars.end()),
        SizeIs(5));
    for (const int32_t row : group.exemplars) EXPECT_TRUE(members.count(row));

    ASSERT_THAT(group.centroid, SizeIs(d));
    double within = 0;
    for (const int32_t row : group.members) {
      double distance = 0;
      for (int i = 0; i < d; ++i) {
        distance +=
            std::pow(world.failures[row * d + i] - group.centroid[i], 2);
      }
      within += std::sqrt(distance) <= group.radius * 1.00001;
    }
    EXPECT_NEAR(within / static_cast<double>(members.size()), .9, .01);
  }
}

TEST(ClusterFailures, IsTheSameForASeedWithAnyNumberOfThreads) {
  base::Random random(6);
  const PlantedWorld world = MakeTokenWorld(5, 80, 200, 400, .7, 64, &random);
  ClusterOptions options;
  options.threads = 1;
  const Clustering one = Cluster(world, options);
  options.threads = 2;
  const Clustering two = Cluster(world, options);
  EXPECT_EQ(one.label, two.label);
  ASSERT_EQ(one.groups.size(), two.groups.size());
  for (size_t g = 0; g < one.groups.size(); ++g) {
    EXPECT_EQ(one.groups[g].members, two.groups[g].members);
    EXPECT_EQ(one.groups[g].strengths, two.groups[g].strengths);
    EXPECT_EQ(one.groups[g].medoid, two.groups[g].medoid);
    EXPECT_EQ(one.groups[g].exemplars, two.groups[g].exemplars);
    EXPECT_EQ(one.groups[g].centroid, two.groups[g].centroid);
    EXPECT_EQ(one.groups[g].radius, two.groups[g].radius);
    EXPECT_EQ(one.groups[g].cohesion, two.groups[g].cohesion);
  }
}

TEST(ClusterFailures, OfNothingIsEmpty) {
  PlantedWorld world;
  world.dimension = 4;
  const Clustering clustering = Cluster(world);
  EXPECT_THAT(clustering.groups, IsEmpty());
  EXPECT_THAT(clustering.label, IsEmpty());
}

TEST(ClusterFailures, FewFailuresAreNoise) {
  EXPECT_THAT(Cluster(FailuresOnly({{1, 0, 0, 0}})).label, ElementsAre(-1));
  EXPECT_THAT(
      Cluster(FailuresOnly({{1, 0, 0, 0}, {0, 1, 0, 0}, {.6f, .8f, 0, 0}}))
          .label,
      Each(-1));
}

TEST(ClusterFailures, CopiesOfOneRunAreOneGroup) {
  const Clustering clustering = Cluster(
      FailuresOnly(std::vector<std::vector<float>>(25, {.6f, .8f, 0, 0})));
  ASSERT_THAT(clustering.groups, SizeIs(1));
  const Group& group = clustering.groups[0];
  EXPECT_THAT(group.members, SizeIs(25));
  EXPECT_THAT(group.strengths, Each(1));
  EXPECT_THAT(group.exemplars, ElementsAre(0));
  EXPECT_NEAR(group.radius, 0, 1e-6);
  EXPECT_THAT(clustering.label, Each(0));
}

TEST(ClusterFailures, CopiesShareTheLabelOfTheirRun) {
  base::Random random(7);
  PlantedWorld once = MakeGaussianWorld(4, 30, 0, 0, .5, 16, &random);
  std::vector<float> twice = once.failures;
  twice.insert(twice.end(), once.failures.begin(), once.failures.end());
  once.failures = once.pooled = twice;
  once.pooled_failed.assign(240, true);
  for (int32_t row = 120; row < 240; ++row) once.failure_row.push_back(row);
  const Clustering clustering = Cluster(once);
  EXPECT_THAT(clustering.groups, SizeIs(4));
  for (int i = 0; i < 120; ++i) {
    EXPECT_EQ(clustering.label[i], clustering.label[i + 120]);
    EXPECT_GE(clustering.label[i], 0);
  }
}

TEST(ClusterFailures, RunsWithoutTokensAreAGroupOfTheirOwn) {
  base::Random random(8);
  PlantedWorld world = MakeGaussianWorld(2, 30, 0, 0, .5, 16, &random);
  world.failures.resize(world.failures.size() + 20 * 16, 0);
  world.pooled = world.failures;
  world.pooled_failed.assign(80, true);
  for (int32_t row = 60; row < 80; ++row) world.failure_row.push_back(row);
  const Clustering clustering = Cluster(world);
  ASSERT_THAT(clustering.groups, SizeIs(3));
  EXPECT_EQ(clustering.groups[2].members.front(), 60);
  EXPECT_THAT(clustering.groups[2].members, SizeIs(20));
}

TEST(ClusterFailures, AFailureIsNoEvidenceForItself) {
  // Places of 60 runs: half fail, or all. Left out, a failure of the former has
  // 29 failures among the 59 others: less than the pooled three quarters.
  base::Random random(12);
  PlantedWorld world;
  world.dimension = 8;
  for (int i = 0; i < 480; ++i) {
    const int place = i / 60;
    const bool failed = place % 2 == 0 || i % 2 == 0;
    std::vector<float> vector(8);
    for (float& x : vector) x = static_cast<float>(.01 * random.Normal());
    vector[place] += 1;
    if (failed) {
      world.failure_row.push_back(i);
      world.failures.insert(world.failures.end(), vector.begin(), vector.end());
    }
    world.pooled.insert(world.pooled.end(), vector.begin(), vector.end());
    world.pooled_failed.push_back(failed);
  }
  ClusterOptions options;
  options.min_failures_to_filter = 1;
  const Clustering clustering = Cluster(world, options);
  EXPECT_EQ(clustering.filtered, 120);
  // One failure among successes has none around it, whatever the tail.
  PlantedWorld lone;
  lone.dimension = 2;
  lone.failures = {1, 0};
  lone.failure_row = {0};
  for (int i = 0; i < 40; ++i) {
    lone.pooled.insert(lone.pooled.end(), {1, .001f * static_cast<float>(i)});
    lone.pooled_failed.push_back(i == 0);
  }
  options.filter_tail = .999;
  EXPECT_EQ(Cluster(lone, options).filtered, 1);
}

TEST(ClusterFailures, CopiesAreFilteredByAllRunsAtTheirPoint) {
  // Two behaviours of 300 runs each: one fails 90 %, the other 40 %.
  PlantedWorld world;
  world.dimension = 2;
  for (int i = 0; i < 1200; ++i) {
    const bool bad = i % 2 == 0;
    const bool failed = i / 2 % 10 < (bad ? 9 : 4);
    const std::vector<float> vector = {bad ? 1.f : 0.f, bad ? 0.f : 1.f};
    if (failed) {
      world.failure_row.push_back(i);
      world.failures.insert(world.failures.end(), vector.begin(), vector.end());
    }
    world.pooled.insert(world.pooled.end(), vector.begin(), vector.end());
    world.pooled_failed.push_back(failed);
  }
  const Clustering clustering = Cluster(world);
  EXPECT_EQ(clustering.filtered, 240);
  ASSERT_THAT(clustering.groups, SizeIs(1));
  EXPECT_THAT(clustering.groups[0].members, SizeIs(540));
}

TEST(ClusterFailures, WithoutSuccessesNothingIsFiltered) {
  base::Random random(9);
  const PlantedWorld world = MakeGaussianWorld(4, 110, 0, 0, .5, 16, &random);
  const Clustering clustering = Cluster(world);
  EXPECT_EQ(clustering.filtered, 0);
  EXPECT_THAT(clustering.groups, SizeIs(4));
}

TEST(ClusterFailures, RefusesLengthsThatDisagree) {
  base::Random random(10);
  const PlantedWorld world = MakeGaussianWorld(1, 20, 0, 5, .5, 8, &random);
  ClusteringInput input = world.Input();
  input.dimension = 0;
  EXPECT_THAT(
      ClusterFailures(input, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dimension")));
  input = world.Input();
  input.dimension = 7;
  EXPECT_THAT(
      ClusterFailures(input, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiples")));
  input = world.Input();
  input.failure_row.pop_back();
  EXPECT_THAT(
      ClusterFailures(input, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("failure_row")));
  input = world.Input();
  input.failure_row[0] = 24;  // a success
  EXPECT_THAT(
      ClusterFailures(input, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a failure")));
}

}  // namespace
}  // namespace faultline::cluster
