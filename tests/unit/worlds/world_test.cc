#include "tests/worlds/world.h"

#include <cmath>
#include <map>
#include <string>
#include <utility>
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
                          const Changes& changes = {}) {
  std::vector<Truth> truths;
  truths.reserve(runs);
  for (uint64_t i = 0; i < runs; ++i) {
    truths.push_back(world.Draw(i, changes).truth);
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

// Changes that take a run out of the trigger of some mode, and the mode.
std::pair<Changes, Condition> Remedy(const World& world) {
  for (const PlantedMode& mode : world.modes()) {
    for (const Condition& condition : mode.trigger) {
      Changes changes;
      if (condition.variable == Variable::kModel) {
        changes.model = condition.value == 0 ? 1 : 0;
        return {changes, condition};
      }
      if (condition.variable == Variable::kPrompt) {
        changes.prompt = condition.value == 0 ? 1 : 0;
        return {changes, condition};
      }
    }
  }
  return {};
}

TEST_P(StyleTest, AChangeOfTheCauseSparesFailuresAndTouchesNothingElse) {
  const World world(Options(WorldKind::kPlanted, GetParam()));
  const auto [changes, cause] = Remedy(world);
  ASSERT_TRUE(changes.any());
  double before = 0;
  double after = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    const SimulatedRun plain = world.Draw(i);
    const SimulatedRun changed = world.Draw(i, changes);
    EXPECT_EQ(plain.trace.trace_id(), changed.trace.trace_id());
    if (ValueOf(plain.truth.context, cause.variable) != cause.value) continue;
    before += world.FailureRate(i);
    after += world.FailureRate(i, changes);
  }
  EXPECT_LT(after, .98 * before);
}

TEST_P(StyleTest, AFailureRateIsThatOfTheRunsDrawn) {
  const World world(Options(WorldKind::kPlanted, GetParam()));
  for (const Changes& changes : {Changes(), Remedy(world).first}) {
    double expected = 0;
    double drawn = 0;
    for (uint64_t i = 0; i < 6000; ++i) {
      expected += world.FailureRate(i, changes);
      drawn += world.Draw(i, changes).truth.failed ? 1 : 0;
    }
    EXPECT_NEAR(drawn / 6000, expected / 6000, .025);
  }
}

TEST_P(StyleTest, TheBestChangesAreNoWorseThanAnyOther) {
  const World world(Options(WorldKind::kPlanted, GetParam()));
  double none = 0;
  double best = 0;
  for (uint64_t i = 0; i < 500; ++i) {
    const double rate = world.FailureRate(i, world.BestChanges(i));
    EXPECT_LE(rate, world.FailureRate(i, Remedy(world).first) + 1e-12);
    none += world.FailureRate(i);
    best += rate;
  }
  EXPECT_LT(best, .95 * none);
}

TEST_P(StyleTest, NoChangeHelpsInThePlaceboWorldAndOthersHarmInTheHarmful) {
  const World placebo(Options(WorldKind::kPlacebo, GetParam()));
  const World harmful(Options(WorldKind::kHarmful, GetParam()));
  const auto [changes, cause] = Remedy(harmful);
  double spared = 0;
  double harmed = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(placebo.FailureRate(i), placebo.FailureRate(i, changes));
    EXPECT_FALSE(placebo.BestChanges(i).any());
    const double change =
        harmful.FailureRate(i, changes) - harmful.FailureRate(i);
    (change < 0 ? spared : harmed) += std::abs(change);
  }
  EXPECT_GT(spared, 0);
  EXPECT_GT(harmed, spared);
}

TEST(WorldTest, ActionsAreCarriedOutByName) {
  const World world(Options(WorldKind::kPlanted, WorldStyle::kChains));
  Dice dice(1);
  double propensity = 0;
  v1::Action action;
  auto* candidate = action.mutable_routing_policy()->add_candidates();
  candidate->set_name("ibis-pro");
  candidate->set_weight(1);
  Changes changes;
  world.Carry(action, &dice, &changes, &propensity);
  EXPECT_EQ(changes.model, 3);
  EXPECT_EQ(propensity, 1);
  // With a floor the others stay possible.
  action.mutable_routing_policy()->set_exploration_floor(.1);
  world.Carry(action, &dice, &changes, &propensity);
  EXPECT_NEAR(propensity, changes.model == 3 ? 1 / 1.4 : .1 / 1.4, 1e-9);
  action.mutable_prompt_strategy()->set_strategy("reflect");
  world.Carry(action, &dice, &changes, &propensity);
  EXPECT_EQ(changes.prompt, 2);
  action.mutable_memory_schema()->mutable_max_age()->set_seconds(86'400);
  world.Carry(action, &dice, &changes, &propensity);
  EXPECT_TRUE(changes.drops_old_records);
  EXPECT_FALSE(changes.refuses_conflicts);
  v1::Guardrail& guardrail = *action.mutable_guardrail();
  guardrail.set_check(v1::Guardrail::CHECK_MAX_REPEATS);
  guardrail.set_threshold(4);
  world.Carry(action, &dice, &changes, &propensity);
  EXPECT_FALSE(changes.stopped.empty());
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
  EXPECT_EQ(Fingerprint(text), 10703059821510343016u);
}

}  // namespace
}  // namespace faultline::worlds
