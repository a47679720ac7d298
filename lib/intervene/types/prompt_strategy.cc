#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"
#include "lib/intervene/types/proposal_support.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {

// Where a run says how it was prompted: as a choice of its own, or as part of
// the configuration that answered.
constexpr absl::string_view kPromptFields[] = {
    "decisions.prompt_strategy.chosen", "system.prompt_strategy"};

// Prompts runs with the strategy that fails least in a scope that the cluster's
// failures share.
class PromptStrategyType final : public InterventionType {
 public:
  v1::InterventionKind kind() const override {
    return v1::INTERVENTION_KIND_PROMPT_STRATEGY;
  }

  bool Answers(v1::FailureMode mode) const override {
    return mode == v1::FAILURE_MODE_REASONING_BREAKDOWN ||
           mode == v1::FAILURE_MODE_HALLUCINATION;
  }

  std::vector<Proposal> Propose(
      const ProposalContext& context,
      const diagnose::ContextTable& table) const override {
    std::vector<Proposal> proposals;
    for (const absl::string_view field : kPromptFields) {
      if (const auto found = FindBetterChoice(context, table, field)) {
        proposals.push_back(MakeProposal(*found));
      }
      if (const auto cause = FindAvoidableCause(context, table, field, field)) {
        proposals.push_back(MakeProposal(*cause));
      }
      if (!proposals.empty()) break;
    }
    return proposals;
  }

  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(CheckArm(action, v1::Action::kPromptStrategy,
                                       "action.prompt_strategy"));
    return CheckName("action.prompt_strategy.strategy",
                     action.prompt_strategy().strategy());
  }

 private:
  static Proposal MakeProposal(const AvoidableCause& cause) {
    const v1::Association& odds = cause.evidence->against_successes();
    Proposal proposal;
    proposal.action.mutable_prompt_strategy()->set_strategy(
        cause.others.front());
    proposal.scope = cause.scope;
    proposal.expected_reduction = cause.expected_reduction;
    proposal.summary = absl::StrFormat(
        "Prompt runs where %s with %s: on held-out runs the failure mode is "
        "likelier as they are (odds ratio %.1f, at least %.1f).",
        policy::PredicateText(cause.scope), cause.others.front(),
        odds.odds_ratio(), odds.odds_ratio_lower());
    return proposal;
  }

  static Proposal MakeProposal(const BetterChoice& found) {
    const std::string& best = found.contrast.best.front();
    const diagnose::ArmContrast& arms = found.contrast.arms;
    Proposal proposal;
    proposal.action.mutable_prompt_strategy()->set_strategy(best);
    proposal.scope = found.scope.predicate;
    proposal.expected_reduction = found.expected_reduction;
    proposal.summary = absl::StrFormat(
        "Prompt runs where %s with %s: on held-out runs %s failed in %.0f %% "
        "of %d, the other strategies in %.0f %% of %d.",
        policy::PredicateText(found.scope.predicate), best,
        found.contrast.best.size() == 1 ? "it" : "it and its equals",
        100 * arms.better_rate, arms.better_runs, 100 * arms.other_rate,
        arms.other_runs);
    return proposal;
  }
};

}  // namespace

std::unique_ptr<const InterventionType> MakePromptStrategy() {
  return std::make_unique<PromptStrategyType>();
}

}  // namespace faultline::intervene
