#include <cmath>
#include <memory>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/scope.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"
#include "lib/intervene/types/proposal_support.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {

using diagnose::ContextTable;
using diagnose::RunSet;

constexpr int kMaxCandidates = 64;
constexpr double kExplorationFloor = 0.02;
constexpr double kMaxExplorationFloor = 0.5;
constexpr double kWeightTolerance = 1e-6;
// A term must raise the worth of the scope by a quarter.
constexpr diagnose::ScopeGain kGain = {0, 0.25};

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
    const RunSet members = SampledMembers(context);
    const auto discovery = static_cast<double>(table.discovery().Count());
    diagnose::RouteRegret regrets(table, diagnose::kRouteField, members);
    const auto worth = [&](const RunSet& runs, const RunSet& term) {
      const auto regret = regrets.In(runs, term);
      return regret ? ScopeWorth(discovery, *regret) : 0;
    };
    const diagnose::Scope scope = diagnose::SearchScope(table, worth, kGain);
    if (worth(scope.runs, scope.runs) <= 0) return {};
    const auto routes = diagnose::CompareRoutes(table, scope.runs,
                                                diagnose::kRouteField, members);
    if (!routes || !routes->arms.Holds()) return {};
    return {MakeProposal(table, scope, *routes)};
  }

  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(
        CheckArm(action, v1::Action::kRoutingPolicy, "action.routing_policy"));
    const v1::RoutingPolicy& policy = action.routing_policy();
    constexpr char kCandidates[] = "action.routing_policy.candidates";
    if (policy.candidates().empty()) {
      return Invalid(v1::ErrorDetail::REASON_REQUIRED, kCandidates, "1 to 64",
                     "is empty");
    }
    if (policy.candidates_size() > kMaxCandidates) {
      return Invalid(v1::ErrorDetail::REASON_TOO_MANY, kCandidates, "1 to 64",
                     absl::StrCat("has ", policy.candidates_size()));
    }
    double sum = 0;
    std::set<std::string> names;
    for (int i = 0; i < policy.candidates_size(); ++i) {
      const v1::RoutingPolicy::Candidate& candidate = policy.candidates(i);
      const std::string field = absl::StrCat(kCandidates, "[", i, "]");
      FAULTLINE_RETURN_IF_ERROR(
          CheckName(absl::StrCat(field, ".name"), candidate.name()));
      if (!names.insert(candidate.name()).second) {
        return Invalid(v1::ErrorDetail::REASON_CONFLICT,
                       absl::StrCat(field, ".name"), "each name once",
                       absl::StrCat("repeats ", candidate.name()));
      }
      FAULTLINE_RETURN_IF_ERROR(CheckRange(absl::StrCat(field, ".weight"),
                                           candidate.weight(), 1e-9, 1));
      sum += candidate.weight();
    }
    if (std::abs(sum - 1) > kWeightTolerance) {
      return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, kCandidates,
                     "weights add up to 1", absl::StrFormat("sum is %g", sum));
    }
    return CheckRange("action.routing_policy.exploration_floor",
                      policy.exploration_floor(), 0, kMaxExplorationFloor);
  }

 private:
  static Proposal MakeProposal(const ContextTable& table,
                               const diagnose::Scope& scope,
                               const diagnose::RouteContrast& routes) {
    Proposal proposal;
    v1::RoutingPolicy& policy = *proposal.action.mutable_routing_policy();
    for (const std::string& name : routes.best) {
      v1::RoutingPolicy::Candidate& candidate = *policy.add_candidates();
      candidate.set_name(name);
      candidate.set_weight(1.0 / static_cast<double>(routes.best.size()));
    }
    policy.set_exploration_floor(kExplorationFloor);
    proposal.scope = scope.predicate;
    const double current =
        diagnose::HeldOutFailureRate(table, routes.with_choice);
    proposal.expected_reduction =
        diagnose::HeldOutShare(table, routes.with_choice) *
        std::max(0.0, current - routes.arms.better_rate);
    proposal.summary = absl::StrFormat(
        "Route runs where %s to %s: on held-out runs it failed in %.0f %% of "
        "%d, the other candidates in %.0f %% of %d.",
        policy::PredicateText(scope.predicate),
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
