#include "client/cli/completion.h"

#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace faultline::cli {
namespace {

// One option of one command.
struct OptionSpec {
  std::string name;  // without dashes
  std::string description;
  bool takes_value;
  bool takes_file;
  std::vector<std::string> choices;
};

// One command: its words joined by blanks, empty for the program itself.
struct CommandSpec {
  std::string path;
  std::vector<OptionSpec> options;
  std::vector<OptionSpec> positionals;
  std::vector<std::pair<std::string, std::string>> children;  // with text
};

// CLI11 keeps the choices of CLI::IsMember only in the type's text: `T:{a,b}`.
std::vector<std::string> Choices(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{');
  const size_t end = type.rfind('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  return absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',');
}

OptionSpec Spec(const CLI::Option& option) {
  return {.name = option.get_positional() ? option.get_name()
                                          : option.get_lnames().front(),
          .description = option.get_description(),
          .takes_value = option.get_expected_max() > 0,
          .takes_file = absl::StrContains(option.get_type_name(), "FILE"),
          .choices = Choices(option)};
}

void Collect(const CLI::App& app, const std::string& path,
             std::vector<CommandSpec>* commands) {
  CommandSpec command;
  command.path = path;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      command.positionals.push_back(Spec(*option));
    } else if (!option->get_lnames().empty()) {
      command.options.push_back(Spec(*option));
    }
  }
  const auto children = app.get_subcommands(nullptr);
  for (const CLI::App* child : children) {
    command.children.emplace_back(child->get_name(), child->get_description());
  }
  commands->push_back(std::move(command));
  for (const CLI::App* child : children) {
    Collect(*child,
            path.empty() ? child->get_name()
                         : absl::StrCat(path, " ", child->get_name()),
            commands);
  }
}

// The program first, then its commands, depth first.
std::vector<CommandSpec> Commands(const CLI::App& app) {
  std::vector<CommandSpec> commands;
  Collect(app, "", &commands);
  return commands;
}

// Words that may follow a command: children, choices, options and the global
// options.
std::string WordsAfter(const CommandSpec& command, const CommandSpec& program) {
  std::vector<std::string> words;
  for (const auto& child : command.children) words.push_back(child.first);
  for (const OptionSpec& positional : command.positionals) {
    words.insert(words.end(), positional.choices.begin(),
                 positional.choices.end());
  }
  for (const OptionSpec& option : command.options) {
    words.push_back(absl::StrCat("--", option.name));
  }
  if (!command.path.empty()) {
    for (const OptionSpec& option : program.options) {
      const std::string word = absl::StrCat("--", option.name);
      if (option.name != "help" && option.name != "version") {
        words.push_back(word);
      }
    }
  }
  return absl::StrJoin(words, " ");
}

std::string LastWord(const std::string& path) {
  return path.substr(path.rfind(' ') + 1);
}

std::string Parent(const std::string& path) {
  const size_t blank = path.rfind(' ');
  return blank == std::string::npos ? "" : path.substr(0, blank);
}

// Text inside '...' of a shell.
std::string Quoted(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"'", "'\\''"}});
}

// Text inside a specification of zsh's _arguments.
std::string ZshText(absl::string_view text) {
  return absl::StrReplaceAll(Quoted(text),
                             {{"[", "\\["}, {"]", "\\]"}, {":", "\\:"}});
}

std::string ZshAction(const OptionSpec& option) {
  if (!option.choices.empty()) {
    return absl::StrCat("(", absl::StrJoin(option.choices, " "), ")");
  }
  return option.takes_file ? "_files" : "";
}

void AppendZshArguments(std::string* out, const CommandSpec& command,
                        const CommandSpec& program) {
  const auto append = [out](const OptionSpec& option) {
    absl::StrAppend(out, " \\\n        '--", option.name, "[",
                    ZshText(option.description), "]",
                    option.takes_value
                        ? absl::StrCat(":", option.name, ":", ZshAction(option))
                        : "",
                    "'");
  };
  for (const OptionSpec& option : command.options) append(option);
  if (!command.path.empty()) {
    for (const OptionSpec& option : program.options) {
      if (option.name != "help" && option.name != "version") append(option);
    }
  }
  for (const OptionSpec& positional : command.positionals) {
    absl::StrAppend(out, " \\\n        '*:", ZshText(positional.name), ":",
                    ZshAction(positional), "'");
  }
}

