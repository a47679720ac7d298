#include "tests/worlds/world.h"

#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::worlds {
namespace {

constexpr WorldKind kKinds[] = {
    WorldKind::kPlanted,         WorldKind::kOutcomeNull, WorldKind::kSliceNull,
    WorldKind::kHiddenSliceNull, WorldKind::kRare,        WorldKind::kNewMode,
    WorldKind::kShift,           WorldKind::kPlacebo,     WorldKind::kHarmful};

WorldOptions Options(WorldKind kind, WorldStyle style, uint64_t seed = 1) {
  WorldOptions options;
  options.kind = kind;
  options.style = style;
  options.seed = seed;
  return options;
}

std::vector<Truth> Truths(const World& world, uint64_t runs,
                          const std::vector<int>& fixes = {}) {
  std::vector<Truth> truths;
  truths.reserve(runs);
  for (uint64_t i = 0; i < runs; ++i) {
    truths.push_back(world.Draw(i, fixes).truth);
  }
  return truths;
}

double FailureRate(const std::vector<Truth>& truths, auto among) {
  double runs = 0;
  double failed = 0;
  for (const Truth& truth : truths) {
    if (!among(truth)) continue;
    ++runs;
    failed += truth.failed ? 1 : 0;
  }
  return failed / runs;
}

uint64_t Fingerprint(const std::string& bytes) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return hash;
}

class StyleTest : public testing::TestWithParam<WorldStyle> {};

INSTANTIATE_TEST_SUITE_P(AllStyles, StyleTest,
                         testing::Values(WorldStyle::kChains,
                                         WorldStyle::kScripts),
                         [](const auto& param) {
                           return param.param == WorldStyle::kChains
                                      ? "Chains"
                                      : "Scripts";
                         });

TEST_P(StyleTest, SameOptionsGiveTheSameRunsInAnyOrder) {
  for (const WorldKind kind : kKinds) {
    const World a(Options(kind, GetParam()));
    const World b(Options(kind, GetParam()));
    const std::string later = b.Draw(41).trace.SerializeAsString();
    for (const uint64_t i : {0, 41}) {
      EXPECT_EQ(a.Draw(i).trace.DebugString(), b.Draw(i).trace.DebugString());
    }
    const World other(Options(kind, GetParam(), 2));
    EXPECT_NE(later, other.Draw(41).trace.SerializeAsString());
  }
}

TEST_P(StyleTest, TheTraceDoesNotSayWhichModeStruck) {
  const World world(Options(WorldKind::kPlanted, GetParam()));
  for (uint64_t i = 0; i < 200; ++i) {
    const SimulatedRun run = world.Draw(i);
    EXPECT_EQ(run.trace.trace_id(), run.truth.trace_id);
    EXPECT_EQ(run.trace.annotations_size(), 0);
    EXPECT_FALSE(run.trace.evaluation().has_score());
    EXPECT_EQ(run.trace.evaluation().outcome() == v1::OUTCOME_FAIL,
              run.truth.failed);
  }
}

TEST_P(StyleTest, ModesStrikeInTheirTriggerAndMakeRunsFail) {
  const World world(Options(WorldKind::kPlanted, GetParam()));
  std::map<int, int> strikes;
  int without_pattern = 0;
  int failures = 0;
  for (const Truth& truth : Truths(world, 4000)) {
    if (truth.mode < 0) {
      without_pattern += truth.failed ? 1 : 0;
    } else {
      EXPECT_TRUE(truth.failed);
      EXPECT_EQ(truth.signature, truth.mode);
      ++strikes[truth.mode];
    }
    failures += truth.failed ? 1 : 0;
  }
  EXPECT_EQ(strikes.size(), 8u);
  for (const auto& [mode, count] : strikes) EXPECT_GT(count, 15) << mode;
  EXPECT_GT(failures, 1000);
  EXPECT_LT(failures, 2400);
  EXPECT_GT(without_pattern, failures / 5);
  EXPECT_LT(without_pattern, failures / 2 + failures / 10);
}

TEST_P(StyleTest, InTheOutcomeNullNothingTellsWhoFails) {
  const World world(Options(WorldKind::kOutcomeNull, GetParam()));
  const std::vector<Truth> truths = Truths(world, 6000);
  const double marked =
      FailureRate(truths, [](const Truth& t) { return t.signature >= 0; });
  const double plain =
      FailureRate(truths, [](const Truth& t) { return t.signature < 0; });
  EXPECT_NEAR(marked, plain, 0.06);
  for (const Truth& truth : truths) EXPECT_EQ(truth.mode, -1);
}

