#include "lib/policy/policy_compiler.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"

namespace faultline::policy {
namespace {

constexpr size_t kMaxRules = 128;

v1::Rule MakeRule(const v1::Intervention& intervention, int32_t priority) {
  v1::Rule rule;
  rule.set_intervention_id(intervention.intervention_id());
  rule.set_kind(intervention.kind());
  *rule.mutable_match() = intervention.scope();
  *rule.mutable_action() = intervention.action();
  rule.set_treatment_probability(intervention.treatment_probability());
  rule.set_salt(intervention.salt());
  rule.set_priority(priority);
  if (intervention.has_expire_time()) {
    *rule.mutable_expire_time() = intervention.expire_time();
  }
  return rule;
}

// Digest of what a router acts on.
std::string VisibleDigest(v1::Policy policy) {
  policy.clear_name();
  policy.clear_version();
  policy.clear_digest();
  policy.clear_parent_digest();
  policy.clear_tick();
  policy.clear_create_time();
  return base::MessageDigest(policy);
}

}  // namespace

v1::Policy CompilePolicy(absl::Span<const v1::Intervention* const> active,
                         const v1::Policy& previous,
                         const v1::ProjectConfig& config,
                         absl::string_view project, uint64_t tick,
                         absl::Time now) {
  std::vector<const v1::Intervention*> ordered(active.begin(), active.end());
  const auto rank = [](const v1::Intervention* intervention) {
    return std::make_tuple(-intervention->expected_reduction(),
                           intervention->create_tick(),
                           absl::string_view(intervention->intervention_id()));
  };
  std::sort(ordered.begin(), ordered.end(),
            [&rank](const v1::Intervention* a, const v1::Intervention* b) {
              return rank(a) < rank(b);
            });
  ordered.resize(std::min(ordered.size(), kMaxRules));

  v1::Policy next;
  int32_t priority = static_cast<int32_t>(ordered.size());
  for (const v1::Intervention* intervention : ordered) {
    *next.add_rules() = MakeRule(*intervention, priority--);
  }
  *next.mutable_ttl() = config.policy_ttl();
  next.set_global_holdout(config.global_holdout());
  // The same in every version: a key that leaves the holdout would spoil it.
  next.set_global_holdout_salt(
      base::Sha256Hex(absl::StrCat("global_holdout/", project)).substr(0, 16));
  if (VisibleDigest(next) == VisibleDigest(previous)) return previous;

  next.set_version(previous.version() + 1);
  next.set_name(
      absl::StrCat("projects/", project, "/policies/", next.version()));
  next.set_parent_digest(previous.digest());
  next.set_tick(tick);
  const absl::Duration since_epoch = now - absl::UnixEpoch();
  const int64_t seconds = absl::ToUnixSeconds(now);
  next.mutable_create_time()->set_seconds(seconds);
  next.mutable_create_time()->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(since_epoch - absl::Seconds(seconds))));
  next.set_digest(PolicyDigest(next));
  return next;
}

std::string PolicyDigest(const v1::Policy& policy) {
  v1::Policy undigested = policy;
  undigested.clear_digest();
  return base::MessageDigest(undigested);
}

}  // namespace faultline::policy
