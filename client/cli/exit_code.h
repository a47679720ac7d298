#ifndef FAULTLINE_CLIENT_CLI_EXIT_CODE_H_
#define FAULTLINE_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"

namespace faultline::cli {

// What faultlinectl exits with; scripts may rely on it (docs/cli.md).
enum ExitCode : int {
  kExitOk = 0,
  kExitUsage = 1,        // the command line is wrong
  kExitServer = 2,       // the server, or this program, failed
  kExitNotFound = 3,     // the named resource or file does not exist
  kExitUnreachable = 4,  // no server answered in time
  kExitRefused = 5,      // the request, or some record of an import, is refused
};

// The exit code of a command that ended with `status`.
ExitCode ToExitCode(const absl::Status& status);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_EXIT_CODE_H_
