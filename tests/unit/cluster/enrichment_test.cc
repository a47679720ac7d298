#include "lib/cluster/enrichment.h"

#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/support/status_matchers.h"

namespace faultline::cluster {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDimension = 8;

// Runs as (region, failed): region r stands around the r-th axis.
struct Runs {
  std::vector<float> vectors;
  std::vector<bool> failed;
  std::vector<int> region;

  void Add(int where, bool fails, base::Random* random) {
    for (int i = 0; i < kDimension; ++i) {
      vectors.push_back(
          static_cast<float>((i == where ? 1 : 0) + .05 * random->Normal()));
    }
    failed.push_back(fails);
    region.push_back(where);
  }
};

// The reference's failures in region r are mode r, for r < modes.
EnrichmentInput MakeInput(const Runs& reference, const Runs& held_out,
                          int modes) {
  EnrichmentInput input;
  input.dimension = kDimension;
  input.reference = reference.vectors;
  for (size_t i = 0; i < reference.failed.size(); ++i) {
    input.reference_label.push_back(!reference.failed[i] ? kSuccess
                                    : reference.region[i] < modes
                                        ? reference.region[i]
                                        : kOtherFailure);
  }
  input.held_out = held_out.vectors;
  input.held_out_failed = held_out.failed;
  input.stratum.assign(held_out.failed.size(), 0);
  input.modes = modes;
  return input;
}

// n runs over `regions`; region r fails with rate(r).
template <typename Rate>
Runs Draw(int n, int regions, Rate rate, base::Random* random) {
  Runs runs;
  for (int i = 0; i < n; ++i) {
    const int region = static_cast<int>(random->Below(regions));
    runs.Add(region, random->Bernoulli(rate(region)), random);
  }
  return runs;
}

TEST(TestEnrichment, AcceptsAModeThatFailsMore) {
  base::Random random(1);
  const auto rate = [](int region) { return region == 0 ? .8 : .3; };
  const Runs reference = Draw(400, 5, rate, &random);
  const Runs held_out = Draw(600, 5, rate, &random);
  ASSERT_OK_AND_ASSIGN(const EnrichmentResult result,
                       TestEnrichment(MakeInput(reference, held_out, 1), 1));
  ASSERT_EQ(result.enrichment.size(), 1);
  const v1::Enrichment& enrichment = result.enrichment[0];
  EXPECT_EQ(enrichment.held_out_runs(), 600);
  EXPECT_LT(enrichment.p_value(), 1e-6);
  EXPECT_GT(enrichment.odds_ratio_lower(), 3);
  EXPECT_EQ(enrichment.adjusted_p_value(), 0);
  EXPECT_EQ(enrichment.strata(), 1);

  uint64_t assigned = 0, assigned_failed = 0, failed = 0;
  for (size_t i = 0; i < held_out.failed.size(); ++i) {
    EXPECT_EQ(result.assigned[i], held_out.region[i] == 0 ? 0 : -1) << i;
    failed += held_out.failed[i];
    assigned += result.assigned[i] == 0;
    assigned_failed += result.assigned[i] == 0 && held_out.failed[i];
  }
  EXPECT_EQ(enrichment.assigned(), assigned);
  EXPECT_EQ(enrichment.assigned_failed(), assigned_failed);
  EXPECT_NEAR(enrichment.expected_failed(),
              static_cast<double>(assigned * failed) / 600, 1e-9);
}

TEST(TestEnrichment, PValuesAreUniformWhereOutcomesAreBlind) {
  base::Random random(2);
  int tests = 0, below_5 = 0, below_50 = 0;
  for (int world = 0; world < 150; ++world) {
    const auto rate = [](int) { return .5; };
    const Runs reference = Draw(90, 3, rate, &random);
    const Runs held_out = Draw(240, 3, rate, &random);
    EnrichmentInput input = MakeInput(reference, held_out, 2);
    input.strata = 3;
    for (int32_t& stratum : input.stratum) {
      stratum = static_cast<int32_t>(random.Below(3));
    }
    ASSERT_OK_AND_ASSIGN(const EnrichmentResult result,
                         TestEnrichment(input, 1));
    for (const v1::Enrichment& enrichment : result.enrichment) {
      if (enrichment.assigned() < 20) continue;
      ++tests;
      below_5 += enrichment.p_value() < .05;
      below_50 += enrichment.p_value() < .5;
    }
  }
  EXPECT_GE(tests, 250);
  EXPECT_LE(below_5, .09 * tests);
  EXPECT_GE(below_5, .01 * tests);  // it can reject at all
  EXPECT_NEAR(below_50, .45 * tests, .1 * tests);
}

TEST(TestEnrichment, StrataRefuseWhatASliceExplains) {
  // Slice 0 fails at 85 %, slice 1 at 30 %; each has its own regions, and
  // within a slice the outcome is blind.
  base::Random random(3);
  int with_strata = 0, without = 0;
  constexpr int kWorlds = 40;
  for (int world = 0; world < kWorlds; ++world) {
    const auto rate = [](int region) { return region < 3 ? .85 : .30; };
    const Runs reference = Draw(300, 6, rate, &random);
    const Runs held_out = Draw(300, 6, rate, &random);
    EnrichmentInput input = MakeInput(reference, held_out, 1);
    ASSERT_OK_AND_ASSIGN(EnrichmentResult result, TestEnrichment(input, 1));
    without += result.enrichment[0].p_value() < .05;

    const auto slices = [](const Runs& runs) {
      std::vector<uint64_t> slice;
      for (const int region : runs.region) slice.push_back(region < 3 ? 7 : 9);
      return slice;
    };
    input.stratum = PrognosticStrata(slices(reference), reference.failed,
                                     slices(held_out), &input.strata);
    ASSERT_EQ(input.strata, 2);
    ASSERT_OK_AND_ASSIGN(result, TestEnrichment(input, 1));
    with_strata += result.enrichment[0].p_value() < .05;
    EXPECT_EQ(result.enrichment[0].strata(), 1);
  }
  EXPECT_GE(without, .95 * kWorlds);
  EXPECT_LE(with_strata, .15 * kWorlds);
}

TEST(TestEnrichment, NeedsFiveOfFifteenVotes) {
  // One place: 15 reference runs, of which `votes` are of the mode.
  for (const int votes : {4, 5}) {
    base::Random random(4);
    Runs reference, held_out;
    for (int i = 0; i < 15; ++i) reference.Add(0, i < votes, &random);
    held_out.Add(0, true, &random);
    ASSERT_OK_AND_ASSIGN(const EnrichmentResult result,
                         TestEnrichment(MakeInput(reference, held_out, 1), 1));
    EXPECT_THAT(result.assigned, ElementsAre(votes == 5 ? 0 : -1));
  }
}

TEST(TestEnrichment, OthersAreAssignedAndNotTested) {
  base::Random random(9);
  const Runs reference = Draw(
      300, 3, [](int region) { return region < 2 ? .9 : 0; }, &random);
  const Runs held_out = Draw(
      90, 3, [](int region) { return region < 2 ? .9 : 0; }, &random);
  const Runs others = Draw(
      60, 3, [](int) { return 0; }, &random);
  EnrichmentInput input = MakeInput(reference, held_out, 2);
  ASSERT_OK_AND_ASSIGN(const EnrichmentResult alone, TestEnrichment(input, 1));
  EXPECT_THAT(alone.others_assigned, IsEmpty());
  input.others = others.vectors;
  ASSERT_OK_AND_ASSIGN(const EnrichmentResult result, TestEnrichment(input, 1));
  EXPECT_EQ(result.assigned, alone.assigned);
  EXPECT_EQ(result.enrichment[0].p_value(), alone.enrichment[0].p_value());
  std::vector<int32_t> expected;
  for (const int region : others.region) {
    expected.push_back(region < 2 ? region : -1);
  }
  EXPECT_EQ(result.others_assigned, expected);
}

TEST(TestEnrichment, CopiesVoteByTheirAverage) {
  // 100 copies at one point, 40 % of the mode: 6 of 15 votes, whatever their
  // order; 30 %: 4.5.
  for (const int percent : {30, 40}) {
    for (const bool successes_first : {false, true}) {
      EnrichmentInput input;
      input.dimension = 2;
      std::vector<float> reference;
      for (int i = 0; i < 100; ++i) {
        reference.insert(reference.end(), {1, 0});
        input.reference_label.push_back(
            (successes_first ? i >= 100 - percent : i < percent) ? 0
                                                                 : kSuccess);
      }
      const std::vector<float> held_out = {.9f, .1f};
      input.reference = reference;
      input.held_out = held_out;
      input.held_out_failed = {true};
      input.stratum = {0};
      input.modes = 1;
      ASSERT_OK_AND_ASSIGN(const EnrichmentResult result,
                           TestEnrichment(input, 1));
      EXPECT_THAT(result.assigned, ElementsAre(percent == 40 ? 0 : -1));
    }
  }
}

TEST(TestEnrichment, RunsWithoutTokensVoteForEachOtherOnly) {
  EnrichmentInput input;
  input.dimension = 2;
  std::vector<float> reference(2 * 20, 0);
  input.reference_label.assign(20, 1);
  for (int i = 0; i < 20; ++i) {
    reference.insert(reference.end(), {1, 0});
    input.reference_label.push_back(0);
  }
  // -1, 0 is nearer to 0, 0 than to 1, 0.
  const std::vector<float> held_out = {0, 0, -1, 0};
  input.reference = reference;
  input.held_out = held_out;
  input.held_out_failed = {true, true};
  input.stratum = {0, 0};
  input.modes = 2;
  ASSERT_OK_AND_ASSIGN(const EnrichmentResult result, TestEnrichment(input, 1));
  EXPECT_THAT(result.assigned, ElementsAre(1, 0));
}

TEST(TestEnrichment, NothingToTestClaimsNothing) {
  EnrichmentInput input;
  input.dimension = 4;
  input.modes = 2;
  ASSERT_OK_AND_ASSIGN(const EnrichmentResult result, TestEnrichment(input, 1));
  EXPECT_THAT(result.assigned, IsEmpty());
  ASSERT_EQ(result.enrichment.size(), 2);
  EXPECT_EQ(result.enrichment[1].p_value(), 1);
  EXPECT_EQ(result.enrichment[1].odds_ratio(), 1);
}

TEST(TestEnrichment, RefusesWhatDisagrees) {
  base::Random random(5);
  Runs reference, held_out;
  reference.Add(0, true, &random);
  held_out.Add(0, true, &random);
  const EnrichmentInput good = MakeInput(reference, held_out, 1);
  ASSERT_OK(TestEnrichment(good, 1));
  EnrichmentInput bad = good;
  bad.dimension = 7;
  EXPECT_THAT(
      TestEnrichment(bad, 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reference")));
  bad = good;
  bad.stratum = {};
  EXPECT_THAT(
      TestEnrichment(bad, 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("held_out")));
  bad = good;
  bad.stratum = {1};
  EXPECT_THAT(
      TestEnrichment(bad, 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stratum 1")));
  bad = good;
  bad.reference_label = {1};
  EXPECT_THAT(TestEnrichment(bad, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("reference_label 1")));
}

TEST(PrognosticStrata, CutsAtOctilesByRisingRate) {
  // 16 cells; cell c fails c times in 16.
  std::vector<uint64_t> discovery, held_out;
  std::vector<bool> failed;
  for (uint64_t cell = 0; cell < 16; ++cell) {
    for (uint64_t i = 0; i < 16; ++i) {
      discovery.push_back(cell);
      failed.push_back(i < cell);
    }
    for (int i = 0; i < 10; ++i) held_out.push_back(cell);
  }
  int strata = 0;
  const std::vector<int32_t> stratum =
      PrognosticStrata(discovery, failed, held_out, &strata);
  EXPECT_EQ(strata, 8);
  for (size_t i = 0; i < held_out.size(); ++i) {
    EXPECT_EQ(stratum[i], held_out[i] / 2);
  }
}

TEST(PrognosticStrata, KeepsACellTogether) {
  int strata = 0;
  EXPECT_THAT(PrognosticStrata({1, 1, 2, 2}, {true, true, false, false},
                               {1, 1, 1, 1, 1, 1, 1, 2}, &strata),
              ElementsAre(1, 1, 1, 1, 1, 1, 1, 0));
  EXPECT_EQ(strata, 2);
}

// Two cells of different rates in one octile would make whatever tells them
// apart look like a cause.
TEST(PrognosticStrata, ALargeCellStandsAlone) {
  std::vector<uint64_t> discovery, held_out;
  std::vector<bool> failed;
  for (uint64_t cell = 0; cell < 20; ++cell) {
    for (uint64_t i = 0; i < 20; ++i) {
      discovery.push_back(cell);
      failed.push_back(i < cell);
      held_out.push_back(cell);
    }
  }
  held_out.push_back(99);
  int strata = 0;
  const std::vector<int32_t> stratum =
      PrognosticStrata(discovery, failed, held_out, &strata);
  EXPECT_EQ(strata, 21);
  EXPECT_EQ(stratum.back(), 0);
  for (size_t i = 0; i + 1 < held_out.size(); ++i) {
    EXPECT_EQ(stratum[i], held_out[i] + 1);
  }
}

TEST(PrognosticStrata, AnUnknownCellScoresThePooledRate) {
  std::vector<uint64_t> discovery;
  std::vector<bool> failed;
  for (int i = 0; i < 20; ++i) {
    discovery.insert(discovery.end(), {1, 2});
    failed.insert(failed.end(), {true, false});
  }
  int strata = 0;
  EXPECT_THAT(PrognosticStrata(discovery, failed, {1, 2, 3}, &strata),
              ElementsAre(2, 0, 1));
  EXPECT_EQ(strata, 3);
}

TEST(PrognosticStrata, WithoutHistoryIsOneStratum) {
  int strata = 0;
  EXPECT_THAT(PrognosticStrata({}, {}, {5, 6, 7}, &strata), Each(0));
  EXPECT_EQ(strata, 1);
  EXPECT_THAT(PrognosticStrata({}, {}, {}, &strata), IsEmpty());
  EXPECT_EQ(strata, 1);
}

}  // namespace
}  // namespace faultline::cluster
