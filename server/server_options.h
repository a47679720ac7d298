#ifndef FAULTLINE_SERVER_SERVER_OPTIONS_H_
#define FAULTLINE_SERVER_SERVER_OPTIONS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/config.pb.h"

namespace faultline::server {

// What the command line and the configuration file say.
struct ServerOptions {
  // Checked, with every default but the projects' filled in.
  v1::ServerConfig config;
  // File that gets the listening port as a decimal number once the server
  // accepts calls; empty: none.
  std::string port_file;
  // Start without what is lost, where the end of the write-ahead log is
  // damaged.
  bool accept_data_loss = false;
  // Least level that is logged: a severity of glog, 0 (info) to 2 (error).
  int min_log_level = 0;
  // Verbosity of level info.
  int verbosity = 0;
};

// Command line over file over defaults. An empty optional: help or the version
// was asked for and printed. INVALID_ARGUMENT names the flag, or the file, the
// line and the field.
absl::StatusOr<std::optional<ServerOptions>> ParseServerOptions(
    int argc, const char* const* argv);

// Parses a ServerConfig; `file` is for messages. INVALID_ARGUMENT names line
// and field.
absl::StatusOr<v1::ServerConfig> ParseServerConfig(absl::string_view text,
                                                   absl::string_view file);

// Fills in the defaults and checks. INVALID_ARGUMENT names the field and the
// limit. `default_project` is left to the slow loop.
absl::Status CompleteServerConfig(v1::ServerConfig* config);

// Of the build, such as `0.1.0`.
absl::string_view ServerVersion();

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_SERVER_OPTIONS_H_
