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
using ::testing::HasSubstr;
using ::testing::SizeIs;
using v1::Guardrail;

const InterventionType& Type() {
  return *FindInterventionType(v1::INTERVENTION_KIND_GUARDRAIL);
}

TEST(GuardrailTest, RequiresTheStepThatSuccessesTake) {
  RunWorld world(1);
  for (int i = 0; i < 1500; ++i) {
    const bool longer = world.random().Bernoulli(.5);
    v1::Trace trace = world.Draw("arithmetic", longer ? "long sum" : "sum",
                                 world.Pick({"a", "b"}));
    const bool calculates = world.random().Bernoulli(.5);
    if (calculates) {
      RunWorld::AddStep(v1::Step::KIND_TOOL, "calculator", &trace);
    }
    RunWorld::AddStep(v1::Step::KIND_LLM, "answer", &trace);
    world.Add(trace, world.random().Bernoulli(longer && !calculates ? .8 : .1));
  }
  const DiagnosedCluster cluster(world, [](const v1::Trace& trace) {
    return trace.task().input() == "long sum" && trace.steps_size() == 1;
  });
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const Guardrail& guardrail = proposals.front().action.guardrail();
  EXPECT_EQ(guardrail.check(), Guardrail::CHECK_STEP_REQUIRED);
  EXPECT_EQ(guardrail.required_step(), "tool");
  EXPECT_EQ(guardrail.required_name(), "calculator");
  EXPECT_EQ(guardrail.fallback(), Guardrail::FALLBACK_REQUIRE_STEP);
  EXPECT_EQ(policy::PredicateText(proposals.front().scope),
            "task.input has word \"long\"");
  EXPECT_NEAR(proposals.front().expected_reduction, .25 * .7, .05);
}

TEST(GuardrailTest, StopsLoopsWhereSuccessesEnd) {
  RunWorld world(2);
  for (int i = 0; i < 1000; ++i) {
    v1::Trace trace = world.Draw("web", "page", world.Pick({"a", "b"}));
    const bool loops = world.random().Bernoulli(.2);
    const int clicks = loops ? 9 : 1 + static_cast<int>(i % 3);
    for (int c = 0; c < clicks; ++c) {
      RunWorld::AddStep(v1::Step::KIND_TOOL, "click", &trace);
    }
    world.Add(trace, loops || world.random().Bernoulli(.1));
  }
  const DiagnosedCluster cluster(
      world, [](const v1::Trace& trace) { return trace.steps_size() == 9; });
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_FALSE(proposals.empty());
  const Guardrail& guardrail = proposals.front().action.guardrail();
  EXPECT_EQ(guardrail.check(), Guardrail::CHECK_MAX_REPEATS);
  EXPECT_EQ(guardrail.threshold(), 3);
  EXPECT_EQ(guardrail.fallback(), Guardrail::FALLBACK_ABSTAIN);
}

// `unsure` is wrong when it is not confident; `sure` is right.
RunWorld MakeConfidenceWorld(uint64_t seed, bool with_alternative) {
  RunWorld world(seed);
  for (int i = 0; i < 2000; ++i) {
    const std::string model =
        with_alternative ? world.Pick({"unsure", "sure"}) : "unsure";
    v1::Trace trace = world.Draw("qa", "q", model);
    const double confidence = world.random().Uniform();
    (*trace.mutable_evaluation()->mutable_signals())["confidence"] = confidence;
    const bool doubtful = model == "unsure" && confidence < .4;
    world.Add(trace, world.random().Bernoulli(doubtful ? .9 : .1));
  }
  return world;
}

TEST(GuardrailTest, AsksAnotherRouteWhereConfidenceIsLow) {
  const RunWorld world = MakeConfidenceWorld(3, /*with_alternative=*/true);
  const DiagnosedCluster cluster(world, [](const v1::Trace& trace) {
    return trace.evaluation().signals().at("confidence") < .4;
  });
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const Guardrail& guardrail = proposals.front().action.guardrail();
  EXPECT_EQ(guardrail.check(), Guardrail::CHECK_SIGNAL_AT_LEAST);
  EXPECT_EQ(guardrail.signal(), "confidence");
  EXPECT_NEAR(guardrail.threshold(), .4, .1);
  EXPECT_EQ(guardrail.fallback(), Guardrail::FALLBACK_ROUTE);
  EXPECT_EQ(guardrail.fallback_route(), "sure");
  EXPECT_GT(proposals.front().expected_reduction, 0);
}