// A function for one command; a command with children hands over to theirs.
void AppendZshFunction(std::string* out, const std::string& function,
                       const CommandSpec& command, const CommandSpec& program) {
  absl::StrAppend(out, function, "() {\n");
  if (!command.children.empty()) {
    absl::StrAppend(out, "  local curcontext=$curcontext state line\n");
  }
  absl::StrAppend(out, "  _arguments", command.children.empty() ? "" : " -C");
  AppendZshArguments(out, command, program);
  if (command.children.empty()) {
    absl::StrAppend(out, "\n}\n");
    return;
  }
  absl::StrAppend(out,
                  " \\\n        '1:command:->command' "
                  "'*::argument:->argument'\n"
                  "  case $state in\n    command)\n"
                  "      local -a commands=(\n");
  for (const auto& [name, description] : command.children) {
    absl::StrAppend(out, "        '", name, ":", ZshText(description), "'\n");
  }
  absl::StrAppend(out,
                  "      )\n      _describe command commands\n      ;;\n"
                  "    argument)\n      case $words[1] in\n");
  for (const auto& child : command.children) {
    absl::StrAppend(out, "        ", child.first, ") ", function, "_",
                    child.first, " ;;\n");
  }
  absl::StrAppend(out, "      esac\n      ;;\n  esac\n}\n");
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  const std::vector<CommandSpec> commands = Commands(app);
  std::set<std::string> value_options;
  std::string steps;
  std::string values;
  std::string words;
  for (const CommandSpec& command : commands) {
    if (!command.path.empty()) {
      absl::StrAppend(&steps, "      '", Parent(command.path), ":",
                      LastWord(command.path), "') command='", command.path,
                      "' ;;\n");
    }
    for (const OptionSpec& option : command.options) {
      if (option.takes_value) value_options.insert("--" + option.name);
      if (option.choices.empty()) continue;
      absl::StrAppend(&values, "    '", command.path, ":--", option.name,
                      "') words='", absl::StrJoin(option.choices, " "),
                      "' ;;\n");
    }
    absl::StrAppend(&words, "      '", command.path, "') words='",
                    WordsAfter(command, commands.front()), "' ;;\n");
  }
  const std::string any_value_option = absl::StrJoin(value_options, "|");
  return absl::StrCat(
      "# bash completion for faultlinectl: "
      "source <(faultlinectl completion bash)\n"
      "_faultlinectl() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]}\n"
      "  local previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
      "  local command= words= i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case \"$command:${COMP_WORDS[i]}\" in\n"
      "      *:",
      absl::StrReplaceAll(any_value_option, {{"|", "|*:"}}), ") ((i++)) ;;\n",
      steps,
      "    esac\n"
      "  done\n"
      "  case \"$command:$previous\" in\n",
      values, "    *) case $previous in ", any_value_option,
      ") COMPREPLY=(); return ;; esac\n"
      "    case $command in\n",
      words,
      "    esac ;;\n"
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "}\n"
      "complete -o default -F _faultlinectl faultlinectl\n");
}

std::string ZshCompletion(const CLI::App& app) {
  const std::vector<CommandSpec> commands = Commands(app);
  std::string script =
      "#compdef faultlinectl\n"
      "# zsh completion for faultlinectl: "
      "source <(faultlinectl completion zsh)\n";
  for (const CommandSpec& command : commands) {
    AppendZshFunction(
        &script,
        absl::StrCat("_faultlinectl", command.path.empty() ? "" : "_",
                     absl::StrReplaceAll(command.path, {{" ", "_"}})),
        command, commands.front());
  }
  // Both ways of use: sourced, and as a file in fpath.
  return absl::StrCat(script,
                      "if [[ $funcstack[1] == _faultlinectl ]]; then\n"
                      "  _faultlinectl \"$@\"\n"
                      "else\n"
                      "  compdef _faultlinectl faultlinectl\n"
                      "fi\n");
}

std::string FishCompletion(const CLI::App& app) {
  std::string script =
      "# fish completion for faultlinectl: "
      "faultlinectl completion fish | source\n"
      "complete -c faultlinectl -f\n";
  for (const CommandSpec& command : Commands(app)) {
    std::string condition;
    if (!command.path.empty()) {
      condition = absl::StrCat(
          " -n '", absl::StrJoin(absl::StrSplit(command.path, ' '), "; and ",
                                 [](std::string* out, absl::string_view word) {
                                   absl::StrAppend(
                                       out, "__fish_seen_subcommand_from ",
                                       word);
                                 }));
    }
    // Only until one of the children is there.
    std::vector<std::string> names;
    for (const auto& child : command.children) names.push_back(child.first);
    const std::string until = absl::StrCat(
        condition.empty() ? " -n '" : absl::StrCat(condition, "; and "),
        "not __fish_seen_subcommand_from ", absl::StrJoin(names, " "), "'");
    for (const auto& [name, description] : command.children) {
      absl::StrAppend(&script, "complete -c faultlinectl", until, " -a ", name,
                      " -d '", Quoted(description), "'\n");
    }
    if (!condition.empty()) condition += "'";
    const auto append = [&](const OptionSpec& option, absl::string_view flag) {
      absl::StrAppend(&script, "complete -c faultlinectl", condition, flag);
      if (!option.choices.empty()) {
        absl::StrAppend(&script, " -a '", absl::StrJoin(option.choices, " "),
                        "'");
      }
      absl::StrAppend(&script, " -d '", Quoted(option.description), "'\n");
    };
    for (const OptionSpec& option : command.options) {
      append(option, absl::StrCat(" -l ", option.name,
                                  option.takes_file    ? " -r -F"
                                  : option.takes_value ? " -x"
                                                       : ""));
    }
    for (const OptionSpec& positional : command.positionals) {
      if (positional.takes_file) {
        append(positional, " -F");
      } else if (!positional.choices.empty()) {
        append(positional, "");
      }
    }
  }
  return script;
}

}  // namespace faultline::cli
