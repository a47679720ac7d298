// faultlined: the Faultline server.

#include <glog/logging.h>
#include <pthread.h>

#include <csignal>
#include <fstream>
#include <iostream>
#include <memory>

#include "lib/base/clock.h"
#include "lib/base/thread_priority.h"
#include "lib/space/blas.h"
#include "server/app.h"
#include "server/server_options.h"

namespace faultline::server {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "faultlined: " << status.message() << "\n";
  return 1;
}

// Every later thread inherits the mask, so that only sigwait sees the signals.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

int Run(int argc, char** argv) {
  const auto options = ParseServerOptions(argc, argv);
  if (!options.ok()) return Fail(options.status());
  if (!options->has_value()) return 0;
  const ServerOptions& wanted = **options;
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = wanted.min_log_level;
  FLAGS_v = wanted.verbosity;
  google::InitGoogleLogging(argv[0]);

  base::SetThreadPriority(base::ThreadPriority::kPrompt);
  const sigset_t signals = BlockStopSignals();
  auto app = App::Create(wanted.config, base::Clock::System(),
                         wanted.accept_data_loss);
  if (!app.ok()) return Fail(app.status());
  if (absl::Status status = (*app)->Start(); !status.ok()) return Fail(status);
  if (!wanted.port_file.empty()) {
    std::ofstream file(wanted.port_file);
    file << (*app)->port() << std::endl;
    if (!file) LOG(ERROR) << "cannot write --port_file " << wanted.port_file;
  }
  std::cout << "faultlined listening on " << (*app)->address() << std::endl;

  int signal = 0;
  sigwait(&signals, &signal);
  LOG(INFO) << "got signal " << signal;
  (*app)->Stop();
  return 0;
}

}  // namespace
}  // namespace faultline::server

int main(int argc, char** argv) {
  faultline::space::ChooseBlasKernels(argv);
  return faultline::server::Run(argc, argv);
}
