#ifndef FAULTLINE_CLIENT_CLI_CLI_H_
#define FAULTLINE_CLIENT_CLI_CLI_H_

#include <string>
#include <vector>

#include "client/cli/session.h"

namespace faultline::cli {

// faultlinectl: runs one command line (without the program's name) and returns
// the exit code (exit_code.h).
int RunCli(std::vector<std::string> arguments, Environment environment);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_CLI_H_
