#include "client/cli/cli.h"

#include <algorithm>
#include <utility>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"

namespace faultline::cli {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 ok, 1 wrong command line, 2 server error, 3 not found,\n"
    "4 no server answers, 5 the server refuses.";

void AddGlobalOptions(CLI::App* app, GlobalOptions* options) {
  app->add_option("--server", options->server, "Address of faultlined")
      ->envname("FAULTLINE_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app->add_option("--project", options->project, "Project")
      ->envname("FAULTLINE_PROJECT")
      ->type_name("NAME")
      ->capture_default_str();
  app->add_option("--timeout", options->timeout_seconds,
                  "Longest wait for an answer, in seconds")
      ->check(CLI::PositiveNumber)
      ->type_name("SECONDS")
      ->capture_default_str();
  app->add_flag("--json", options->json, "Print JSON instead of text");
}

}  // namespace

CLI::App* AddCommand(CLI::App* app, Session* session, const std::string& name,
                     const std::string& description,
                     std::function<absl::Status()> command) {
  CLI::App* subcommand = app->add_subcommand(name, description);
  subcommand->fallthrough();
  subcommand->callback([session, subcommand, command = std::move(command)] {
    // A nested subcommand has been called before.
    if (subcommand->get_subcommands().empty()) session->set_command(command);
  });
  return subcommand;
}

void AddLimit(CLI::App* command, int* limit) {
  command->add_option("--limit", *limit, "Show at most so many")
      ->check(CLI::Range(1, 1000000))
      ->type_name("N")
      ->capture_default_str();
}

int RunCli(std::vector<std::string> arguments, Environment environment) {
  Session session(std::move(environment));
  CLI::App app("Talks to a Faultline server.", "faultlinectl");
  app.require_subcommand(1);
  app.footer(kFooter);
  app.set_version_flag("--version", FAULTLINE_VERSION);
  app.get_formatter()->column_width(28);
  AddGlobalOptions(&app, &session.options());
  AddImportCommands(&app, &session);
  AddStatusCommands(&app, &session);
  AddTickCommands(&app, &session);
  AddClusterCommands(&app, &session);
  AddTraceCommands(&app, &session);
  AddMapCommands(&app, &session);
  AddLineageCommands(&app, &session);
  AddInterventionCommands(&app, &session);
  AddPolicyCommands(&app, &session);
  AddEvaluationCommands(&app, &session);
  AddConfigCommands(&app, &session);
  AddStorageCommands(&app, &session);
  AddArenaCommand(&app, &session);
  AddCompletionCommand(&app, &session);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return app.exit(error, session.out(), session.err()) == 0 ? kExitOk
                                                              : kExitUsage;
  }
  return session.Run();
}

}  // namespace faultline::cli
