// Loads the real server and, in the same run, a bare server that does nothing
// but what any durable service must: gRPC plus a synced RocksDB append (or a
// plain unary answer). Prints rates, ratios and memory.
//   server_bench --faultlined PATH [--seconds N]

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "lib/base/clock.h"
#include "lib/store/rocks_store.h"
#include "tests/bench/bare_server.h"
#include "tests/bench/child_process.h"
#include "tests/bench/synthetic_traces.h"
#include "tests/bench/trace_load.h"

namespace faultline::bench {
namespace {

constexpr int kStreams = 8;

double Seconds(absl::Duration duration) {
  return absl::ToDoubleSeconds(duration);
}

double IngestRate(int port, absl::Duration length) {
  LoadOptions options;
  options.length = length;
  return RunLoad(port, options).rate();
}

double PollRate(int port, absl::Duration length) {
  const base::Clock& clock = *base::Clock::System();
  const absl::Duration begin = clock.SteadyNow();
  std::atomic<uint64_t> answered{0};
  std::vector<std::thread> threads;
  threads.reserve(kStreams);
  for (int c = 0; c < kStreams; ++c) {
    threads.emplace_back([&, c] {
      const auto stub = v1::PolicyService::NewStub(Connect(port, c));
      v1::GetPolicyRequest request;
      request.set_parent("projects/bench");
      request.set_router_id(absl::StrCat("router-", c));
      v1::GetPolicyResponse response;
      uint64_t count = 0;
      while (clock.SteadyNow() < begin + length) {
        grpc::ClientContext context;
        if (!stub->GetPolicy(&context, request, &response).ok()) break;
        ++count;
      }
      answered += count;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(answered) / Seconds(clock.SteadyNow() - begin);
}

v1::GetStatusResponse::Project ProjectStatus(int port, uint64_t* resident) {
  const auto stub = v1::AdminService::NewStub(Connect(port, 0));
  grpc::ClientContext context;
  v1::GetStatusResponse response;
  const grpc::Status status =
      stub->GetStatus(&context, v1::GetStatusRequest(), &response);
  if (!status.ok()) {
    std::fprintf(stderr, "status: %s\n", status.error_message().c_str());
  }
  *resident = response.resident_bytes();
  return response.projects_size() > 0 ? response.projects(0)
                                      : v1::GetStatusResponse::Project();
}

void Print(const char* what, double ours, double bare, const char* unit) {
  std::printf("%-22s %10.0f %s   bare %10.0f %s   ratio %.2f\n", what, ours,
              unit, bare, unit, bare > 0 ? ours / bare : 0);
}

int Main(int argc, char** argv) {
  CLI::App cli("Loads faultlined beside a bare server");
  std::string faultlined;
  int seconds = 10;
  cli.add_option("--faultlined", faultlined, "Path of the server's binary")
      ->required();
  cli.add_option("--seconds", seconds, "Length of each measurement");
  CLI11_PARSE(cli, argc, argv);
  const absl::Duration length = absl::Seconds(seconds);

  const std::string directory = MakeTemporaryDirectory();
  // Ticks would share the cores with what is measured.
  const std::string config_path = directory + "/config.textproto";
  std::ofstream(config_path)
      << "default_project { tick_interval { seconds: 0 } }\n";
  double bare_ingest = 0;
  double bare_polls = 0;
  {
    ChildProcess bare = ChildProcess::Fork(
        [&](int ready) { RunBareServer(directory + "/bare", ready); });
    bare_ingest = IngestRate(bare.port(), length);
    bare_polls = PollRate(bare.port(), length);
  }
  ChildProcess server =
      ChildProcess::Exec({faultlined, "--listen=127.0.0.1:0",
                          absl::StrCat("--data_dir=", directory, "/faultline"),
                          "--config", config_path, "--log_level=warning"});
  uint64_t resident_before = 0;
  ProjectStatus(server.port(), &resident_before);
  const double ingest = IngestRate(server.port(), length);
  uint64_t resident_loaded = 0;
  auto project = ProjectStatus(server.port(), &resident_loaded);
  const uint64_t lag = project.durable_sequence() - project.indexed_sequence();
  const absl::Duration begin = base::Clock::System()->SteadyNow();
  while (project.indexed_sequence() < project.durable_sequence()) {
    project = ProjectStatus(server.port(), &resident_loaded);
  }
  const double catch_up = Seconds(base::Clock::System()->SteadyNow() - begin);
  const double polls = PollRate(server.port(), length);

  std::printf(
      "8 streams, batches of 64, traces of %lu bytes, %d s each\n",
      static_cast<unsigned long>(MakeSyntheticTrace(0, 0).ByteSizeLong()),
      seconds);
  Print("durable ingest", ingest, bare_ingest, "traces/s");
  Print("policy polls", polls, bare_polls, "polls/s");
  std::printf("index lag at the end   %10lu traces, caught up in %.1f s\n",
              static_cast<unsigned long>(lag), catch_up);
  std::printf(
      "memory                 %10.0f bytes a trace (%lu traces, %.0f MiB "
      "above the start)\n",
      static_cast<double>(resident_loaded - resident_before) /
          static_cast<double>(std::max<uint64_t>(1, project.traces())),
      static_cast<unsigned long>(project.traces()),
      static_cast<double>(resident_loaded - resident_before) / (1 << 20));
  RemoveDirectory(directory);
  return project.traces() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) { return faultline::bench::Main(argc, argv); }
