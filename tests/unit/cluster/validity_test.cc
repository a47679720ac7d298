#include "lib/cluster/validity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/stats/evidence.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/cluster/planted_world.h"

namespace faultline::cluster {
namespace {

using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;

constexpr int kDimension = 64;

CheckSample SampleOf(const PlantedWorld& world, int modes) {
  return {world.dimension, world.failures, world.mode, modes};
}

Rediscovery Again(const CheckSample& sample) {
  return *Rediscovery::Create(sample, 1, 1);
}

TEST(Rediscovery, FindsPlantedModesAgainWhateverIsLeftOut) {
  base::Random random(1);
  const PlantedWorld world =
      MakeGaussianWorld(4, 60, 0, 0, .4, kDimension, &random);
  const Rediscovery again = Again(SampleOf(world, 4));
  EXPECT_THAT(again.FindAgain({}), Each(Ge(.95)));
  // Without mode 2 and half of the others.
  std::vector<bool> kept;
  for (size_t i = 0; i < world.mode.size(); ++i) {
    kept.push_back(world.mode[i] != 2 && random.Bernoulli(.5));
  }
  const std::vector<double> found = again.FindAgain(kept);
  EXPECT_EQ(found[2], -1);
  for (const int mode : {0, 1, 3}) EXPECT_GE(found[mode], .9) << mode;
}

TEST(Rediscovery, DoesNotFindLabelsThatMeanNothing) {
  base::Random random(2);
  PlantedWorld world = MakeGaussianWorld(4, 60, 0, 0, .4, kDimension, &random);
  random.Shuffle(&world.mode);
  EXPECT_THAT(Again(SampleOf(world, 4)).FindAgain({}), Each(Le(.45)));
}

TEST(Rediscovery, JudgesOnlyWhatHasFifteenRows) {
  base::Random random(3);
  const PlantedWorld world =
      MakeGaussianWorld(3, 20, 0, 0, .4, kDimension, &random);
  std::vector<bool> kept(world.mode.size(), true);
  int left = 20;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (world.mode[i] == 0 && left > 14) {
      kept[i] = false;
      --left;
    }
  }
  const std::vector<double> found = Again(SampleOf(world, 3)).FindAgain(kept);
  EXPECT_EQ(found[0], -1);
  EXPECT_GE(found[1], .9);
}

TEST(Rediscovery, CopiesOfOneRunAreAModeAndEmptyRunsHaveNoCommunity) {
  base::Random random(4);
  PlantedWorld world = MakeGaussianWorld(2, 40, 0, 0, .4, kDimension, &random);
  for (int copy = 0; copy < 30; ++copy) {
    world.mode.push_back(2);
    for (int i = 0; i < kDimension; ++i) {
      world.failures.push_back(i == 0 ? 1 : 0);
    }
  }
  world.mode.push_back(-1);
  world.failures.resize(world.failures.size() + kDimension);
  const Rediscovery again = Again(SampleOf(world, 3));
  EXPECT_EQ(again.Communities({}).back(), -1);
  EXPECT_THAT(again.FindAgain({}), SizeIs(3));
}

TEST(Rediscovery, NothingIsFoundInNothing) {
  const Rediscovery again = Again({4, {}, {}, 2});
  EXPECT_THAT(again.Communities({}), IsEmpty());
  EXPECT_THAT(again.FindAgain({}), ElementsAre(-1, -1));
  EXPECT_THAT(again.TieWeights(), ElementsAre(-1, -1));
  EXPECT_EQ(again.HeaviestCommunity(), 0);
}

TEST(HeaviestShuffledTies, AreLighterThanThoseOfModesThatJoinChannels) {
  // No block alone tells the modes apart, so shuffling leaves nothing.
  base::Random random(5);
  const PlantedWorld world =
      MakeGaussianWorld(5, 60, 0, 0, .9, kDimension, &random);
  const CheckSample sample = SampleOf(world, 5);
  std::vector<VectorBlock> blocks;
  for (int begin = 0; begin < kDimension; begin += 4) {
    blocks.push_back({begin, 4});
  }
  const std::vector<int32_t> one_stratum(world.mode.size(), 0);
  ASSERT_OK_AND_ASSIGN(
      const std::vector<double> shuffled,
      HeaviestShuffledTies(sample, blocks, one_stratum, 10, 1, 1));
  ASSERT_THAT(shuffled, SizeIs(10));
  const double heaviest = *std::max_element(shuffled.begin(), shuffled.end());
  EXPECT_THAT(Again(sample).TieWeights(), Each(Ge(heaviest + .02)));

  ASSERT_OK_AND_ASSIGN(
      const std::vector<double> with_two_threads,
      HeaviestShuffledTies(sample, blocks, one_stratum, 10, 1, 2));
  EXPECT_EQ(shuffled, with_two_threads);
}

TEST(HeaviestShuffledTies, AreThoseOfTheRunsWhereEachIsItsOwnStratum) {
  base::Random random(6);
  const PlantedWorld world =
      MakeGaussianWorld(3, 40, 0, 0, .4, kDimension, &random);
  std::vector<int32_t> alone(world.mode.size());
  std::iota(alone.begin(), alone.end(), 0);
  ASSERT_OK_AND_ASSIGN(const std::vector<double> shuffled,
                       HeaviestShuffledTies(SampleOf(world, 3),
                                            {{0, kDimension}}, alone, 1, 1, 1));
  EXPECT_THAT(shuffled,
              ElementsAre(DoubleNear(
                  Again(SampleOf(world, 3)).HeaviestCommunity(), 1e-6)));
}

TEST(RemoveSliceMeans, TakesOutTheShrunkDifferenceAndKeepsTheLength) {
  // 50 successes at (1, 0) and 50 at (0, 1): the mean of all is (.5, .5), the
  // trust 50 / 100, so (.25, -.25) is taken out of the first slice.
  std::vector<float> successes;
  std::vector<int32_t> level;
  for (int i = 0; i < 100; ++i) {
    successes.push_back(i < 50 ? 1 : 0);
    successes.push_back(i < 50 ? 0 : 1);
    level.push_back(i < 50 ? 0 : 1);
  }
  const std::vector<float> failures = {1, 0, 1, 0, 0, 0};
  const std::vector<int32_t> failure_level = {0, -1, 0};
  const std::vector<float> rest =
      RemoveSliceMeans(failures, failure_level, successes, level, 2, 2);
  const double length = std::sqrt(.75 * .75 + .25 * .25);
  EXPECT_NEAR(rest[0], .75 / length, 1e-6);
  EXPECT_NEAR(rest[1], .25 / length, 1e-6);
  EXPECT_EQ(rest[2], 1);  // of no slice
  EXPECT_EQ(rest[3], 0);
  // A run without a vector gets none.
  EXPECT_EQ(rest[4], 0);
  EXPECT_EQ(rest[5], 0);
}

TEST(RemoveSliceMeans, ClustersThatAreSlicesGo) {
  // Three slices with directions of their own, and two modes across them.
  base::Random random(7);
  const auto draw = [&](int slice, int mode, std::vector<float>* out) {
    for (int i = 0; i < kDimension; ++i) {
      double x = .08 * random.Normal();
      if (i == slice) x += 1;
      if (mode >= 0 && i == 8 + mode) x += .7;
      out->push_back(static_cast<float>(x));
    }
  };
  std::vector<float> failures, successes;
  std::vector<int32_t> slice_of, mode_of, success_slice;
  for (int i = 0; i < 360; ++i) {
    slice_of.push_back(i % 3);
    mode_of.push_back(i % 2);
    draw(i % 3, i % 2, &failures);
  }
  for (int i = 0; i < 900; ++i) {
    success_slice.push_back(i % 3);
    draw(i % 3, -1, &successes);
  }
  const auto found = [&](const std::vector<float>& vectors,
                         const std::vector<int32_t>& mode, int modes) {
    return Again({kDimension, vectors, mode, modes}).FindAgain({});
  };
  const std::vector<float> rest = RemoveSliceMeans(
      failures, slice_of, successes, success_slice, 3, kDimension);
  EXPECT_THAT(found(failures, slice_of, 3), Each(Ge(.9)));
  EXPECT_THAT(found(rest, slice_of, 3), Each(Le(.5)));
  EXPECT_THAT(found(rest, mode_of, 2), Each(Ge(.9)));
}

TEST(PredictionStrengths, CountPairs) {
  // Mode 0: 4 and 2 of its 6 rows together, 7 of 15 pairs; mode 1: all; mode 2
  // has too few.
  const std::vector<int32_t> assigned = {0, 0, 0, 0, 0, 0,  1, 1,
                                         1, 1, 1, 2, 2, -1, 0};
  const std::vector<int32_t> own = {3, 3, 3, 3, 5, 5, 0, 0,
                                    0, 0, 0, 1, 1, 3, -1};
  EXPECT_THAT(PredictionStrengths(assigned, own, 3),
              ElementsAre(DoubleNear(7. / 15, 1e-12), 1, -1));
  EXPECT_THAT(PredictionStrengths({}, {}, 1), ElementsAre(-1));
}

// Held-out runs drawn one by one.
struct Drawn {
  std::vector<int32_t> assigned, level, stratum;
  std::vector<bool> failed;

