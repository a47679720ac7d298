#include "tests/bench/child_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace faultline::bench {
namespace {

// Starts `serve` in a process whose standard output can be read.
struct Started {
  pid_t pid;
  int output;
};
Started Start(const std::function<void(int ready)>& serve) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    serve(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  return {pid, ends[0]};
}

Started StartProgram(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  return Start([&arguments](int ready) {
    dup2(ready, STDOUT_FILENO);
    execv(arguments[0], arguments.data());
    std::perror(arguments[0]);
  });
}

// Reads lines until one ends in a port; 0: none does.
int ReadPort(int from) {
  std::string line;
  char c = 0;
  while (read(from, &c, 1) == 1) {
    if (c != '\n') {
      line.push_back(c);
      continue;
    }
    const size_t digits = line.find_last_not_of("0123456789") + 1;
    int port = 0;
    if (absl::SimpleAtoi(absl::string_view(line).substr(digits), &port) &&
        (digits == 0 || line[digits - 1] == ':')) {
      return port;
    }
    line.clear();
  }
  return 0;
}

int PortOrExit(int from) {
  const int port = ReadPort(from);
  if (port != 0) return port;
  std::fprintf(stderr, "child_process: the server did not come up\n");
  exit(1);
}

}  // namespace

ChildProcess ChildProcess::Fork(const std::function<void(int ready)>& serve) {
  const Started started = Start(serve);
  return {started.pid, started.output, PortOrExit(started.output)};
}

ChildProcess ChildProcess::Exec(const std::vector<std::string>& command) {
  const Started started = StartProgram(command);
  return {started.pid, started.output, PortOrExit(started.output)};
}

ChildProcess ChildProcess::Launch(const std::vector<std::string>& command) {
  const Started started = StartProgram(command);
  return {started.pid, started.output, 0};
}

bool ChildProcess::AwaitPort() {
  port_ = ReadPort(output_);
  return port_ != 0;
}

ChildProcess::~ChildProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  close(output_);
}

std::string MakeTemporaryDirectory() {
  std::string path =
      (std::filesystem::temp_directory_path() / "faultline-bench-XXXXXX")
          .string();
  if (mkdtemp(path.data()) == nullptr) abort();
  return path;
}

void RemoveDirectory(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace faultline::bench
