#include "lib/policy/arm_assignment.h"

#include <algorithm>
#include <initializer_list>

#include "absl/container/fixed_array.h"
#include "lib/base/hash.h"

namespace faultline::policy {
namespace {

// Of the parts with 0x1f between them; does not allocate.
bool HashesBelow(std::initializer_list<absl::string_view> parts, double share) {
  size_t size = parts.size() - 1;
  for (const absl::string_view part : parts) size += part.size();
  absl::FixedArray<char, 512> text(size);
  char* end = text.data();
  for (auto part = parts.begin(); part != parts.end(); ++part) {
    if (part != parts.begin()) *end++ = '\x1f';
    end = std::copy(part->begin(), part->end(), end);
  }
  return base::ToUnitInterval(
             base::Hash64(absl::string_view(text.data(), size))) < share;
}

}  // namespace

absl::string_view KeyFor(const v1::Action& action, const AssignmentKeys& keys) {
  return action.has_memory_schema() && !keys.memory.empty() ? keys.memory
                                                            : keys.run;
}

v1::Arm DrawArm(absl::string_view assignment_key,
                absl::string_view intervention_id, absl::string_view salt,
                double probability) {
  return HashesBelow({assignment_key, intervention_id, salt}, probability)
             ? v1::ARM_TREATMENT
             : v1::ARM_HOLDOUT;
}

bool InGlobalHoldout(absl::string_view assignment_key,
                     const v1::Policy& policy) {
  return policy.global_holdout() > 0 &&
         HashesBelow({assignment_key, policy.global_holdout_salt()},
                     policy.global_holdout());
}

}  // namespace faultline::policy