  void Add(int count, int mode, bool fails, int at) {
    for (int i = 0; i < count; ++i) {
      assigned.push_back(mode);
      failed.push_back(fails);
      level.push_back(at);
      stratum.push_back(0);
    }
  }
  HeldOutRuns Runs() const {
    HeldOutRuns runs;
    runs.assigned = assigned;
    runs.failed = &failed;
    runs.stratum = stratum;
    runs.modes = 1;
    return runs;
  }
};

TEST(ReplicateWithin, MeasuresEachValueWithEnoughRuns) {
  Drawn drawn;
  // Value 0: odds 3 to 1 inside, 1 to 1 outside; value 1: 1 to 1 and 1 to 1.
  drawn.Add(30, 0, true, 0);
  drawn.Add(10, 0, false, 0);
  drawn.Add(40, -1, true, 0);
  drawn.Add(40, -1, false, 0);
  drawn.Add(20, 0, true, 1);
  drawn.Add(20, 0, false, 1);
  drawn.Add(40, -1, true, 1);
  drawn.Add(40, -1, false, 1);
  drawn.Add(4, 0, true, 2);  // too few to be counted
  drawn.Add(4, -1, false, 2);
  drawn.Add(10, -1, false, -1);
  const std::vector<Replication> result =
      ReplicateWithin(drawn.Runs(), drawn.level, 3);
  ASSERT_THAT(result, SizeIs(1));
  EXPECT_EQ(result[0].tested, 2);
  EXPECT_EQ(result[0].share, .5);
  // Woolf's variances: 1/30 + 1/10 + 2/40 and 4 cells of 20 and 40.
  const stats::Heterogeneity expected = stats::MeasureHeterogeneity(
      {{std::log(3.0), std::sqrt(1 / 30. + .1 + .05)},
       {0, std::sqrt(.1 + .05)}});
  EXPECT_NEAR(result[0].q, expected.q, .02);
  EXPECT_NEAR(result[0].i_squared, expected.i_squared, .01);
  EXPECT_NEAR(result[0].p_value, expected.p_value, .01);
}

TEST(ReplicateWithin, NothingIsTestedWhereNothingIsAssigned) {
  Drawn drawn;
  drawn.Add(50, -1, true, 0);
  drawn.Add(50, -1, false, 1);
  const std::vector<Replication> result =
      ReplicateWithin(drawn.Runs(), drawn.level, 2);
  EXPECT_EQ(result[0].tested, 0);
  EXPECT_EQ(result[0].share, -1);
  EXPECT_EQ(result[0].p_value, 1);
}

TEST(ReplicateWithin, EqualRatiosAreFoundUnequalOneTimeInTwenty) {
  base::Random random(8);
  int rejected = 0;
  constexpr int kWorlds = 600;
  for (int world = 0; world < kWorlds; ++world) {
    Drawn drawn;
    for (int i = 0; i < 900; ++i) {
      const int level = static_cast<int>(random.Below(3));
      const bool inside = random.Bernoulli(.3);
      drawn.Add(1, inside ? 0 : -1, random.Bernoulli(inside ? .6 : .4), level);
    }
    rejected += ReplicateWithin(drawn.Runs(), drawn.level, 3)[0].p_value <= .05;
  }
  EXPECT_NEAR(rejected, .05 * kWorlds, .03 * kWorlds);
}

// A mode that lacks nothing.
Standing Sound() {
  Standing standing;
  standing.stability = .8;
  standing.enrichment.set_assigned(100);
  standing.enrichment.set_assigned_failed(80);
  standing.enrichment.set_expected_failed(40);
  standing.enrichment.set_p_value(1e-9);
  standing.enrichment.set_odds_ratio(4);
  standing.enrichment.set_odds_ratio_lower(2);
  standing.validity.mutable_evidence()->set_confirmed_tick(3);
  standing.validity.set_transferable(true);
  standing.validity.set_failure_information_bits(.1);
  return standing;
}

TEST(Judge, AModeThatLacksNothingIsStable) {
  const Verdict verdict = Judge(Sound());
  EXPECT_EQ(verdict.status, v1::Cluster::STATUS_STABLE);
  EXPECT_THAT(verdict.reason, HasSubstr("80 of 100 held-out runs"));
  EXPECT_THAT(verdict.reason, HasSubstr("holds across slices"));
  EXPECT_THAT(verdict.concerns, IsEmpty());
}

TEST(Judge, ASmallModeWhoseStabilityIsNotKnownMayBeStable) {
  Standing standing = Sound();
  standing.stability = -1;
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_STABLE);
  EXPECT_THAT(Judge(standing).concerns, SizeIs(1));
}

