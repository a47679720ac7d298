#ifndef FAULTLINE_LIB_EVALUATE_EXPLANATION_H_
#define FAULTLINE_LIB_EVALUATE_EXPLANATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/intervention_service.pb.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/tick.pb.h"
#include "faultline/v1/trace.pb.h"

// Why the policy has a rule, and which rules a run met. Pure functions.

namespace faultline::evaluate {

// From the rule of an intervention back to the runs that gave rise to it.
// `first_version`: of the policy that began to carry it; 0: none.
v1::RuleExplanation ExplainRule(const v1::TickState& state,
                                const v1::Policy& current,
                                absl::string_view project,
                                absl::string_view intervention_id,
                                uint64_t first_version);

// Rules of `policy` that match a run or that it carries, in order of priority,
// then those that it carries and that the policy does not have.
std::vector<v1::MatchedRule> MatchRules(const v1::Policy& policy,
                                        absl::string_view project,
                                        const v1::Trace& trace);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_EXPLANATION_H_
