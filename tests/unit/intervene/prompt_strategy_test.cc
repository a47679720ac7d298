#include <string>
#include <vector>

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
  return *FindInterventionType(v1::INTERVENTION_KIND_PROMPT_STRATEGY);
}

// How a run says how it was prompted.
enum class Told { kSystem, kDecision };

// `terse` fails at proofs; `stepwise` and `terse` are alike elsewhere.
RunWorld MakeWorld(uint64_t seed, double rate, Told told) {
  RunWorld world(seed);
  for (int i = 0; i < 2000; ++i) {
    v1::Trace trace = world.Draw(world.Pick({"proof", "quote", "sum"}), "q",
                                 world.Pick({"small", "large"}));
    const std::string prompt = world.Pick({"terse", "stepwise"});
    if (told == Told::kSystem) {
      trace.mutable_system()->set_prompt_strategy(prompt);
    } else {
      v1::Decision& decision = *trace.add_decisions();
      decision.set_kind(v1::Decision::KIND_PROMPT_STRATEGY);
      decision.set_chosen(prompt);
    }
    const bool bad = trace.task().type() == "proof" && prompt == "terse";
    world.Add(trace, world.random().Bernoulli(bad ? rate : .15));
  }
  return world;
}

bool IsProof(const v1::Trace& trace) { return trace.task().type() == "proof"; }

TEST(PromptStrategyTest, PromptsTheTasksAsThoseThatFailLess) {
  for (const Told told : {Told::kSystem, Told::kDecision}) {
    const RunWorld world = MakeWorld(1, .7, told);
    const DiagnosedCluster cluster(world, IsProof);
    const std::vector<Proposal> proposals = cluster.Propose(Type());
    ASSERT_THAT(proposals, SizeIs(1));
    const Proposal& proposal = proposals.front();
    EXPECT_EQ(proposal.action.prompt_strategy().strategy(), "stepwise");
    EXPECT_EQ(policy::PredicateText(proposal.scope), "task.type = \"proof\"");
    // A third of the runs fail in .15 instead of .425.
    EXPECT_NEAR(proposal.expected_reduction, .275 / 3, .03);
    EXPECT_THAT(proposal.summary, HasSubstr("with stepwise"));
  }
}

TEST(PromptStrategyTest, ProposesNothingInNullWorlds) {
  int proposed = 0;
  for (uint64_t seed = 100; seed < 120; ++seed) {
    const RunWorld world = MakeWorld(seed, .15, Told::kSystem);
    const DiagnosedCluster cluster(world, IsProof);
    proposed += cluster.Propose(Type()).empty() ? 0 : 1;
  }
  EXPECT_LE(proposed, 1);
}

TEST(PromptStrategyTest, NeedsTwoStrategiesToCompare) {
  RunWorld world(2);
  for (int i = 0; i < 1000; ++i) {
    v1::Trace trace = world.Draw("proof", "q", "small");
    trace.mutable_system()->set_prompt_strategy("terse");
    world.Add(trace, world.random().Bernoulli(.7));
  }
  const DiagnosedCluster cluster(world, IsProof);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(PromptStrategyTest, IsNotFooledByTheModelThatAStrategyGoesWith) {
  RunWorld world(3);
  for (int i = 0; i < 4000; ++i) {
    const std::string model = world.Pick({"small", "large"});
    v1::Trace trace = world.Draw("proof", "q", model);
    const bool usual = world.random().Bernoulli(.85);
    trace.mutable_system()->set_prompt_strategy(
        (model == "small") == usual ? "terse" : "stepwise");
    world.Add(trace, world.random().Bernoulli(model == "small" ? .6 : .1));
  }
  const DiagnosedCluster cluster(world, IsProof);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(PromptStrategyTest, NeedsTheDiagnosisToNameTheCause) {
  const RunWorld world = MakeWorld(1, .7, Told::kSystem);
  DiagnosedCluster cluster(world, IsProof);
  ASSERT_THAT(cluster.Propose(Type()), SizeIs(1));
  EXPECT_TRUE(cluster.Propose(Type()).front().answers_cause);
  cluster.cluster().mutable_diagnosis()->clear_causes();
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(PromptStrategyTest, HeldOutRunsMustConfirmIt) {
  RunWorld world(4);
  for (int i = 0; i < 2000; ++i) {
    v1::Trace trace = world.Draw("proof", "q", "small");
    const std::string prompt = world.Pick({"terse", "stepwise"});
    trace.mutable_system()->set_prompt_strategy(prompt);
    const bool bad = RunWorld::IsDiscovery(trace) && prompt == "terse";
    world.Add(trace, world.random().Bernoulli(bad ? .7 : .15));
  }
  const DiagnosedCluster cluster(world, IsProof);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

TEST(PromptStrategyTest, ValidatesTheName) {
  v1::Action action;
  action.mutable_prompt_strategy()->set_strategy("stepwise");
  EXPECT_OK(Type().Validate(action));
  for (const std::string& name : {std::string(), std::string(129, 'x')}) {
    action.mutable_prompt_strategy()->set_strategy(name);
    EXPECT_THAT(Type().Validate(action),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("action.prompt_strategy.strategy")));
  }
}

}  // namespace
}  // namespace faultline::intervene
