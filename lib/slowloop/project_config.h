#ifndef FAULTLINE_LIB_SLOWLOOP_PROJECT_CONFIG_H_
#define FAULTLINE_LIB_SLOWLOOP_PROJECT_CONFIG_H_

#include "absl/status/statusor.h"
#include "faultline/v1/config.pb.h"

namespace faultline::slowloop {

// `config` over `defaults` over the built-in defaults: every field filled in.
// INVALID_ARGUMENT, with an ErrorDetail, names the field and the limit.
absl::StatusOr<v1::ProjectConfig> ResolveConfig(
    const v1::ProjectConfig& config, const v1::ProjectConfig& defaults);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_PROJECT_CONFIG_H_
