#ifndef FAULTLINE_LIB_POLICY_ARM_ASSIGNMENT_H_
#define FAULTLINE_LIB_POLICY_ARM_ASSIGNMENT_H_

#include "absl/strings/string_view.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::policy {

// Arm of an assignment key: treatment where xxh64(key + "\x1f" +
// intervention_id + "\x1f" + salt) / 2^64 < probability (METHODS 5.1). Stable
// across machines and releases, because past assignments depend on it.
v1::Arm DrawArm(absl::string_view assignment_key,
                absl::string_view intervention_id, absl::string_view salt,
                double probability);

// Whether the key never gets any intervention: xxh64(key + "\x1f" +
// global_holdout_salt) / 2^64 < global_holdout.
bool InGlobalHoldout(absl::string_view assignment_key,
                     const v1::Policy& policy);

}  // namespace faultline::policy

#endif  // FAULTLINE_LIB_POLICY_ARM_ASSIGNMENT_H_
