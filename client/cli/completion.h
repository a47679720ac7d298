#ifndef FAULTLINE_CLIENT_CLI_COMPLETION_H_
#define FAULTLINE_CLIENT_CLI_COMPLETION_H_

#include <string>

#include "CLI/App.hpp"

// Scripts that complete commands, options and their values in a shell, made
// from the commands themselves. Pure functions.
namespace faultline::cli {

std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);
std::string FishCompletion(const CLI::App& app);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_COMPLETION_H_
