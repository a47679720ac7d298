#include "client/cli/completion.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/cli.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace faultline::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Of this run of the tests.
const std::string& Directory() {
  static const testing::TempDir directory;
  return directory.path();
}

// Writes the script of a shell to a file; returns the path.
std::string ScriptFile(const std::string& shell) {
  std::ostringstream out;
  EXPECT_EQ(RunCli({"completion", shell}, {.out = &out,
                                           .err = &out,
                                           .out_terminal = {},
                                           .err_terminal = {},
                                           .clock = nullptr,
                                           .user = ""}),
            0);
  std::string path = absl::StrCat(Directory(), "/faultlinectl.", shell);
  std::ofstream(path) << out.str();
  return path;
}

std::string Output(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  char buffer[256];
  while (fgets(buffer, sizeof(buffer), pipe) != nullptr) output += buffer;
  pclose(pipe);
  return output;
}

bool IsInstalled(const std::string& shell) {
  return !Output(absl::StrCat("command -v ", shell)).empty();
}

// What bash offers for the last word of `line`.
std::string BashOffers(const std::string& line) {
  return Output(absl::StrCat(
      "bash -c 'source ", ScriptFile("bash"), "; COMP_WORDS=(", line,
      "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _faultlinectl; "
      "echo \" ${COMPREPLY[*]} \"'"));
}

TEST(CompletionTest, BashOffersCommandsOptionsAndChoices) {
  EXPECT_THAT(BashOffers("faultlinectl cl"),
              AllOf(HasSubstr(" clusters "), HasSubstr(" cluster "),
                    Not(HasSubstr("status"))));
  EXPECT_EQ(BashOffers("faultlinectl policy v"), " versions \n");
  EXPECT_EQ(BashOffers("faultlinectl clusters --status st"), " stable \n");
  EXPECT_EQ(BashOffers("faultlinectl clusters --j"), " --json \n");
  EXPECT_EQ(BashOffers("faultlinectl completion z"), " zsh \n");
}

TEST(CompletionTest, BashIsNotMisledByValuesOfOptions) {
  EXPECT_EQ(BashOffers("faultlinectl --project clusters --serv"),
            " --server \n");
  EXPECT_EQ(BashOffers("faultlinectl --project policy polic"), " policy \n");
  EXPECT_EQ(BashOffers("faultlinectl --project cl"), "  \n");
}

TEST(CompletionTest, ZshLoadsTheScript) {
  if (!IsInstalled("zsh")) GTEST_SKIP() << "zsh is not installed";
  EXPECT_EQ(Output(absl::StrCat(
                "zsh -fc 'autoload -U compinit; compinit -D -u; source ",
                ScriptFile("zsh"),
                "; whence -w _faultlinectl_policy; "
                "print $_comps[faultlinectl]' 2>&1")),
            "_faultlinectl_policy: function\n_faultlinectl\n");
}

TEST(CompletionTest, FishOffersCommandsAndChoices) {
  if (!IsInstalled("fish")) GTEST_SKIP() << "fish is not installed";
  const std::string script = ScriptFile("fish");
  const auto offers = [&script](const std::string& line) {
    return Output(absl::StrCat("HOME=", Directory(),
                               " fish --no-config -c 'source ", script,
                               "; complete -C \"", line, "\"'"));
  };
  EXPECT_THAT(offers("faultlinectl cl"),
              AllOf(HasSubstr("clusters\t"), Not(HasSubstr("status\t"))));
  EXPECT_THAT(offers("faultlinectl policy v"), HasSubstr("versions\t"));
  EXPECT_THAT(offers("faultlinectl clusters --status st"),
              HasSubstr("stable\t"));
}

}  // namespace
}  // namespace faultline::cli
