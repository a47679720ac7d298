#ifndef FAULTLINE_LIB_POLICY_ARM_ASSIGNMENT_H_
#define FAULTLINE_LIB_POLICY_ARM_ASSIGNMENT_H_

#include "absl/strings/string_view.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::policy {

// What the arms of a run are drawn by. Views.
struct AssignmentKeys {
  // The trace id, or what groups the runs that must share an arm.
  absl::string_view run;
  // Of changes of memory: what one run leaves there, others find, so all runs
  // that share a memory must share an arm (METHODS 5.1). The namespace of the
  // memory, or the agent that owns it. Empty: there is one memory for all, or
  // none, and `run` draws.
  absl::string_view memory;
};

// The key that draws the arm of a rule with this action.
absl::string_view KeyFor(const v1::Action& action, const AssignmentKeys& keys);

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
