#ifndef FAULTLINE_CLIENT_LAB_POLICY_SOURCE_H_
#define FAULTLINE_CLIENT_LAB_POLICY_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/policy/policy_matcher.h"

namespace faultline::lab {

// What a policy says about one run, as far as it is known.
struct Advice {
  struct Match {
    std::string intervention_id;
    v1::Action action;
    bool applies = false;  // treatment arm, and not overruled
  };

  std::vector<Match> matches;  // in order of priority
  // One entry for each match, whatever its arm.
  v1::Exposure exposure;
};

// Where the runtime gets its policy from. Implementations are thread-safe.
class PolicySource {
 public:
  virtual ~PolicySource() = default;

  // `context`: the run so far. The keys draw the arms: the same key always
  // draws the same.
  virtual Advice Decide(const v1::Trace& context,
                        const policy::AssignmentKeys& keys) const = 0;
};

// No policy at all. Thread-safe.
class NoPolicy final : public PolicySource {
 public:
  Advice Decide(const v1::Trace&,
                const policy::AssignmentKeys&) const override {
    return {};
  }
};

// Actions that always apply and leave no exposure: for counterfactuals.
// Immutable, so thread-safe.
class ForcedActions final : public PolicySource {
 public:
  explicit ForcedActions(std::vector<v1::Action> actions);
  Advice Decide(const v1::Trace& context,
                const policy::AssignmentKeys& keys) const override;

 private:
  Advice advice_;
};

// One fixed policy version, evaluated as every router does. Immutable, so
// thread-safe.
class MatcherPolicy final : public PolicySource {
 public:
  // `now` decides which rules have expired.
  MatcherPolicy(std::shared_ptr<const policy::PolicyMatcher> matcher,
                absl::Time now)
      : matcher_(std::move(matcher)), now_(now) {}
  Advice Decide(const v1::Trace& context,
                const policy::AssignmentKeys& keys) const override;

 private:
  const std::shared_ptr<const policy::PolicyMatcher> matcher_;
  const absl::Time now_;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_POLICY_SOURCE_H_
