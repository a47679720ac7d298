#ifndef FAULTLINE_TESTS_BENCH_CHILD_PROCESS_H_
#define FAULTLINE_TESTS_BENCH_CHILD_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace faultline::bench {

// A server in a process of its own. Owns the process: the destructor kills it
// and waits. Ends the program where the server does not come up. Not
// thread-safe; start children before any thread.
class ChildProcess {
 public:
  // Runs `serve` in a fork; it must write its port, as text and a new line, to
  // the descriptor that it is given.
  static ChildProcess Fork(const std::function<void(int ready)>& serve);

  // Runs a program that prints `... listening on ADDRESS:PORT` as a line.
  static ChildProcess Exec(const std::vector<std::string>& command);

  // The same, but does not wait until it is up: AwaitPort does.
  static ChildProcess Launch(const std::vector<std::string>& command);

  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // False where the program ends before it is up.
  bool AwaitPort();

  int port() const { return port_; }  // 0: not known yet
  pid_t pid() const { return pid_; }

 private:
  ChildProcess(pid_t pid, int output, int port)
      : pid_(pid), output_(output), port_(port) {}

  const pid_t pid_;
  const int output_;  // what it prints; open, so that it can go on
  int port_;
};

// A new directory under TEST_TMPDIR or TMPDIR or /tmp.
std::string MakeTemporaryDirectory();
void RemoveDirectory(const std::string& path);

}  // namespace faultline::bench

#endif  // FAULTLINE_TESTS_BENCH_CHILD_PROCESS_H_
