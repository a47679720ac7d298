#ifndef FAULTLINE_LIB_POLICY_POLICY_MATCHER_H_
#define FAULTLINE_LIB_POLICY_POLICY_MATCHER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/policy/arm_assignment.h"
#include "lib/policy/predicate.h"

namespace faultline::policy {

// One matching rule and what it means for one run.
struct RuleMatch {
  const v1::Rule* rule;  // in the matcher's policy
  v1::Arm arm;
  // Treatment, and no treated rule of higher priority sets the same knob. A
  // rule in its holdout arm sets nothing, so it overrules nothing.
  bool applies;
};

// Evaluates one policy version. The same code runs in routers (client/sdk), in
// the server and in the tests. Immutable, so thread-safe.
class PolicyMatcher {
 public:
  // A rule that this build cannot evaluate (unknown action or predicate, or a
  // treatment probability outside (0, 1]) is left out and named in
  // unsupported(): a no-op, to be reported as a NACK.
  static std::shared_ptr<const PolicyMatcher> Create(v1::Policy policy);

  // Rules that match, in order of priority, with the arm that their key draws.
  // None for a run in the global holdout, none of memory for a memory in it.
  // `now` decides about expiry.
  std::vector<RuleMatch> Match(const v1::Trace& context,
                               const AssignmentKeys& keys,
                               absl::Time now) const;

  // What the run must carry: one entry for each match, whatever its arm.
  v1::Exposure MakeExposure(const std::vector<RuleMatch>& matches,
                            const AssignmentKeys& keys) const;

  // The same, where one key draws all arms.
  std::vector<RuleMatch> Match(const v1::Trace& context,
                               absl::string_view assignment_key,
                               absl::Time now) const {
    return Match(context, AssignmentKeys{assignment_key, {}}, now);
  }
  v1::Exposure MakeExposure(const std::vector<RuleMatch>& matches,
                            absl::string_view assignment_key) const {
    return MakeExposure(matches, AssignmentKeys{assignment_key, {}});
  }

  const v1::Policy& policy() const { return policy_; }
  // `intervention id: reason` of each rule that was left out.
  const std::vector<std::string>& unsupported() const { return unsupported_; }

 private:
  struct CompiledRule {
    const v1::Rule* rule;  // in policy_
    int predicate;         // in predicates_
    int knob;              // equal for rules that exclude each other
    absl::Time expire_time;
  };

  explicit PolicyMatcher(v1::Policy policy);

  const v1::Policy policy_;
  PredicateSet predicates_;
  std::vector<CompiledRule> rules_;  // by descending priority, then id
  int knob_count_ = 0;
  std::vector<std::string> unsupported_;
};

// What a rule sets: rules with the same knob exclude each other on one run.
// Empty where the action is unknown to this build, in whole or in part.
std::string ActionKnob(const v1::Action& action);

}  // namespace faultline::policy

#endif  // FAULTLINE_LIB_POLICY_POLICY_MATCHER_H_
