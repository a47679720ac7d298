#ifndef FAULTLINE_LIB_POLICY_POLICY_MATCHER_H_
#define FAULTLINE_LIB_POLICY_POLICY_MATCHER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/predicate.pb.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::policy {

// A predicate with its paths parsed. Immutable, so thread-safe.
class CompiledPredicate {
 public:
  // INVALID_ARGUMENT, naming the part, where an operator is unknown, a path is
  // none, or it is deeper or larger than predicate.proto allows.
  static absl::StatusOr<CompiledPredicate> Compile(
      const v1::Predicate& predicate);

  bool Matches(const v1::Trace& trace) const;

 private:
  struct Node;
  explicit CompiledPredicate(std::shared_ptr<const Node> root);
  std::shared_ptr<const Node> root_;
};

// The predicate in words, such as `task.type = "qa" and not (...)`.
std::string PredicateText(const v1::Predicate& predicate);

// One matching rule and what it means for one run.
struct RuleMatch {
  const v1::Rule* rule;  // in the matcher's policy
  v1::Arm arm;
  bool applies;  // treatment, and not overruled on its knob
};

// Arm of an assignment key: treatment where xxh64(key + "\x1f" +
// intervention_id + "\x1f" + salt) / 2^64 < probability (METHODS 5.1).
v1::Arm DrawArm(absl::string_view assignment_key,
                absl::string_view intervention_id, absl::string_view salt,
                double probability);

// Evaluates one policy version. The same code runs in routers (client/sdk), in
// the server and in the tests. Immutable, so thread-safe.
class PolicyMatcher {
 public:
  // A rule that this build cannot evaluate (unknown action or predicate) is
  // left out and named in unsupported(): a no-op, to be reported as a NACK.
  static std::shared_ptr<const PolicyMatcher> Create(v1::Policy policy);

  // Rules that match, in order of priority, with the arm that the key draws.
  // Empty for a key in the global holdout. `now` decides about expiry.
  std::vector<RuleMatch> Match(const v1::Trace& context,
                               absl::string_view assignment_key,
                               absl::Time now) const;

  // What the run must carry: one entry for each match, whatever its arm.
  v1::Exposure MakeExposure(const std::vector<RuleMatch>& matches,
                            absl::string_view assignment_key) const;

  const v1::Policy& policy() const { return policy_; }
  // Intervention ids and why each was left out.
  const std::vector<std::string>& unsupported() const { return unsupported_; }

 private:
  explicit PolicyMatcher(v1::Policy policy);

  v1::Policy policy_;
  std::vector<std::pair<int, CompiledPredicate>> rules_;  // index of the rule
  std::vector<std::string> unsupported_;
};

// What a rule sets: rules with the same knob exclude each other on one run.
// Empty where the action is unknown.
std::string ActionKnob(const v1::Action& action);

}  // namespace faultline::policy

#endif  // FAULTLINE_LIB_POLICY_POLICY_MATCHER_H_
