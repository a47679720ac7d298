#ifndef FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_
#define FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_

#include <vector>

#include "lib/diagnose/context_table.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/run_set.h"
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

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_
