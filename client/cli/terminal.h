#ifndef FAULTLINE_CLIENT_CLI_TERMINAL_H_
#define FAULTLINE_CLIENT_CLI_TERMINAL_H_

#include <cstddef>

namespace faultline::cli {

// What output may rely on.
struct Terminal {
  bool interactive = false;  // a person's terminal, not a file or a pipe
  bool color = false;
  size_t width = 80;  // columns, where interactive
};

// The terminal behind a file descriptor. Colour is off where NO_COLOR is set
// (no-color.org) or TERM is `dumb`.
Terminal DetectTerminal(int file_descriptor);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_TERMINAL_H_