TEST(GuardrailTest, AbstainsOnlyWhereThereIsNothingElse) {
  const RunWorld world = MakeConfidenceWorld(4, /*with_alternative=*/false);
  const DiagnosedCluster cluster(world, [](const v1::Trace& trace) {
    return trace.evaluation().signals().at("confidence") < .4;
  });
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  EXPECT_EQ(proposals.front().action.guardrail().fallback(),
            Guardrail::FALLBACK_ABSTAIN);
  EXPECT_EQ(proposals.front().expected_reduction, 0);
}

TEST(GuardrailTest, ProposesNothingInNullWorlds) {
  int proposed = 0;
  for (uint64_t seed = 100; seed < 120; ++seed) {
    RunWorld world(seed);
    for (int i = 0; i < 600; ++i) {
      v1::Trace trace =
          world.Draw(world.Pick({"qa", "math"}), "q", world.Pick({"a", "b"}));
      if (world.random().Bernoulli(.5)) {
        RunWorld::AddStep(v1::Step::KIND_TOOL, "calculator", &trace);
      }
      (*trace.mutable_evaluation()->mutable_signals())["confidence"] =
          world.random().Uniform();
      world.Add(trace, world.random().Bernoulli(.4));
    }
    // A cluster that is all about a missing step, though nothing follows.
    const DiagnosedCluster cluster(
        world, [](const v1::Trace& trace) { return trace.steps().empty(); });
    proposed += cluster.Propose(Type()).empty() ? 0 : 1;
  }
  EXPECT_LE(proposed, 1);
}

v1::Action MakeAction(Guardrail::Check check) {
  v1::Action action;
  Guardrail& guardrail = *action.mutable_guardrail();
  guardrail.set_check(check);
  guardrail.set_signal("confidence");
  guardrail.set_threshold(2);
  guardrail.set_required_step("tool");
  guardrail.set_fallback(Guardrail::FALLBACK_ABSTAIN);
  return action;
}

TEST(GuardrailTest, ValidatesEachField) {
  for (const auto check :
       {Guardrail::CHECK_SIGNAL_AT_LEAST, Guardrail::CHECK_STEP_REQUIRED,
        Guardrail::CHECK_MAX_REPEATS, Guardrail::CHECK_MAX_STEPS}) {
    EXPECT_OK(Type().Validate(MakeAction(check)));
  }
  struct Case {
    Guardrail::Check check;
    const char* names;
    std::function<void(Guardrail* guardrail)> change;
  };
  const Case cases[] = {
      {Guardrail::CHECK_UNSPECIFIED, "guardrail.check", [](auto*) {}},
      {static_cast<Guardrail::Check>(99), "guardrail.check", [](auto*) {}},
      {Guardrail::CHECK_SIGNAL_AT_LEAST, "guardrail.signal",
       [](auto* g) { g->clear_signal(); }},
      {Guardrail::CHECK_SIGNAL_AT_LEAST, "guardrail.threshold",
       [](auto* g) { g->set_threshold(NAN); }},
      {Guardrail::CHECK_STEP_REQUIRED, "guardrail.required_step",
       [](auto* g) { g->set_required_step("llm"); }},
      {Guardrail::CHECK_STEP_REQUIRED, "guardrail.required_name",
       [](auto* g) { g->set_required_name(std::string(129, 'x')); }},
      {Guardrail::CHECK_MAX_REPEATS, "guardrail.threshold",
       [](auto* g) { g->set_threshold(0); }},
      {Guardrail::CHECK_MAX_STEPS, "guardrail.threshold",
       [](auto* g) { g->set_threshold(INFINITY); }},
      {Guardrail::CHECK_MAX_STEPS, "guardrail.fallback",
       [](auto* g) { g->clear_fallback(); }},
      {Guardrail::CHECK_MAX_STEPS, "guardrail.fallback",
       [](auto* g) { g->set_fallback(static_cast<Guardrail::Fallback>(99)); }},
      {Guardrail::CHECK_MAX_STEPS, "guardrail.fallback",
       [](auto* g) { g->set_fallback(Guardrail::FALLBACK_REQUIRE_STEP); }},
      {Guardrail::CHECK_MAX_STEPS, "guardrail.fallback_route",
       [](auto* g) { g->set_fallback(Guardrail::FALLBACK_ROUTE); }},
  };
  for (const Case& test : cases) {
    v1::Action action = MakeAction(test.check);
    test.change(action.mutable_guardrail());
    EXPECT_THAT(
        Type().Validate(action),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.names)));
  }
}

}  // namespace
}  // namespace faultline::intervene
