#ifndef FAULTLINE_LIB_POLICY_POLICY_COMPILER_H_
#define FAULTLINE_LIB_POLICY_POLICY_COMPILER_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/policy.pb.h"

namespace faultline::policy {

// Compiles the active interventions into the next version. Priority goes by
// expected reduction, then by age. A policy has at most 128 rules, those of
// highest priority, because Trace.exposure holds no more. Returns `previous`
// itself where nothing that routers see has changed. `config` is filled in.
// Pure; the order of `active` does not matter.
v1::Policy CompilePolicy(absl::Span<const v1::Intervention* const> active,
                         const v1::Policy& previous,
                         const v1::ProjectConfig& config,
                         absl::string_view project, uint64_t tick,
                         absl::Time now);

// SHA-256, in hex, of the policy's deterministic bytes with `digest` empty.
std::string PolicyDigest(const v1::Policy& policy);

}  // namespace faultline::policy

#endif  // FAULTLINE_LIB_POLICY_POLICY_COMPILER_H_
