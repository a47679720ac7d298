#ifndef FAULTLINE_CLIENT_CLI_SETTINGS_H_
#define FAULTLINE_CLIENT_CLI_SETTINGS_H_

#include <string>

#include "absl/status/status.h"
#include "faultline/v1/admin_service.pb.h"

namespace faultline::cli {

// Adds one `SETTING=VALUE` to a request, such as `max_trials=3` or
// `quota.stored_bytes=1000`. A group is sent whole: the request's config holds
// what the others of it are. INVALID_ARGUMENT names the settings where it is
// none, or what it takes.
absl::Status AddSetting(const std::string& setting,
                        v1::UpdateConfigRequest* request);

// For CLI11: empty where the text is good.
std::string SettingProblem(const std::string& setting);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_SETTINGS_H_
