#include <memory>
#include <string>

#include "client/cli/commands.h"
#include "client/cli/completion.h"

namespace faultline::cli {

void AddCompletionCommand(CLI::App* app, Session* session) {
  auto shell = std::make_shared<std::string>();
  CLI::App* completion = AddCommand(
      app, session, "completion", "Print the completion script of a shell",
      [app, session, shell] {
        session->out() << (*shell == "bash"  ? BashCompletion(*app)
                           : *shell == "zsh" ? ZshCompletion(*app)
                                             : FishCompletion(*app));
        return absl::OkStatus();
      });
  completion->add_option("SHELL", *shell, "Which shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace faultline::cli
