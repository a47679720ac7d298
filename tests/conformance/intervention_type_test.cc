#include "tests/conformance/intervention_type_suite.h"

namespace faultline::intervene {
namespace {

using ::faultline::testing::RunWorld;

// The action that applies, of kinds of which there may be several.
template <typename Action>
const Action* Only(const std::vector<const Action*>& actions) {
  return actions.size() == 1 ? actions.front() : nullptr;
}

InterventionTypeCase RoutingPolicyCase() {
  InterventionTypeCase test;
  test.name = "routing_policy";
  test.kind = v1::INTERVENTION_KIND_ROUTING_POLICY;
  v1::RoutingPolicy& policy = *test.valid.mutable_routing_policy();
  policy.add_candidates()->set_name("a");
  policy.mutable_candidates(0)->set_weight(1);
  test.out_of_bounds = {
      {"routing_policy {}", "action.routing_policy.candidates"},
      {"routing_policy { candidates { weight: 1 } }",
       "action.routing_policy.candidates[0].name"},
      {"routing_policy { candidates { name: 'a' weight: 2 } }",
       "action.routing_policy.candidates[0].weight"},
      {"routing_policy { candidates { name: 'a' weight: 1 } "
       "exploration_floor: .6 }",
       "action.routing_policy.exploration_floor"}};
  test.read = [](const sdk::Decision& d) { return d.routing_policy(); };
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
  test.out_of_bounds = {
      {"tool_constraint { disable {} }", "action.tool_constraint.tool"},
      {"tool_constraint { tool: 'x' }", "action.tool_constraint.rule"},
      {"tool_constraint { tool: 'x' call_limit {} }",
       "action.tool_constraint.call_limit.max_calls"}};
  test.read = [](const sdk::Decision& d) { return Only(d.tool_constraints()); };
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
  test.out_of_bounds = {
      {"guardrail {}", "action.guardrail.check"},
      {"guardrail { check: CHECK_MAX_STEPS fallback: FALLBACK_ABSTAIN }",
       "action.guardrail.threshold"},
      {"guardrail { check: CHECK_MAX_STEPS threshold: 9 }",
       "action.guardrail.fallback"}};
  test.read = [](const sdk::Decision& d) { return Only(d.guardrails()); };
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

InterventionTypeCase MemorySchemaCase() {
  InterventionTypeCase test;
  test.name = "memory_schema";
  test.kind = v1::INTERVENTION_KIND_MEMORY_SCHEMA;
  v1::MemorySchema& schema = *test.valid.mutable_memory_schema();
  schema.set_record_class("price");
  schema.mutable_max_age()->set_seconds(3600);
  test.out_of_bounds = {
      {"memory_schema { record_class: 'price' }", "action.memory_schema"},
      {"memory_schema { max_age {} }", "action.memory_schema.max_age"},
      {"memory_schema { max_age { seconds: -1 } }",
       "action.memory_schema.max_age"},
      {absl::StrCat("memory_schema { required_field: '", std::string(129, 'x'),
                    "' }"),
       "action.memory_schema.required_field"}};
  test.read = [](const sdk::Decision& d) { return Only(d.memory_schemas()); };
  test.fill = [](RunWorld* world) {
    for (int i = 0; i < 1500; ++i) {
      v1::Trace trace = world->Draw("quote", "q", world->Pick({"a", "b"}));
      v1::MemoryState::Read& read = *trace.mutable_memory()->add_reads();
      read.set_record_id("r");
      read.set_record_class("price");
      const bool stale = world->random().Bernoulli(.4);
      read.mutable_age()->set_seconds(
          static_cast<int64_t>(world->random().Below(3600)) +
          (stale ? 90'000 : 0));
      world->Add(trace, world->random().Bernoulli(stale ? .8 : .1));
    }
  };
  test.members = [](const v1::Trace& trace) {
    return trace.memory().reads(0).age().seconds() > 86'400;
  };
  return test;
}

InterventionTypeCase BanditWeightsCase() {
  InterventionTypeCase test;
  test.name = "bandit_weights";
  test.kind = v1::INTERVENTION_KIND_BANDIT_WEIGHTS;
  v1::BanditWeights& bandit = *test.valid.mutable_bandit_weights();
  for (const char* name : {"a", "b"}) {
    bandit.add_arms()->set_name(name);
    bandit.mutable_arms()->rbegin()->set_probability(.5);
  }
  bandit.set_floor(.025);
  test.out_of_bounds = {
      {"bandit_weights { floor: .1 }", "action.bandit_weights.arms"},
      {"bandit_weights { arms { name: 'a' probability: 1 } floor: .1 }",
       "action.bandit_weights.arms"},
      {"bandit_weights { arms { name: 'a' probability: .95 } "
       "arms { name: 'b' probability: .05 } floor: .1 }",
       "action.bandit_weights.arms[1].probability"},
      {"bandit_weights { arms { name: 'a' probability: .5 } "
       "arms { name: 'b' probability: .5 } }",
       "action.bandit_weights.floor"}};
  test.read = [](const sdk::Decision& d) { return d.bandit_weights(); };
  test.fill = [](RunWorld* world) {
    // So little that no route deserves to be closed.
    for (int i = 0; i < 15000; ++i) {
      v1::Trace trace = world->Draw("qa", "q", world->Pick({"a", "b"}));
      v1::Decision& route = *trace.mutable_decisions(0);
      route.add_candidates()->set_name("a");
      route.add_candidates()->set_name("b");
      route.set_propensity(.5);
      const bool weak = trace.system().model() == "a";
      world->Add(trace, world->random().Bernoulli(weak ? .40 : .34));
    }
  };
  test.members = [](const v1::Trace&) { return true; };
  return test;
}

InterventionTypeCase PromptStrategyCase() {
  InterventionTypeCase test;
  test.name = "prompt_strategy";
  test.kind = v1::INTERVENTION_KIND_PROMPT_STRATEGY;
  test.valid.mutable_prompt_strategy()->set_strategy("stepwise");
  test.out_of_bounds = {
      {"prompt_strategy {}", "action.prompt_strategy.strategy"},
      {absl::StrCat("prompt_strategy { strategy: '", std::string(129, 'x'),
                    "' }"),
       "action.prompt_strategy.strategy"}};
  test.read = [](const sdk::Decision& d) { return d.prompt_strategy(); };
  test.fill = [](RunWorld* world) {
    for (int i = 0; i < 1000; ++i) {
      v1::Trace trace = world->Draw(world->Pick({"proof", "sum"}), "q", "a");
      trace.mutable_system()->set_prompt_strategy(
          world->Pick({"terse", "stepwise"}));
      const bool weak = trace.task().type() == "proof" &&
                        trace.system().prompt_strategy() == "terse";
      world->Add(trace, world->random().Bernoulli(weak ? .7 : .15));
    }
  };
  test.members = [](const v1::Trace& trace) {
    return trace.task().type() == "proof";
  };
  return test;
}

std::vector<InterventionTypeCase> Cases() {
  return {RoutingPolicyCase(), MemorySchemaCase(), ToolConstraintCase(),
          BanditWeightsCase(), GuardrailCase(),    PromptStrategyCase()};
}

INSTANTIATE_TEST_SUITE_P(Types, InterventionTypeSuite,
                         ::testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

TEST(InterventionTypesTest, EveryTypeConforms) {
  std::vector<v1::InterventionKind> tried;
  for (const InterventionTypeCase& test : Cases()) tried.push_back(test.kind);
  std::vector<v1::InterventionKind> known;
  for (const auto& type : InterventionTypes()) known.push_back(type->kind());
  EXPECT_EQ(tried, known);
  EXPECT_EQ(known.size(),
            v1::Action::descriptor()->FindOneofByName("kind")->field_count());
}

// An action of a later version: its arm is not known here.
TEST(InterventionTypesTest, RoutersRefuseAnArmThatTheyDoNotKnow) {
  v1::Action later;
  // Field 15, of no bytes.
  ASSERT_TRUE(later.ParseFromString(std::string("\x7a\x00", 2)));
  EXPECT_FALSE(ValidateAction(later).ok());
  const v1::Intervention known =
      MakeIntervention("known", PromptStrategyCase().valid);
  const v1::Intervention unknown = MakeIntervention("unknown", later);
  const v1::Policy policy =
      policy::CompilePolicy({&known, &unknown}, v1::Policy(),
                            v1::ProjectConfig(), "p", 1, absl::UnixEpoch());
  const sdk::Decision decision = Decide(policy, "qa", "k", absl::UnixEpoch());
  EXPECT_EQ(decision.matches.size(), 1u);
  EXPECT_THAT(decision.matcher->unsupported(),
              ::testing::ElementsAre(::testing::HasSubstr("unknown: action")));
}

}  // namespace
}  // namespace faultline::intervene
