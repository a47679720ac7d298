#ifndef FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_
#define FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/run_set.h"
#include "lib/diagnose/scope.h"
#include "lib/intervene/intervention_type.h"

// What several intervention types ask of a proposal context. Pure.

namespace faultline::intervene {

// The sampled members of the cluster, as runs of the window.
diagnose::RunSet SampledMembers(const ProposalContext& context);

// The sampled successes that match the cluster's scope; all of them where
// fewer than 20 do.
std::vector<const v1::Trace*> UsualTraces(const ProposalContext& context);

// Worth of a scope for a cluster, the product of: what a change would spare of
// the members, less a standard error, which keeps the scope at the cluster;
// what it would spare of the runs in scope, and the share of them that have a
// choice at all, which keep out runs that gain nothing; and a root of the
// scope's share of all runs, which weighs a wide scope against a slightly
// better narrow one. 0 where the regret in scope is too small to act on.
// `discovery_runs`: of all.
double ScopeWorth(double discovery_runs, const diagnose::Regret& regret);

// The same, however small the regret: for steps that are tested by themselves.
double WorthOfAnyRegret(double discovery_runs, const diagnose::Regret& regret);

// A term must raise the worth of a scope by a quarter.
inline constexpr diagnose::ScopeGain kScopeGain = {0, 0.25};

// Values of a context field that fail less in a scope than the others there.
struct BetterChoice {
  diagnose::Scope scope;
  diagnose::RouteContrast contrast;  // held-out side
  double expected_reduction = 0;     // share of all runs
};

// The scope where it would be worth most to the cluster that runs had the best
// value of `field`; none where held-out runs do not confirm it.
std::optional<BetterChoice> FindBetterChoice(
    const ProposalContext& context, const diagnose::ContextTable& table,
    absl::string_view field);

// A tested cause of the cluster that a choice can avoid.
struct AvoidableCause {
  const v1::CauseEvidence* evidence = nullptr;  // in the cluster's diagnosis
  v1::Predicate scope;                          // runs that have chosen it
  std::vector<std::string> others;              // to choose instead, best first
  double expected_reduction = 0;                // share of all runs
};

// Strongest cause that says that a value of `field`, or the same value of
// `alias`, was chosen, where other values fail less on the held-out side and
// are no causes themselves. Of the mode's failures, not of all: it finds what
// FindBetterChoice does not, because the mode is a small share of what fails.
std::optional<AvoidableCause> FindAvoidableCause(
    const ProposalContext& context, const diagnose::ContextTable& table,
    absl::string_view field, absl::string_view alias);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_
