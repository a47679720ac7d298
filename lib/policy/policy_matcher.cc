#include "lib/policy/policy_matcher.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"

namespace faultline::policy {
namespace {

absl::Time ExpireTime(const v1::Rule& rule) {
  if (!rule.has_expire_time()) return absl::InfiniteFuture();
  return absl::FromUnixSeconds(rule.expire_time().seconds()) +
         absl::Nanoseconds(rule.expire_time().nanos());
}

std::string ToolKnob(const v1::ToolConstraint& constraint) {
  switch (constraint.rule_case()) {
    case v1::ToolConstraint::kArgument:
      return absl::StrCat("tool/", constraint.tool(), "/argument/",
                          constraint.argument().argument());
    case v1::ToolConstraint::kCallLimit:
      return absl::StrCat("tool/", constraint.tool(), "/call_limit");
    case v1::ToolConstraint::kOrder:
      return absl::StrCat("tool/", constraint.tool(), "/order/",
                          constraint.order().after_tool());
    case v1::ToolConstraint::kDisable:
      return absl::StrCat("tool/", constraint.tool(), "/disable");
    case v1::ToolConstraint::RULE_NOT_SET:
      break;
  }
  return "";
}

std::string GuardrailKnob(const v1::Guardrail& guardrail) {
  if (!v1::Guardrail::Fallback_IsValid(guardrail.fallback()) ||
      guardrail.fallback() == v1::Guardrail::FALLBACK_UNSPECIFIED) {
    return "";
  }
  if (guardrail.check() == v1::Guardrail::CHECK_SIGNAL_AT_LEAST) {
    return absl::StrCat("guardrail/signal/", guardrail.signal());
  }
  if (guardrail.check() == v1::Guardrail::CHECK_STEP_REQUIRED) {
    return absl::StrCat("guardrail/step/", guardrail.required_step(), "/",
                        guardrail.required_name());
  }
  if (guardrail.check() == v1::Guardrail::CHECK_MAX_REPEATS) {
    return "guardrail/max_repeats";
  }
  if (guardrail.check() == v1::Guardrail::CHECK_MAX_STEPS) {
    return "guardrail/max_steps";
  }
  return "";
}

}  // namespace

std::string ActionKnob(const v1::Action& action) {
  switch (action.kind_case()) {
    case v1::Action::kRoutingPolicy:
    case v1::Action::kBanditWeights:
      return "route";
    case v1::Action::kMemorySchema:
      return absl::StrCat("memory/", action.memory_schema().record_class());
    case v1::Action::kToolConstraint:
      return ToolKnob(action.tool_constraint());
    case v1::Action::kGuardrail:
      return GuardrailKnob(action.guardrail());
    case v1::Action::kPromptStrategy:
      return "prompt_strategy";
    case v1::Action::KIND_NOT_SET:
      break;
  }
  return "";
}

std::shared_ptr<const PolicyMatcher> PolicyMatcher::Create(v1::Policy policy) {
  return std::shared_ptr<const PolicyMatcher>(
      new PolicyMatcher(std::move(policy)));
}

PolicyMatcher::PolicyMatcher(v1::Policy policy) : policy_(std::move(policy)) {
  std::vector<const v1::Rule*> ordered;
  for (const v1::Rule& rule : policy_.rules()) ordered.push_back(&rule);
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const v1::Rule* a, const v1::Rule* b) {
                     return a->priority() != b->priority()
                                ? a->priority() > b->priority()
                                : a->intervention_id() < b->intervention_id();
                   });

  absl::flat_hash_map<std::string, int> knobs;
  for (const v1::Rule* rule : ordered) {
    const auto leave_out = [this, rule](absl::string_view reason) {
      unsupported_.push_back(
          absl::StrCat(rule->intervention_id(), ": ", reason));
    };
    const std::string knob = ActionKnob(rule->action());
    if (knob.empty()) {
      leave_out("action is not known to this version");
      continue;
    }
    const double probability = rule->treatment_probability();
    if (!(probability > 0 && probability <= 1)) {
      leave_out(absl::StrCat("treatment_probability is ", probability,
                             " (above 0, at most 1)"));
      continue;
    }
    const absl::StatusOr<int> predicate = predicates_.Add(rule->match());
    if (!predicate.ok()) {
      leave_out(absl::StrCat("match: ", predicate.status().message()));
      continue;
    }
    const int knob_number =
        knobs.try_emplace(knob, static_cast<int>(knobs.size())).first->second;
    rules_.push_back(
        CompiledRule{rule, *predicate, knob_number, ExpireTime(*rule)});
  }
  knob_count_ = static_cast<int>(knobs.size());
}

std::vector<RuleMatch> PolicyMatcher::Match(const v1::Trace& context,
                                            const AssignmentKeys& keys,
                                            absl::Time now) const {
  std::vector<RuleMatch> matches;
  if (rules_.empty() || InGlobalHoldout(keys.run, policy_)) return matches;
  const bool memory_held_out =
      !keys.memory.empty() && InGlobalHoldout(keys.memory, policy_);
  matches.reserve(std::min<size_t>(rules_.size(), 16));
  PredicateSet::Reader reader(predicates_, context);
  absl::InlinedVector<bool, 64> taken(knob_count_, false);
  for (const CompiledRule& compiled : rules_) {
    if (now >= compiled.expire_time || !reader.Matches(compiled.predicate)) {
      continue;
    }
    const v1::Rule& rule = *compiled.rule;
    if (memory_held_out && rule.action().has_memory_schema()) continue;
    const v1::Arm arm =
        DrawArm(KeyFor(rule.action(), keys), rule.intervention_id(),
                rule.salt(), rule.treatment_probability());
    const bool applies = arm == v1::ARM_TREATMENT && !taken[compiled.knob];
    if (applies) taken[compiled.knob] = true;
    matches.push_back(RuleMatch{&rule, arm, applies});
  }
  return matches;
}

v1::Exposure PolicyMatcher::MakeExposure(const std::vector<RuleMatch>& matches,
                                         const AssignmentKeys& keys) const {
  v1::Exposure exposure;
  exposure.set_policy_version(policy_.version());
  exposure.mutable_interventions()->Reserve(static_cast<int>(matches.size()));
  for (const RuleMatch& match : matches) {
    v1::Exposure::Intervention* const intervention =
        exposure.add_interventions();
    intervention->set_intervention_id(match.rule->intervention_id());
    intervention->set_arm(match.arm);
    const absl::string_view key = KeyFor(match.rule->action(), keys);
    intervention->set_assignment_key(key.data(), key.size());
    intervention->set_treatment_probability(
        match.rule->treatment_probability());
  }
  return exposure;
}

}  // namespace faultline::policy
