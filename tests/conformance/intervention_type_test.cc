#include "tests/conformance/intervention_type_suite.h"

namespace faultline::intervene {
namespace {

using ::faultline::testing::RunWorld;

InterventionTypeCase RoutingPolicyCase() {
  InterventionTypeCase test;
  test.name = "routing_policy";
  test.kind = v1::INTERVENTION_KIND_ROUTING_POLICY;
  v1::RoutingPolicy& policy = *test.valid.mutable_routing_policy();
  policy.add_candidates()->set_name("a");
  policy.mutable_candidates(0)->set_weight(1);
  test.fill = [](RunWorld* world) {
    for (int i = 0; i < 1000; ++i) {
      const v1::Trace trace = world->Draw(world->Pick({"qa", "math"}), "q",
                                          world->Pick({"a", "b"}));
      const bool weak =
          trace.task().type() == "qa" && trace.system().model() == "a";
      world->Add(trace, world->random().Bernoulli(weak ? .8 : .1));
    }
  };
  test.members = [](const v1::Trace& trace) {
    return trace.task().type() == "qa";
  };
  return test;
}

InterventionTypeCase ToolConstraintCase() {
  InterventionTypeCase test;
  test.name = "tool_constraint";
  test.kind = v1::INTERVENTION_KIND_TOOL_CONSTRAINT;
  test.valid.mutable_tool_constraint()->set_tool("calculator");
  test.valid.mutable_tool_constraint()->mutable_disable();
  test.fill = [](RunWorld* world) {
    for (int i = 0; i < 600; ++i) {
      v1::Trace trace = world->Draw("sum", "q", world->Pick({"a", "b"}));
      const bool wordy = world->random().Bernoulli(.3);
      v1::Step& call =
          wordy ? RunWorld::AddFailedStep(v1::Step::KIND_TOOL, "calculator",
                                          "bad_argument", &trace)
                : RunWorld::AddStep(v1::Step::KIND_TOOL, "calculator", &trace);
      call.set_input(absl::StrCat(world->random().Below(99),
                                  wordy ? " plus " : " + ",
                                  world->random().Below(99)));
      world->Add(trace, wordy || world->random().Bernoulli(.1));
    }
  };
  test.members = [](const v1::Trace& trace) {
    return !trace.steps(0).error_type().empty();
  };
  return test;
}

InterventionTypeCase GuardrailCase() {
  InterventionTypeCase test;
  test.name = "guardrail";
  test.kind = v1::INTERVENTION_KIND_GUARDRAIL;
  v1::Guardrail& guardrail = *test.valid.mutable_guardrail();
  guardrail.set_check(v1::Guardrail::CHECK_MAX_STEPS);
  guardrail.set_threshold(50);
  guardrail.set_fallback(v1::Guardrail::FALLBACK_ABSTAIN);
  test.fill = [](RunWorld* world) {
    for (int i = 0; i < 1000; ++i) {
      v1::Trace trace = world->Draw("sum", "q", world->Pick({"a", "b"}));
      const bool calculates = world->random().Bernoulli(.5);
      if (calculates) {
        RunWorld::AddStep(v1::Step::KIND_TOOL, "calculator", &trace);
      }
      world->Add(trace, world->random().Bernoulli(calculates ? .1 : .7));
    }
  };
  test.members = [](const v1::Trace& trace) { return trace.steps().empty(); };
  return test;
}

INSTANTIATE_TEST_SUITE_P(Types, InterventionTypeSuite,
                         ::testing::Values(RoutingPolicyCase(),
                                           ToolConstraintCase(),
                                           GuardrailCase()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace faultline::intervene
