#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/intervene/type_list.h"
#include "lib/policy/predicate.h"
#include "re2/re2.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/intervene/proposal_world.h"

namespace faultline::intervene {
namespace {

using ::faultline::testing::DiagnosedCluster;
using ::faultline::testing::RunWorld;
using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const InterventionType& Type() {
  return *FindInterventionType(v1::INTERVENTION_KIND_TOOL_CONSTRAINT);
}

bool HasError(const v1::Trace& trace) {
  for (const v1::Step& step : trace.steps()) {
    if (step.status() == v1::Step::STATUS_ERROR) return true;
  }
  return false;
}

void Call(const std::string& tool, const std::string& input, bool failed,
          v1::Trace* trace) {
  v1::Step& step = failed ? RunWorld::AddFailedStep(v1::Step::KIND_TOOL, tool,
                                                    "bad_argument", trace)
                          : RunWorld::AddStep(v1::Step::KIND_TOOL, tool, trace);
  step.set_input(input);
}

TEST(ToolConstraintTest, LearnsTheFormOfAPlainInput) {
  RunWorld world(1);
  for (int i = 0; i < 600; ++i) {
    base::Random& random = world.random();
    v1::Trace trace = world.Draw("arithmetic", "sum", world.Pick({"a", "b"}));
    const bool wordy = random.Bernoulli(.3);
    const char* signs[] = {"+", "-", "*", "/"};
    Call("calculator",
         absl::StrCat(random.Below(99),
                      wordy ? " times " : signs[random.Below(4)],
                      random.Below(99)),
         wordy, &trace);
    world.Add(trace, wordy || random.Bernoulli(.1));
  }
  const DiagnosedCluster cluster(world, HasError);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const v1::ToolConstraint& constraint =
      proposals.front().action.tool_constraint();
  EXPECT_EQ(constraint.tool(), "calculator");
  EXPECT_EQ(constraint.argument().argument(), "");
  EXPECT_EQ(constraint.argument().pattern(), R"([0-9()*+\-./]+)");
  EXPECT_EQ(policy::PredicateText(proposals.front().scope),
            "task.type = \"arithmetic\"");
  EXPECT_GT(proposals.front().expected_reduction, 0);
}

TEST(ToolConstraintTest, FindsTheArgumentThatIsMalformed) {
  RunWorld world(2);
  for (int i = 0; i < 600; ++i) {
    base::Random& random = world.random();
    v1::Trace trace = world.Draw(world.Pick({"retail", "airline"}), "order",
                                 world.Pick({"a", "b"}));
    const bool bare = random.Bernoulli(.3);
    Call("get_order",
         absl::StrCat(R"({"user": "u)", random.Below(9), R"(", "order_id": ")",
                      bare ? "" : "#", "W", 100000 + random.Below(900000),
                      R"("})"),
         bare, &trace);
    Call("get_user", R"({"user": "u1"})", false, &trace);
    world.Add(trace, bare || random.Bernoulli(.1));
  }
  const DiagnosedCluster cluster(world, HasError);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  const v1::ToolConstraint& constraint =
      proposals.front().action.tool_constraint();
  EXPECT_EQ(constraint.tool(), "get_order");
  EXPECT_EQ(constraint.argument().argument(), "order_id");
  EXPECT_EQ(constraint.argument().pattern(), "#W[0-9]+");
}

TEST(ToolConstraintTest, LimitsCallsThatAreRepeatedInVain) {
  RunWorld world(3);
  for (int i = 0; i < 600; ++i) {
    v1::Trace trace = world.Draw("web", "page", world.Pick({"a", "b"}));
    const bool stuck = world.random().Bernoulli(.25);
    const int calls = stuck ? 6 : 1 + static_cast<int>(i % 3);
    for (int c = 0; c < calls; ++c) Call("open", "page 1", stuck, &trace);
    world.Add(trace, stuck);
  }
  const DiagnosedCluster cluster(world, HasError);
  const std::vector<Proposal> proposals = cluster.Propose(Type());
  ASSERT_THAT(proposals, SizeIs(1));
  EXPECT_EQ(proposals.front().action.tool_constraint().call_limit().max_calls(),
            3);
}

TEST(ToolConstraintTest, ProposesNothingWhereCallsFailAtRandom) {
  RunWorld world(4);
  for (int i = 0; i < 600; ++i) {
    v1::Trace trace = world.Draw("web", "page", world.Pick({"a", "b"}));
    const bool down = world.random().Bernoulli(.3);
    Call("open", absl::StrCat("page ", world.random().Below(1000)), down,
         &trace);
    world.Add(trace, down);
  }
  const DiagnosedCluster cluster(world, HasError);
  EXPECT_THAT(cluster.Propose(Type()), IsEmpty());
}

v1::Action MakeAction() {
  v1::Action action;
  v1::ToolConstraint& constraint = *action.mutable_tool_constraint();
  constraint.set_tool("calculator");
  constraint.mutable_argument()->set_pattern("[0-9]+");
  return action;
}

TEST(ToolConstraintTest, ValidatesEachField) {
  EXPECT_OK(Type().Validate(MakeAction()));
  struct Case {
    const char* names;
    std::function<void(v1::ToolConstraint* constraint)> change;
  };
  const Case cases[] = {
      {"constraint.tool", [](auto* c) { c->clear_tool(); }},
      {"constraint.tool", [](auto* c) { c->set_tool(std::string(129, 'x')); }},
      {"constraint.rule", [](auto* c) { c->clear_rule(); }},
      {"argument.argument",
       [](auto* c) {
         c->mutable_argument()->set_argument(std::string(129, 'x'));
       }},
      {"argument.pattern",
       [](auto* c) { c->mutable_argument()->clear_pattern(); }},
      {"argument.pattern",
       [](auto* c) {
         c->mutable_argument()->set_pattern(std::string(513, 'x'));
       }},
      {"argument.pattern",
       [](auto* c) { c->mutable_argument()->set_pattern("[0-9"); }},
      {"call_limit.max_calls",
       [](auto* c) { c->mutable_call_limit()->set_max_calls(0); }},
      {"call_limit.max_calls",
       [](auto* c) { c->mutable_call_limit()->set_max_calls(1001); }},
      {"order.after_tool",
       [](auto* c) { c->mutable_order()->clear_after_tool(); }},
  };
  for (const Case& test : cases) {
    v1::Action action = MakeAction();
    test.change(action.mutable_tool_constraint());
    EXPECT_THAT(
        Type().Validate(action),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.names)));
  }
  v1::Action disable = MakeAction();
  disable.mutable_tool_constraint()->mutable_disable();
  EXPECT_OK(Type().Validate(disable));
}

}  // namespace
}  // namespace faultline::intervene
