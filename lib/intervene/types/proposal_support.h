#ifndef FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_
#define FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_

#include <vector>

#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"
#include "lib/intervene/intervention_type.h"

// What several intervention types ask of a proposal context. Pure.

namespace faultline::intervene {

// The sampled members of the cluster, as runs of the window.
diagnose::RunSet SampledMembers(const ProposalContext& context);

// The sampled successes that match the cluster's scope; all of them where
// fewer than 20 do.
std::vector<const v1::Trace*> UsualTraces(const ProposalContext& context);

// Share of all runs that fail in the cluster's mode: held-out, where it was
// measured.
double ModeRate(const ProposalContext& context,
                const diagnose::ContextTable& table);

// Mean of the prior of an action's efficacy, Beta(2, 3) (METHODS 4.3).
inline constexpr double kPriorEfficacy = 0.4;

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_TYPES_PROPOSAL_SUPPORT_H_
