#include "client/lab/policy_source.h"

#include "absl/strings/str_cat.h"

namespace faultline::lab {

ForcedActions::ForcedActions(std::vector<v1::Action> actions) {
  for (v1::Action& action : actions) {
    advice_.matches.push_back({absl::StrCat("forced-", advice_.matches.size()),
                               std::move(action), true});
  }
}

Advice ForcedActions::Decide(const v1::Trace&,
                             const policy::AssignmentKeys&) const {
  return advice_;
}

Advice MatcherPolicy::Decide(const v1::Trace& context,
                             const policy::AssignmentKeys& keys) const {
  const std::vector<policy::RuleMatch> matches =
      matcher_->Match(context, keys, now_);
  Advice advice;
  advice.exposure = matcher_->MakeExposure(matches, keys);
  for (const policy::RuleMatch& match : matches) {
    advice.matches.push_back(
        {match.rule->intervention_id(), match.rule->action(), match.applies});
  }
  return advice;
}

}  // namespace faultline::lab
