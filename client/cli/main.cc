#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/cli/cli.h"
#include "client/cli/terminal.h"
#include "lib/base/clock.h"

int main(int argc, char** argv) {
  // Tables count characters, not bytes.
  if (std::setlocale(LC_CTYPE, "") == nullptr ||
      std::string(std::setlocale(LC_CTYPE, nullptr)) == "C") {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  const char* user = std::getenv("USER");
  return faultline::cli::RunCli(
      std::vector<std::string>(argv + 1, argv + argc),
      {.out = &std::cout,
       .err = &std::cerr,
       .out_terminal = faultline::cli::DetectTerminal(STDOUT_FILENO),
       .err_terminal = faultline::cli::DetectTerminal(STDERR_FILENO),
       .clock = faultline::base::Clock::System(),
       .user = user == nullptr ? "" : user});
}
