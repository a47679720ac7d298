#include "lib/policy/arm_assignment.h"

#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"

namespace faultline::policy {
namespace {

bool HashesBelow(absl::string_view text, double share) {
  return base::ToUnitInterval(base::Hash64(text)) < share;
}

}  // namespace

v1::Arm DrawArm(absl::string_view assignment_key,
                absl::string_view intervention_id, absl::string_view salt,
                double probability) {
  return HashesBelow(absl::StrCat(assignment_key, "\x1f", intervention_id,
                                  "\x1f", salt),
                     probability)
             ? v1::ARM_TREATMENT
             : v1::ARM_HOLDOUT;
}

bool InGlobalHoldout(absl::string_view assignment_key,
                     const v1::Policy& policy) {
  return policy.global_holdout() > 0 &&
         HashesBelow(
             absl::StrCat(assignment_key, "\x1f", policy.global_holdout_salt()),
             policy.global_holdout());
}

}  // namespace faultline::policy