TEST(Judge, EachMissingPartMakesACandidateOrAHypothesis) {
  Standing standing = Sound();
  standing.validity.mutable_evidence()->clear_confirmed_tick();
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_CANDIDATE);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("not confirmed"));

  standing.enrichment.set_assigned(12);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_CANDIDATE);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("fewer than 20"));

  standing.enrichment.set_p_value(.06);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_HYPOTHESIS);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("too little"));

  standing = Sound();
  standing.stability = .55;
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_HYPOTHESIS);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("stability is 0.55"));

  standing = Sound();
  standing.enrichment.set_odds_ratio(1.4);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_CANDIDATE);

  standing = Sound();
  standing.validity.set_transferable(false);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_CANDIDATE);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("across slices"));
  standing.validity.add_slice_bound("system.model = small");
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_STABLE);
  EXPECT_THAT(Judge(standing).reason,
              HasSubstr("bound to system.model = small"));
}

TEST(Judge, HeldOutRunsRefuteWhatTheyHaveNotConfirmed) {
  Standing standing = Sound();
  standing.enrichment.set_p_value(.3);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_STABLE)
      << "confirmed for good";
  standing.validity.mutable_evidence()->clear_confirmed_tick();
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_ARTIFACT);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("no more than their strata"));
  standing.enrichment.set_assigned(49);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_HYPOTHESIS);
}

