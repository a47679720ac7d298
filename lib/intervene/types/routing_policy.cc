#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"
#include "lib/intervene/types/proposal_support.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {

using diagnose::ContextTable;

constexpr double kLeastWeight = 1e-9;
constexpr double kExplorationFloor = 0.02;
constexpr double kMaxExplorationFloor = 0.5;

// Sends runs to the candidates that fail least in a scope that the cluster's
// failures share.
class RoutingPolicyType final : public InterventionType {
 public:
  v1::InterventionKind kind() const override {
    return v1::INTERVENTION_KIND_ROUTING_POLICY;
  }

  bool Answers(v1::FailureMode mode) const override {
    return mode == v1::FAILURE_MODE_ROUTING_FAILURE;
  }

  std::vector<Proposal> Propose(const ProposalContext& context,
                                const ContextTable& table) const override {
    std::vector<Proposal> proposals;
    if (const auto found =
            FindBetterChoice(context, table, diagnose::kRouteField)) {
      proposals.push_back(MakeProposal(*found));
    }
    if (const auto cause = FindAvoidableCause(
            context, table, diagnose::kRouteField, diagnose::kModelField)) {
      proposals.push_back(MakeProposal(*cause));
    }
    return proposals;
  }

  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(
        CheckArm(action, v1::Action::kRoutingPolicy, "action.routing_policy"));
    const v1::RoutingPolicy& policy = action.routing_policy();
    std::vector<NamedWeight> weights;
    for (const v1::RoutingPolicy::Candidate& candidate : policy.candidates()) {
      weights.push_back({candidate.name(), candidate.weight()});
    }
    FAULTLINE_RETURN_IF_ERROR(CheckWeights("action.routing_policy.candidates",
                                           "weight", 1, kLeastWeight, weights));
    return CheckRange("action.routing_policy.exploration_floor",
                      policy.exploration_floor(), 0, kMaxExplorationFloor);
  }

 private:
  static v1::RoutingPolicy Only(const std::vector<std::string>& names) {
    v1::RoutingPolicy policy;
    for (const std::string& name : names) {
      v1::RoutingPolicy::Candidate& candidate = *policy.add_candidates();
      candidate.set_name(name);
      candidate.set_weight(1.0 / static_cast<double>(names.size()));
    }
    policy.set_exploration_floor(kExplorationFloor);
    return policy;
  }

  static Proposal MakeProposal(const AvoidableCause& cause) {
    const v1::Association& odds = cause.evidence->against_successes();
    Proposal proposal;
    *proposal.action.mutable_routing_policy() = Only(cause.others);
    proposal.scope = cause.scope;
    proposal.expected_reduction = cause.expected_reduction;
    proposal.summary = absl::StrFormat(
        "Route runs where %s to %s: on held-out runs the failure mode is "
        "likelier as they are (odds ratio %.1f, at least %.1f).",
        policy::PredicateText(cause.scope), absl::StrJoin(cause.others, " or "),
        odds.odds_ratio(), odds.odds_ratio_lower());
    return proposal;
  }

  static Proposal MakeProposal(const BetterChoice& found) {
    const diagnose::RouteContrast& routes = found.contrast;
    Proposal proposal;
    *proposal.action.mutable_routing_policy() = Only(routes.best);
    proposal.scope = found.scope.predicate;
    proposal.expected_reduction = found.expected_reduction;
    proposal.summary = absl::StrFormat(
        "Route runs where %s to %s: on held-out runs it failed in %.0f %% of "
        "%d, the other candidates in %.0f %% of %d.",
        policy::PredicateText(found.scope.predicate),
        absl::StrJoin(routes.best, " or "), 100 * routes.arms.better_rate,
        routes.arms.better_runs, 100 * routes.arms.other_rate,
        routes.arms.other_runs);
    return proposal;
  }
};

}  // namespace

std::unique_ptr<const InterventionType> MakeRoutingPolicy() {
  return std::make_unique<RoutingPolicyType>();
}

}  // namespace faultline::intervene
