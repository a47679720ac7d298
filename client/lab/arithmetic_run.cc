#include <re2/re2.h>

#include <algorithm>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/lab/arithmetic_agent.h"
#include "client/lab/calculator.h"
#include "client/lab/family_run.h"

namespace faultline::lab {
namespace {

// Probability of need from which an agent takes the calculator: one takes it
// where it is likely to be needed, the other where it may be.
constexpr double kShortSightedNeed = .45;
constexpr double kNumberAwareNeed = .1;
constexpr char kNormalizer[] = "normalizer";
constexpr char kMental[] = "mental";
constexpr Price kAgentPrice = {2, .00002};
constexpr Price kToolPrice = {3, .00003};
constexpr Price kRepairPrice = {4, .00004};

class ArithmeticRun final : public FamilyRun {
 public:
  ArithmeticRun(const Models& models, const Problem& problem,
                const Directives& directives, RunRecorder* run)
      : models_(models),
        problem_(problem),
        directives_(directives),
        run_(*run) {
    run_.trace().mutable_system()->set_toolset(kCalculator);
  }

  std::string Answer(const std::string& route, const std::string&) override {
    expression_ = ExtractExpression(problem_.question);
    run_.AddStep(v1::Step::KIND_LLM, "extract", kAgentPrice, problem_.question,
                 expression_);
    const bool aware = route == kNumberAware && models_.world != World::kNull;
    const double need = (aware ? models_.number_aware : models_.short_sighted)
                            .ProbabilityOfNeed(problem_.question);
    run_.AddSignal("confidence", std::max(need, 1 - need));
    const bool use_tool = need > (aware ? kNumberAwareNeed : kShortSightedNeed);
    v1::Decision* decision = run_.trace().add_decisions();
    decision->set_kind(v1::Decision::KIND_TOOL);
    v1::Decision::Candidate* tool = decision->add_candidates();
    tool->set_name(kCalculator);
    tool->set_score(need);
    v1::Decision::Candidate* mental = decision->add_candidates();
    mental->set_name(kMental);
    mental->set_score(1 - need);
    decision->set_chosen(use_tool ? kCalculator : kMental);
    decision->set_propensity(1);
    decision->set_step(run_.trace().steps_size());

    std::string result;
    if (!use_tool || !CallCalculator(&result)) {
      result = NumberText(CalculateMentally(expression_));
      run_.AddStep(v1::Step::KIND_LLM, kMental, kAgentPrice, expression_,
                   result);
    }
    run_.AddStep(v1::Step::KIND_LLM, "answer", kAnswerPrice, result, result);
    return result;
  }

  bool Require(v1::Step::Kind kind, const std::string& name,
               std::string* answer) override {
    if (kind != v1::Step::KIND_TOOL || (!name.empty() && name != kCalculator)) {
      return false;
    }
    std::string result;
    if (!CallCalculator(&result)) return false;
    run_.AddStep(v1::Step::KIND_LLM, "answer", kAnswerPrice, result, result);
    *answer = result;
    return true;
  }

 private:
  // Calls the calculator with the expression as it stands in the text, within
  // the constraints in force. False where there is no result.
  bool CallCalculator(std::string* result) {
    std::string argument = expression_;
    for (const v1::ToolConstraint& constraint : directives_.constraints) {
      if (constraint.tool() == kCalculator && !Permit(constraint, &argument)) {
        return false;
      }
    }
    absl::StatusOr<double> value = Calculate(argument);
    // In World::kNull the calculator is no better than the agent's head.
    if (value.ok() && models_.world == World::kNull) {
      value = CalculateMentally(argument);
    }
    v1::Step* step =
        run_.AddStep(v1::Step::KIND_TOOL, kCalculator, kToolPrice, argument,
                     value.ok() ? NumberText(*value) : "");
    if (!value.ok()) {
      RunRecorder::SetError(absl::IsInvalidArgument(value.status())
                                ? "bad_argument"
                                : "arithmetic_error",
                            value.status().message(), step);
      return false;
    }
    *result = NumberText(*value);
    return true;
  }

  // Whether the calculator may be called; repairs the argument where the rule
  // asks for another form.
  bool Permit(const v1::ToolConstraint& constraint, std::string* argument) {
    switch (constraint.rule_case()) {
      case v1::ToolConstraint::kArgument: {
        const RE2 pattern(constraint.argument().pattern(), RE2::Quiet);
        // The input is one plain text: a rule about a named part of it, or one
        // that cannot be read, says nothing.
        if (!constraint.argument().argument().empty() || !pattern.ok() ||
            RE2::FullMatch(*argument, pattern)) {
          return true;
        }
        return (Normalize(argument) && RE2::FullMatch(*argument, pattern)) ||
               Refuse("the argument does not have the required form");
      }
      case v1::ToolConstraint::kCallLimit: {
        const auto& steps = run_.trace().steps();
        const int calls = static_cast<int>(std::count_if(
            steps.begin(), steps.end(),
            [](const v1::Step& step) { return step.name() == kCalculator; }));
        return calls < constraint.call_limit().max_calls() ||
               Refuse("the limit of calls is reached");
      }
      case v1::ToolConstraint::kOrder: {
        const std::string& first = constraint.order().after_tool();
        return run_.Succeeded(v1::Step::KIND_TOOL, first) ||
               (first == kNormalizer && Normalize(argument)) ||
               Refuse("another tool must come first");
      }
      case v1::ToolConstraint::kDisable:
        return Refuse("the tool is disabled");
      case v1::ToolConstraint::RULE_NOT_SET:
        return true;
    }
    return true;
  }

  bool Refuse(absl::string_view reason) {
    const auto restore = run_.BeginPolicyWork();
    RunRecorder::SetError(
        "call_refused", reason,
        run_.AddStep(v1::Step::KIND_GUARDRAIL, "tool_constraint", kCheckPrice,
                     kCalculator, ""));
    return false;
  }

  bool Normalize(std::string* argument) {
    const auto restore = run_.BeginPolicyWork();
    // In World::kNull it knows none of the forms that people write.
    const absl::StatusOr<std::string> normal =
        models_.world == World::kNull
            ? absl::InvalidArgumentError("the expression has unknown signs")
            : NormalizeExpression(*argument);
    v1::Step* step = run_.AddStep(v1::Step::KIND_TOOL, kNormalizer,
                                  kRepairPrice, *argument, normal.value_or(""));
    if (!normal.ok()) {
      RunRecorder::SetError("unknown_word", normal.status().message(), step);
      return false;
    }
    *argument = *normal;
    return true;
  }

  const Models& models_;
  const Problem& problem_;
  const Directives& directives_;
  RunRecorder& run_;
  std::string expression_;
};

}  // namespace

std::unique_ptr<FamilyRun> MakeArithmeticRun(const Models& models,
                                             const Problem& problem,
                                             const Directives& directives,
                                             RunRecorder* run) {
  return std::make_unique<ArithmeticRun>(models, problem, directives, run);
}

}  // namespace faultline::lab