TEST(Judge, WhatSubsamplesDoNotFindIsAnArtifact) {
  Standing standing = Sound();
  standing.stability = .49;
  const Verdict verdict = Judge(standing);
  EXPECT_EQ(verdict.status, v1::Cluster::STATUS_ARTIFACT);
  EXPECT_THAT(verdict.reason, HasSubstr("subsamples do not find it"));
}

TEST(Judge, ASliceThatDoesNotSurelyFailMoreIsAnArtifact) {
  Standing standing = Sound();
  v1::SliceCheck& slice = *standing.validity.add_slices();
  slice.set_variable("system.model");
  slice.set_largest_value("small");
  slice.set_agreement(.7);
  slice.set_heterogeneity_p_value(1);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_STABLE);
  standing.enrichment.set_odds_ratio_lower(.9);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_ARTIFACT);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("system.model = small"));
  slice.set_agreement(.6);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_STABLE);
}

TEST(Judge, WhatIsLeftOfNothingWithoutItsSliceIsAnArtifact) {
  Standing standing = Sound();
  standing.validity.set_residual_agreement(.1);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_STABLE);
  standing.validity.add_slice_bound("task.type = travel");
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_ARTIFACT);
  standing.validity.set_residual_agreement(.3);
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_STABLE);
}

TEST(Judge, OnlyNewRunsBringBackWhatWasRefused) {
  Standing standing = Sound();
  standing.refused_before = true;
  EXPECT_EQ(Judge(standing).status, v1::Cluster::STATUS_ARTIFACT);
  EXPECT_THAT(Judge(standing).reason, HasSubstr("refused before"));
}

TEST(Judge, SaysWhatSpeaksAgainstIt) {
  Standing standing = Sound();
  standing.validity.set_prediction_strength(.7);
  standing.validity.set_model_information_bits(.2);
  standing.validity.mutable_shuffle_null()->set_p_value(.5);
  v1::SliceCheck& slice = *standing.validity.add_slices();
  slice.set_variable("task.dataset");
  slice.set_transfer(.3);
  slice.set_replication(.5);
  slice.set_values_tested(4);
  slice.set_heterogeneity_p_value(.001);
  slice.set_i_squared(.9);
  const Verdict verdict = Judge(standing);
  EXPECT_EQ(verdict.status, v1::Cluster::STATUS_STABLE);
  EXPECT_THAT(verdict.concerns, Contains(HasSubstr("0.70 of its pairs")));
  EXPECT_THAT(verdict.concerns, Contains(HasSubstr("which model ran")));
  EXPECT_THAT(verdict.concerns, Contains(HasSubstr("shuffled channels")));
  EXPECT_THAT(verdict.concerns, Contains(HasSubstr("across task.dataset")));
  slice.set_replication(.6);
  EXPECT_THAT(Judge(standing).concerns, Contains(HasSubstr("I-squared 0.90")));
}

TEST(HoldsAcross, NeedsOneOfTheTwoWhereThereIsAny) {
  v1::SliceCheck slice;
  EXPECT_TRUE(HoldsAcross(slice));
  slice.set_transfer(.4);
  EXPECT_FALSE(HoldsAcross(slice));
  slice.set_replication(.59);
  EXPECT_FALSE(HoldsAcross(slice));
  slice.set_replication(.6);
  EXPECT_TRUE(HoldsAcross(slice));
  slice.clear_replication();
  slice.set_transfer(.5);
  EXPECT_TRUE(HoldsAcross(slice));
}

}  // namespace
}  // namespace faultline::cluster
