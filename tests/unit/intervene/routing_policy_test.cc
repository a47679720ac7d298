#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
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
  return *FindInterventionType(v1::INTERVENTION_KIND_ROUTING_POLICY);
}

bool HasNot(const v1::Trace& trace) {
  return trace.task().input().find(" not") != std::string::npos;
}

// Three models; `weak` trips over negation; every model fails a bit.
RunWorld MakeWorld(uint64_t seed, int runs, double trips) {
  RunWorld world(seed);
  for (int i = 0; i < runs; ++i) {
    std::string input = "is it so";
    for (int w = 0; w < 25; ++w) {
      if (world.random().Bernoulli(.2)) absl::StrAppend(&input, " w", w);
    }
    if (world.random().Bernoulli(.3)) absl::StrAppend(&input, " not");
    const v1::Trace trace =
        world.Draw(world.Pick({"qa", "math"}), input,
                   world.Pick({"weak", "middling", "good"}));
    const double rate = !HasNot(trace)                     ? .2
                        : trace.system().model() == "weak" ? trips
                        : trace.system().model() == "good" ? .1
                                                           : .35;
    world.Add(trace, world.random().Bernoulli(rate));
  }
  return world;
}

TEST(RoutingPolicyTest, RoutesTheHardTasksToTheCandidateThatCanDoThem) {
  const RunWorld world = MakeWorld(1, 2000, .85);
  const DiagnosedCluster cluster(world, HasNot);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const Proposal& proposal = proposals.front();
  const v1::RoutingPolicy& policy = proposal.action.routing_policy();
  ASSERT_EQ(policy.candidates_size(), 1);
  EXPECT_EQ(policy.candidates(0).name(), "good");
  EXPECT_EQ(policy.candidates(0).weight(), 1);
  EXPECT_EQ(policy.exploration_floor(), .02);
  EXPECT_EQ(policy::PredicateText(proposal.scope),
            "task.input has word \"not\"");
  // A third of the negated runs are answered by each: .43 - .1 of 30 %.
  EXPECT_NEAR(proposal.expected_reduction, .3 * .33, .03);
  EXPECT_THAT(proposal.summary, HasSubstr("to good"));
}

TEST(RoutingPolicyTest, SharesTheRunsAmongEqualCandidates) {
  RunWorld world(2);
  for (int i = 0; i < 3000; ++i) {
    const v1::Trace trace =
        world.Draw("qa", "q", world.Pick({"a", "b", "c", "d"}));
    const bool bad = trace.system().model() >= "c";
    // Every fifth run of the good ones fails, so that their rates are equal.
    world.Add(trace, bad ? world.random().Bernoulli(.6) : i % 5 == 0);
  }
  const DiagnosedCluster cluster(world, [](const v1::Trace&) { return true; });
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  double sum = 0;
  std::set<std::string> names;
  for (const auto& candidate :
       proposals.front().action.routing_policy().candidates()) {
    names.insert(candidate.name());
    sum += candidate.weight();
  }
  EXPECT_EQ(names, (std::set<std::string>{"a", "b"}));
  EXPECT_NEAR(sum, 1, 1e-9);
}

TEST(RoutingPolicyTest, ProposesNothingInNullWorlds) {
  int proposed = 0;
  for (uint64_t seed = 100; seed < 120; ++seed) {
    RunWorld world(seed);
    for (int i = 0; i < 800; ++i) {
      std::string input = "q";
      for (int w = 0; w < 25; ++w) {
        if (world.random().Bernoulli(.2)) absl::StrAppend(&input, " w", w);
      }
      world.Add(world.Draw(world.Pick({"qa", "math"}), input,
                           world.Pick({"a", "b", "c"})),
                world.random().Bernoulli(.4));
    }
    const DiagnosedCluster cluster(world, [](const v1::Trace& trace) {
      return trace.task().input().find(" w7") != std::string::npos;
    });
    proposed += cluster.Propose(Type()).empty() ? 0 : 1;
  }
  EXPECT_LE(proposed, 1);
}

