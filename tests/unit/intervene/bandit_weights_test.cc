#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/intervene/safe_weights.h"
#include "lib/intervene/type_list.h"
#include "lib/policy/predicate.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/intervene/proposal_world.h"

namespace faultline::intervene {
namespace {

using ::faultline::testing::DiagnosedCluster;
using ::faultline::testing::RunWorld;
using ::faultline::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const InterventionType& Type() {
  return *FindInterventionType(v1::INTERVENTION_KIND_BANDIT_WEIGHTS);
}

using Weights = std::map<std::string, double>;

// A run whose router drew among `weights` and logged with what probability.
v1::Trace Draw(const std::string& type, const Weights& weights,
               RunWorld* world) {
  double left = world->random().Uniform();
  std::string chosen;
  for (const auto& [name, weight] : weights) {
    chosen = name;
    left -= weight;
    if (left < 0) break;
  }
  v1::Trace trace = world->Draw(type, "q", chosen);
  v1::Decision& route = *trace.mutable_decisions(0);
  for (const auto& [name, weight] : weights) {
    route.add_candidates()->set_name(name);
  }
  route.set_propensity(weights.at(chosen));
  return trace;
}

bool Any(const v1::Trace&) { return true; }

// Three arms, of which `a` is the worst, but not so bad that a routing policy
// would be proposed.
RunWorld MakeWorld(uint64_t seed, int runs) {
  RunWorld world(seed);
  for (int i = 0; i < runs; ++i) {
    const v1::Trace trace =
        Draw("qa", {{"a", .5}, {"b", .3}, {"c", .2}}, &world);
    const bool bad = trace.system().model() == "a";
    world.Add(trace, world.random().Bernoulli(bad ? .40 : .33));
  }
  return world;
}

TEST(BanditWeightsTest, ShiftsASmallStepToTheArmsThatFailLess) {
  const RunWorld world = MakeWorld(1, 30000);
  const DiagnosedCluster cluster(world, Any);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const v1::BanditWeights& bandit = proposals.front().action.bandit_weights();
  ASSERT_EQ(bandit.arms_size(), 3);
  EXPECT_EQ(bandit.arms(0).name(), "a");
  const double step = .5 - bandit.arms(0).probability();
  EXPECT_NEAR(step, kMaxWeightStep, .02);  // .5 is the share but for chance
  EXPECT_NEAR(bandit.floor(), .05 / 3, 1e-12);
  EXPECT_NEAR(proposals.front().expected_reduction, step * .07, .01);
  EXPECT_THAT(proposals.front().summary, HasSubstr("off-policy"));
  // So small a difference is no reason to close a route.
  EXPECT_THAT(cluster.Propose(
                  *FindInterventionType(v1::INTERVENTION_KIND_ROUTING_POLICY)),
              IsEmpty());
}

TEST(BanditWeightsTest, TheScopeIsTheContextThatTheWeightsAreFor) {
  RunWorld world(2);
  for (int i = 0; i < 4000; ++i) {
    const std::string type = world.Pick({"qa", "math", "code"});
    const v1::Trace trace = Draw(type, {{"a", .5}, {"b", .5}}, &world);
    const bool bad = type == "qa" && trace.system().model() == "a";
    world.Add(trace, world.random().Bernoulli(bad ? .6 : .2));
  }
  const DiagnosedCluster cluster(world, [](const v1::Trace& trace) {
    return trace.task().type() == "qa";
  });
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  EXPECT_EQ(policy::PredicateText(proposals.front().scope),
            "task.type = \"qa\"");
  // A third of the runs, of which .25 go from .6 to .2.
  EXPECT_NEAR(proposals.front().expected_reduction, .25 * .4 / 3, .01);
}

TEST(BanditWeightsTest, RefusesWhereWhatTheRouterDrewWithIsNotKnown) {
  const auto proposes = [](const std::function<void(v1::Decision*)>& change) {
    RunWorld world(3);
    for (int i = 0; i < 3000; ++i) {
      v1::Trace trace = Draw("qa", {{"a", .8}, {"b", .2}}, &world);
      const bool bad = trace.system().model() == "a";
      change(trace.mutable_decisions(0));
      world.Add(trace, world.random().Bernoulli(bad ? .7 : .1));
    }
    const DiagnosedCluster cluster(world, Any);
    return !cluster.Propose(Type()).empty();
  };
  EXPECT_TRUE(proposes([](auto*) {}));
  EXPECT_FALSE(proposes([](auto* d) { d->clear_propensity(); }));
  EXPECT_FALSE(proposes([](auto* d) { d->clear_candidates(); }));
  // Not what was drawn with.
  EXPECT_FALSE(proposes([](auto* d) { d->set_propensity(.5); }));
  // A third of the runs without: those with it may be special.
  int run = 0;
  EXPECT_FALSE(proposes([&run](auto* d) {
    if (++run % 3 == 0) d->clear_propensity();
  }));
}

TEST(BanditWeightsTest, RefusesWhereFewRunsSupportTheWeights) {
  RunWorld world(4);
  for (int i = 0; i < 200; ++i) {
    const v1::Trace trace = Draw("qa", {{"a", .5}, {"b", .5}}, &world);
    const bool bad = trace.system().model() == "a";
    world.Add(trace, world.random().Bernoulli(bad ? .9 : .05));
  }
  const DiagnosedCluster cluster(world, Any);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(BanditWeightsTest, ProposesNothingInNullWorlds) {
  int proposed = 0;
  for (uint64_t seed = 100; seed < 140; ++seed) {
    RunWorld world(seed);
    for (int i = 0; i < 1500; ++i) {
      world.Add(Draw(world.Pick({"qa", "math"}),
                     {{"a", .5}, {"b", .3}, {"c", .2}}, &world),
                world.random().Bernoulli(.4));
    }
    const DiagnosedCluster cluster(world, Any);
    proposed += cluster.Propose(Type()).empty() ? 0 : 1;
  }
  EXPECT_LE(proposed, 1);
}

TEST(BanditWeightsTest, HeldOutRunsMustConfirmIt) {
  RunWorld world(9);
  for (int i = 0; i < 3000; ++i) {
    const v1::Trace trace = Draw("qa", {{"a", .5}, {"b", .5}}, &world);
    const bool bad =
        RunWorld::IsDiscovery(trace) && trace.system().model() == "a";
    world.Add(trace, world.random().Bernoulli(bad ? .7 : .1));
  }
  const DiagnosedCluster cluster(world, Any);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(BanditWeightsTest, IsNotFooledByARouterThatSendsHardTasksAway) {
  RunWorld world(5);
  for (int i = 0; i < 4000; ++i) {
    const std::string type = world.Pick({"hard", "easy"});
    const double small = type == "easy" ? .8 : .2;
    // Both arms are alike on both types.
    world.Add(Draw(type, {{"small", small}, {"large", 1 - small}}, &world),
              world.random().Bernoulli(type == "hard" ? .6 : .1));
  }
  const DiagnosedCluster cluster(world, Any);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(BanditWeightsTest, LeavesOutRunsThatATrialHasSteered) {
  RunWorld world(6);
  for (int i = 0; i < 3000; ++i) {
    v1::Trace trace = Draw("qa", {{"a", .5}, {"b", .5}}, &world);
    const bool steered = world.random().Bernoulli(.5);
    if (steered) {
      auto& exposure = *trace.mutable_exposure()->add_interventions();
      exposure.set_intervention_id("x");
      exposure.set_arm(v1::ARM_TREATMENT);
    }
    const bool helped = steered && trace.system().model() == "b";
    world.Add(trace, world.random().Bernoulli(helped ? .1 : .5));
  }
  const DiagnosedCluster cluster(world, Any);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(BanditWeightsTest, OldRunsCountLess) {
  constexpr int kRuns = 6000;
  RunWorld world(7);
  for (int i = 0; i < kRuns; ++i) {
    const v1::Trace trace =
        Draw("qa", {{"a", .5}, {"b", .25}, {"c", .25}}, &world);
    const std::string& arm = trace.system().model();
    // On the whole `c` is the best, of late it is `b`.
    const bool old = i < kRuns / 2;
    const double rate = arm == "a" ? .6 : (arm == "b") == old ? .35 : .15;
    world.Add(trace, world.random().Bernoulli(arm == "c" && old ? .05 : rate));
  }
  DiagnosedCluster cluster(world, Any);
  const auto gain = [&cluster](int arm) {
    const std::vector<Proposal> proposals = cluster.Propose(Type());
    if (proposals.empty()) return 0.0;
    return proposals.front().action.bandit_weights().arms(arm).probability() -
           .25;
  };
  EXPECT_GT(gain(2), .15);
  EXPECT_LT(gain(1), .05);
  cluster.context().records_per_tick = kRuns / 200.0;
  EXPECT_GT(gain(1), .15);
  EXPECT_LT(gain(2), .05);
}

TEST(BanditWeightsTest, EqualSeedsGiveEqualWeights) {
  const RunWorld world = MakeWorld(8, 30000);
  DiagnosedCluster cluster(world, Any);
  const auto weights = [&cluster](uint64_t seed) {
    cluster.context().seed = seed;
    return cluster.Propose(Type()).at(0).action.SerializeAsString();
  };
  const std::string first = weights(1);
  EXPECT_EQ(first, weights(1));
  EXPECT_NE(first, weights(2));
}

v1::Action MakeAction() {
  v1::Action action;
  v1::BanditWeights& bandit = *action.mutable_bandit_weights();
  for (const char* name : {"a", "b"}) {
    bandit.add_arms()->set_name(name);
    bandit.mutable_arms()->rbegin()->set_probability(.5);
  }
  bandit.set_floor(.02);
  return action;
}

TEST(BanditWeightsTest, ValidatesEachField) {
  EXPECT_OK(Type().Validate(MakeAction()));
  struct Case {
    const char* names;
    std::function<void(v1::BanditWeights* bandit)> change;
  };
  const Case cases[] = {
      {"floor", [](auto* b) { b->clear_floor(); }},
      {"floor", [](auto* b) { b->set_floor(.51); }},
      {"floor", [](auto* b) { b->set_floor(NAN); }},
      {"arms", [](auto* b) { b->clear_arms(); }},
      {"2 to 64",
       [](auto* b) {
         b->mutable_arms()->RemoveLast();
         b->mutable_arms(0)->set_probability(1);
       }},
      {"2 to 64",
       [](auto* b) {
         for (int i = 0; i < 63; ++i) {
           b->add_arms()->set_name(absl::StrCat(i));
         }
       }},
      {"arms[1].name", [](auto* b) { b->mutable_arms(1)->clear_name(); }},
      {"arms[1].name", [](auto* b) { b->mutable_arms(1)->set_name("a"); }},
      {"arms[0].probability",
       [](auto* b) { b->mutable_arms(0)->set_probability(.01); }},
      {"arms[0].probability",
       [](auto* b) { b->mutable_arms(0)->set_probability(NAN); }},
      {"add up to 1", [](auto* b) { b->mutable_arms(0)->set_probability(.4); }},
  };
  for (const Case& test : cases) {
    v1::Action action = MakeAction();
    test.change(action.mutable_bandit_weights());
    EXPECT_THAT(Type().Validate(action),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("action.bandit_weights"),
                               HasSubstr(test.names))));
  }
}

}  // namespace
}  // namespace faultline::intervene
