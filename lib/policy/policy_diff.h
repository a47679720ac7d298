#ifndef FAULTLINE_LIB_POLICY_POLICY_DIFF_H_
#define FAULTLINE_LIB_POLICY_POLICY_DIFF_H_

#include "faultline/v1/policy.pb.h"
#include "faultline/v1/policy_service.pb.h"

namespace faultline::policy {

// What changed from one version to another: rules by intervention, each field
// of those that differ, and what routers see beside the rules. Where a version
// has an intervention twice, its first rule counts. Pure.
v1::DiffPoliciesResponse DiffPolicies(const v1::Policy& from,
                                      const v1::Policy& to);

}  // namespace faultline::policy

#endif  // FAULTLINE_LIB_POLICY_POLICY_DIFF_H_
