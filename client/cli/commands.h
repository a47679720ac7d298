#ifndef FAULTLINE_CLIENT_CLI_COMMANDS_H_
#define FAULTLINE_CLIENT_CLI_COMMANDS_H_

#include <functional>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "client/cli/session.h"

// The commands, by noun. Each function adds its subcommands to `app`; a
// subcommand that the command line chooses hands its work to the session.
namespace faultline::cli {

void AddStatusCommands(CLI::App* app, Session* session);   // status
void AddTickCommands(CLI::App* app, Session* session);     // tick, ticks, ...
void AddClusterCommands(CLI::App* app, Session* session);  // clusters, ...
void AddImportCommands(CLI::App* app, Session* session);   // import, ...
void AddTraceCommands(CLI::App* app, Session* session);    // trace, similar
void AddMapCommands(CLI::App* app, Session* session);      // map
void AddLineageCommands(CLI::App* app, Session* session);  // lineage, review
void AddInterventionCommands(CLI::App* app, Session* session);  // approve, ...
void AddPolicyCommands(CLI::App* app, Session* session);        // policy, ...
void AddEvaluationCommands(CLI::App* app, Session* session);    // slices, ...
void AddConfigCommands(CLI::App* app, Session* session);        // config
void AddStorageCommands(CLI::App* app, Session* session);       // delete, ...
void AddArenaCommand(CLI::App* app, Session* session);          // arena
void AddCompletionCommand(CLI::App* app, Session* session);     // completion

// A subcommand that runs `command` where it is chosen.
CLI::App* AddCommand(CLI::App* app, Session* session, const std::string& name,
                     const std::string& description,
                     std::function<absl::Status()> command);

// `--limit`: how many elements a list shows.
void AddLimit(CLI::App* command, int* limit);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_COMMANDS_H_