TEST_P(StyleTest, InTheSliceNullOnlyTheSliceTellsWhoFails) {
  for (const WorldKind kind :
       {WorldKind::kSliceNull, WorldKind::kHiddenSliceNull}) {
    const World world(Options(kind, GetParam()));
    const std::vector<Truth> truths = Truths(world, 6000);
    std::map<int, double> rate;
    for (int d = 0; d < 2 * world.sizes().task_types; ++d) {
      rate[d] = FailureRate(
          truths, [d](const Truth& t) { return t.context.dataset == d; });
    }
    int failing = 0;
    for (const auto& [dataset, share] : rate) {
      EXPECT_NEAR(share, share > 0.5 ? 0.85 : 0.3, 0.08);
      failing += share > 0.5 ? 1 : 0;
      // By whole task types, or by one dataset of each.
      if (kind == WorldKind::kSliceNull) {
        EXPECT_NEAR(share, rate[dataset ^ 1], 0.12);
      }
      const double marked = FailureRate(truths, [d = dataset](const Truth& t) {
        return t.context.dataset == d && t.signature >= 0;
      });
      EXPECT_NEAR(marked, share, 0.2);
    }
    EXPECT_EQ(failing, kind == WorldKind::kSliceNull ? 4 : 2);
  }
}

TEST_P(StyleTest, ANewModeBeginsAtItsTick) {
  WorldOptions options = Options(WorldKind::kNewMode, GetParam());
  options.runs_per_tick = 400;
  options.onset_tick = 5;
  const World world(options);
  std::map<uint64_t, int> strikes;
  for (const Truth& truth : Truths(world, 4000)) {
    strikes[truth.tick] += truth.mode == 7 ? 1 : 0;
  }
  for (uint64_t tick = 0; tick < 5; ++tick) EXPECT_EQ(strikes[tick], 0);
  EXPECT_GT(strikes[5] + strikes[6] + strikes[7], 5);
}

TEST_P(StyleTest, AShiftRaisesFailuresAndReplacesAModel) {
  WorldOptions options = Options(WorldKind::kShift, GetParam());
  options.runs_per_tick = 400;
  const World world(options);
  const std::vector<Truth> truths = Truths(world, 4000);
  const auto early = [](const Truth& t) { return t.tick < 5; };
  const auto plain = [](const Truth& t) { return t.signature < 0; };
  EXPECT_GT(FailureRate(truths,
                        [&](const Truth& t) { return plain(t) && !early(t); }),
            1.2 * FailureRate(truths, [&](const Truth& t) {
              return plain(t) && early(t);
            }));
  const int upgraded = world.sizes().models - 1;
  for (const Truth& truth : truths) {
    EXPECT_NE(truth.context.model, early(truth) ? upgraded : 0);
  }
}

TEST_P(StyleTest, RareModesStrikeThreeRunsInAThousand) {
  const World world(Options(WorldKind::kRare, GetParam()));
  int strikes = 0;
  for (const Truth& truth : Truths(world, 10000)) {
    strikes += truth.mode >= 0 ? 1 : 0;
  }
  EXPECT_GT(strikes, 8 * 10);
  EXPECT_LT(strikes, 8 * 45);
}

TEST_P(StyleTest, ATrueFixPreventsItsModeAndTouchesNothingElse) {
  const World world(Options(WorldKind::kPlanted, GetParam()));
  int fix = -1;
  for (size_t f = 0; f < world.fixes().size(); ++f) {
    if (world.fixes()[f].mode == 0 && world.fixes()[f].relative_risk < 1) {
      fix = static_cast<int>(f);
    }
  }
  ASSERT_GE(fix, 0);
  double before = 0;
  double after = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    const SimulatedRun plain = world.Draw(i);
    const SimulatedRun fixed = world.Draw(i, {fix});
    if (ValueOf(plain.truth.context, world.fixes()[fix].scope.variable) ==
        world.fixes()[fix].scope.value) {
      before += plain.truth.mode == 0 ? 1 : 0;
      after += fixed.truth.mode == 0 ? 1 : 0;
    }
    if (plain.truth.mode != 0 && i % 20 == 0) {
      EXPECT_EQ(plain.trace.DebugString(), fixed.trace.DebugString());
    }
  }
  EXPECT_NEAR(after / before, 0.35, 0.2);
}

TEST_P(StyleTest, FixesAreInertInThePlaceboAndHarmInTheHarmfulWorld) {
  const World placebo(Options(WorldKind::kPlacebo, GetParam()));
  for (const Fix& fix : placebo.fixes()) EXPECT_EQ(fix.relative_risk, 1);
  const World harmful(Options(WorldKind::kHarmful, GetParam()));
  int helps = 0;
  for (const Fix& fix : harmful.fixes()) {
    EXPECT_NE(fix.relative_risk, 1);
    helps += fix.relative_risk < 1 ? 1 : 0;
  }
  EXPECT_EQ(helps, 8);
  const World planted(Options(WorldKind::kPlanted, GetParam()));
  EXPECT_EQ(planted.fixes().size(), 8u * 6);
}

// The same on every machine and with every compiler.
TEST(WorldTest, ARunIsWhatItWasWhenItWasFirstMeasured) {
  const World chains(Options(WorldKind::kPlanted, WorldStyle::kChains, 7));
  const World scripts(Options(WorldKind::kPlanted, WorldStyle::kScripts, 7));
  std::string text;
  for (uint64_t i = 0; i < 20; ++i) {
    text += chains.Draw(i).trace.ShortDebugString();
    text += scripts.Draw(i).trace.ShortDebugString();
  }
  EXPECT_EQ(Fingerprint(text), 11940156825004689256u);
}

}  // namespace
}  // namespace faultline::worlds