TEST(RoutingPolicyTest, IsNotFooledByARouterThatSendsHardTasksAway) {
  RunWorld world(3);
  for (int i = 0; i < 3000; ++i) {
    const std::string type = world.Pick({"hard", "easy"});
    const bool usual = world.random().Bernoulli(.85);
    const std::string model = (type == "easy") == usual ? "small" : "large";
    // Both candidates are alike on both types.
    world.Add(world.Draw(type, "q", model),
              world.random().Bernoulli(type == "hard" ? .6 : .1));
  }
  const DiagnosedCluster cluster(world, [](const v1::Trace&) { return true; });
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(RoutingPolicyTest, ComparesCandidatesWhereTheyCompete) {
  RunWorld world(6);
  for (int i = 0; i < 3000; ++i) {
    const bool logic = world.random().Bernoulli(.5);
    const std::string model = logic ? world.Pick({"parser", "guess"})
                                    : world.Pick({"sum_a", "sum_b"});
    const double rate = model == "parser"  ? .02
                        : model == "guess" ? .4
                        : model == "sum_a" ? .5
                                           : .15;
    world.Add(world.Draw(logic ? "logic" : "sums", "q", model),
              world.random().Bernoulli(rate));
  }
  // `parser` is the best of all, but never answers sums.
  const DiagnosedCluster sums(world, [](const v1::Trace& trace) {
    return trace.task().type() == "sums";
  });
  const std::vector<Proposal> proposals = sums.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  EXPECT_EQ(proposals.front().action.routing_policy().candidates(0).name(),
            "sum_b");
  EXPECT_EQ(policy::PredicateText(proposals.front().scope),
            "task.type = \"sums\"");

  const DiagnosedCluster logic(world, [](const v1::Trace& trace) {
    return trace.task().type() == "logic";
  });
  ASSERT_THAT(logic.Propose(Type()), SizeIs(1));
  EXPECT_EQ(policy::PredicateText(logic.Propose(Type()).front().scope),
            "task.type = \"logic\"");
}

TEST(RoutingPolicyTest, LeavesOutRunsThatATrialHasSteered) {
  RunWorld world(4);
  for (int i = 0; i < 2000; ++i) {
    const bool steered = world.random().Bernoulli(.5);
    v1::Trace trace = world.Draw("qa", "q", world.Pick({"a", "b"}));
    if (steered) {
      auto& exposure = *trace.mutable_exposure()->add_interventions();
      exposure.set_intervention_id("x");
      exposure.set_arm(v1::ARM_TREATMENT);
    }
    // The trial makes `b` look good; by itself it is not.
    const bool helped = steered && trace.system().model() == "b";
    world.Add(trace, world.random().Bernoulli(helped ? .1 : .5));
  }
  const DiagnosedCluster cluster(world, [](const v1::Trace&) { return true; });
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

// A mode that `weak` makes likely is a small share of what fails.
v1::CauseEvidence MakeCause(const std::string& field, double odds_lower) {
  v1::CauseEvidence cause;
  v1::Comparison& comparison = *cause.mutable_feature()->mutable_comparison();
  comparison.set_field(field);
  comparison.set_op(v1::Comparison::OPERATOR_EQUAL);
  comparison.set_text("weak");
  cause.mutable_against_successes()->set_odds_ratio(2 * odds_lower);
  cause.mutable_against_successes()->set_odds_ratio_lower(odds_lower);
  cause.set_attributable_share(.5);
  return cause;
}

RunWorld MakeSmallModeWorld(double dear = 1) {
  RunWorld world(8);
  for (int i = 0; i < 4000; ++i) {
    v1::Trace trace =
        world.Draw("qa", "q", world.Pick({"weak", "good", "dear"}));
    const std::string model = trace.system().model();
    trace.mutable_evaluation()->set_cost(model == "dear" ? dear : 1);
    world.Add(trace, world.random().Bernoulli(model == "weak" ? .39 : .33));
  }
  return world;
}

TEST(RoutingPolicyTest, AvoidsTheRouteThatADiagnosisNamesWhereItWasChosen) {
  const RunWorld world = MakeSmallModeWorld();
  DiagnosedCluster cluster(world, [](const v1::Trace&) { return true; });
  v1::Diagnosis& diagnosis = *cluster.cluster().mutable_diagnosis();
  diagnosis.clear_causes();
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
  *diagnosis.add_causes() = MakeCause("system.model", 1.5);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
  *diagnosis.mutable_causes(0) = MakeCause("system.model", 4);
  cluster.cluster().set_size(240);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const Proposal& proposal = proposals.front();
  EXPECT_TRUE(proposal.answers_cause);
  EXPECT_EQ(policy::PredicateText(proposal.scope),
            "decisions.route.chosen = \"weak\"");
  EXPECT_EQ(proposal.action.routing_policy().candidates_size(), 2);
  // Half of 240 failures in some 2400 runs.
  EXPECT_NEAR(proposal.expected_reduction, .05, .005);
}

TEST(RoutingPolicyTest, RoutesToNoCandidateThatAGuardWouldNotAllow) {
  const RunWorld world = MakeSmallModeWorld(1.3);
  DiagnosedCluster cluster(world, [](const v1::Trace&) { return true; });
  v1::Diagnosis& diagnosis = *cluster.cluster().mutable_diagnosis();
  diagnosis.clear_causes();
  *diagnosis.add_causes() = MakeCause("decisions.route.chosen", 4);
  const auto names = [&] {
    std::set<std::string> chosen;
    for (const Proposal& proposal : cluster.Propose(Type())) {
      for (const auto& candidate :
           proposal.action.routing_policy().candidates()) {
        chosen.insert(candidate.name());
      }
    }
    return chosen;
  };
  EXPECT_EQ(names(), (std::set<std::string>{"good"}));
  cluster.context().max_cost_increase = .5;
  EXPECT_EQ(names(), (std::set<std::string>{"good", "dear"}));
}

TEST(RoutingPolicyTest, NeedsARouteDecision) {
  RunWorld world(5);
  for (int i = 0; i < 1500; ++i) {
    v1::Trace trace = world.Draw("qa", "q", world.Pick({"a", "b"}));
    trace.clear_decisions();
    const bool bad = trace.system().model() == "a";
    world.Add(trace, world.random().Bernoulli(bad ? .8 : .1));
  }
  const DiagnosedCluster cluster(world, [](const v1::Trace&) { return true; });
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

v1::Action MakeAction() {
  v1::Action action;
  v1::RoutingPolicy& policy = *action.mutable_routing_policy();
  for (const char* name : {"a", "b"}) {
    policy.add_candidates()->set_name(name);
    policy.mutable_candidates()->rbegin()->set_weight(.5);
  }
  policy.set_exploration_floor(.02);
  return action;
}

TEST(RoutingPolicyTest, ValidatesEachField) {
  EXPECT_OK(Type().Validate(MakeAction()));
  struct Case {
    const char* names;
    std::function<void(v1::RoutingPolicy* policy)> change;
  };
  const Case cases[] = {
      {"candidates", [](auto* p) { p->clear_candidates(); }},
      {"candidates",
       [](auto* p) {
         for (int i = 0; i < 64; ++i) {
           p->add_candidates()->set_name(absl::StrCat(i));
         }
       }},
      {"candidates[0].name",
       [](auto* p) { p->mutable_candidates(0)->clear_name(); }},
      {"candidates[1].name",
       [](auto* p) {
         p->mutable_candidates(1)->set_name(std::string(129, 'x'));
       }},
      {"candidates[1].name",
       [](auto* p) { p->mutable_candidates(1)->set_name("a"); }},
      {"candidates[0].weight",
       [](auto* p) { p->mutable_candidates(0)->set_weight(0); }},
      {"candidates[0].weight",
       [](auto* p) { p->mutable_candidates(0)->set_weight(1.5); }},
      {"candidates[0].weight",
       [](auto* p) { p->mutable_candidates(0)->set_weight(NAN); }},
      {"add up to 1",
       [](auto* p) { p->mutable_candidates(0)->set_weight(.4); }},
      {"exploration_floor", [](auto* p) { p->set_exploration_floor(-.1); }},
      {"exploration_floor", [](auto* p) { p->set_exploration_floor(.6); }},
      {"exploration_floor", [](auto* p) { p->set_exploration_floor(NAN); }},
  };
  for (const Case& test : cases) {
    v1::Action action = MakeAction();
    test.change(action.mutable_routing_policy());
    EXPECT_THAT(Type().Validate(action),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("action.routing_policy"),
                               HasSubstr(test.names))));
  }
}

}  // namespace
}  // namespace faultline::intervene
