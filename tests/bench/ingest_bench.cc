// Throughput of the fast path, whole: validated, durable, embedded in both
// views and indexed, beside a bare server (gRPC and a synced RocksDB append) in
// the same run; then the acknowledgement at half of that load.
//   ingest_bench throughput --faultlined PATH [--seconds N]
// The same for spans of OpenTelemetry, exported by unary calls:
//   ingest_bench spans --faultlined PATH [--seconds N]
// Or only loads a server:
//   ingest_bench load --port N --traces N
// Or any server of OTLP with spans; --pid: a server of this machine whose
// processor time is told, --ids: where the acknowledged runs are written:
//   ingest_bench export --server ADDRESS [--seconds N] [--pid N] [--ids FILE]
// And counts spans of such runs that faultlined does not have:
//   ingest_bench missing --server ADDRESS --ids FILE

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "lib/base/clock.h"
#include "lib/store/rocks_store.h"
#include "tests/bench/bare_server.h"
#include "tests/bench/child_process.h"
#include "tests/bench/otlp_load.h"
#include "tests/bench/trace_load.h"

namespace faultline::bench {
namespace {

class Admin {
 public:
  explicit Admin(int port)
      : stub_(v1::AdminService::NewStub(Connect(port, -1))) {}

  v1::GetStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetStatusResponse response;
    const grpc::Status status =
        stub_->GetStatus(&context, v1::GetStatusRequest(), &response);
    if (!status.ok()) {
      std::fprintf(stderr, "status: %s\n", status.error_message().c_str());
    }
    return response;
  }

  // Times that the first project was slowed because the index was behind.
  uint64_t Held() {
    const v1::GetStatusResponse status = Status();
    return status.projects_size() == 0 ? 0 : status.projects(0).held();
  }

  // Log records that the index of the first project is behind.
  uint64_t Lag() {
    const v1::GetStatusResponse status = Status();
    if (status.projects_size() == 0) return 0;
    return status.projects(0).durable_sequence() -
           status.projects(0).indexed_sequence();
  }

 private:
  const std::unique_ptr<v1::AdminService::Stub> stub_;
};

// Looks at the lag of the index twice a second while it lives.
class LagWatch {
 public:
  explicit LagWatch(int port)
      : thread_([this, port] {
          Admin admin(port);
          absl::MutexLock lock(&mutex_);
          while (!base::Clock::System()->AwaitWithDeadline(
              &mutex_, absl::Condition(&done_),
              base::Clock::System()->SteadyNow() + absl::Milliseconds(500))) {
            most_ = std::max(most_, admin.Lag());
          }
        }) {}

  uint64_t Stop() {
    {
      absl::MutexLock lock(&mutex_);
      done_ = true;
    }
    thread_.join();
    return most_;
  }

 private:
  absl::Mutex mutex_;
  bool done_ = false;
  uint64_t most_ = 0;
  std::thread thread_;
};

// User and system time that a process has taken.
double CpuSeconds(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double Milliseconds(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
}

// Looks a hundred times a second.
void WaitUntil(const std::function<bool()>& reached) {
  const base::Clock& clock = *base::Clock::System();
  absl::Mutex mutex;
  absl::MutexLock lock(&mutex);
  const bool never = false;
  while (!reached()) {
    clock.AwaitWithDeadline(&mutex, absl::Condition(&never),
                            clock.SteadyNow() + absl::Milliseconds(10));
  }
}

int Throughput(const std::string& faultlined, int seconds,
               const std::string& directory) {
  // Ticks would share the cores with what is measured.
  const std::string config = directory + "/config.textproto";
  std::ofstream(config) << "default_project { tick_interval { seconds: 0 } }\n";
  LoadOptions load;
  load.length = absl::Seconds(seconds);

  LoadResult bare;
  {
    const ChildProcess server = ChildProcess::Fork(
        [&](int ready) { RunBareServer(directory + "/bare", ready); });
    LoadOptions third = load;
    third.length /= 3;
    bare = RunLoad(server.port(), third);
  }
  RemoveDirectory(directory + "/bare");
  std::printf("bare server            %8.0f traces/s\n", bare.rate());

  const ChildProcess server =
      ChildProcess::Exec({faultlined, "--listen=127.0.0.1:0",
                          absl::StrCat("--data_dir=", directory, "/faultline"),
                          "--config", config, "--log_level=warning"});
  Admin admin(server.port());
  const double own_cpu = CpuSeconds(getpid());
  const double server_cpu = CpuSeconds(server.pid());
  LagWatch watch(server.port());
  const LoadResult full = RunLoad(server.port(), load);
  const uint64_t lag = admin.Lag();
  const uint64_t most = watch.Stop();
  const uint64_t held = admin.Held();
  const double micros = 1e6 / static_cast<double>(full.acknowledged);
  std::printf(
      "faultlined             %8.0f traces/s acknowledged in %.0f s, %.2f of "
      "the bare server\n"
      "  CPU a trace          %8.1f us of the server, %.1f us of the load\n"
      "  index                %8lu traces behind at the end, %lu at most; "
      "streams held %lu times\n",
      full.rate(), full.seconds, full.rate() / bare.rate(),
      (CpuSeconds(server.pid()) - server_cpu) * micros,
      (CpuSeconds(getpid()) - own_cpu) * micros,
      static_cast<unsigned long>(lag), static_cast<unsigned long>(most),
      static_cast<unsigned long>(held));
  const absl::Duration begin = base::Clock::System()->SteadyNow();
  WaitUntil([&admin] { return admin.Lag() == 0; });
  const double catch_up =
      absl::ToDoubleSeconds(base::Clock::System()->SteadyNow() - begin);
  const double indexed =
      static_cast<double>(full.acknowledged) / (full.seconds + catch_up);
  std::printf("  all of it indexed    %8.0f traces/s, %.1f s after the load\n",
              indexed, catch_up);

  load.rate = full.rate() / 2;
  load.length /= 3;
  const LoadResult half = RunLoad(server.port(), load);
  std::printf(
      "half of that load      %8.0f traces/s: p50 %.1f ms, p99 %.1f ms\n",
      half.rate(), Milliseconds(half.Latency(0.5)),
      Milliseconds(half.Latency(0.99)));
  // For scripts: acknowledged, indexed, ratio, and p50 and p99 at half load.
  std::printf("figures %.0f %.0f %.2f %.1f %.1f\n", full.rate(), indexed,
              full.rate() / bare.rate(), Milliseconds(half.Latency(0.5)),
              Milliseconds(half.Latency(0.99)));
  return full.acknowledged > 0 ? 0 : 1;
}

std::string LocalAddress(int port) { return absl::StrCat("127.0.0.1:", port); }

int Spans(const std::string& faultlined, int seconds,
          const std::string& directory) {
  const std::string config = directory + "/config.textproto";
  std::ofstream(config) << "default_project { tick_interval { seconds: 0 } }\n";
  OtlpLoad bare;
  {
    const ChildProcess server = ChildProcess::Fork(
        [&](int ready) { RunBareServer(directory + "/bare", ready); });
    bare = ExportSpans(LocalAddress(server.port()), absl::Seconds(seconds) / 3);
  }
  RemoveDirectory(directory + "/bare");
  std::printf("bare server            %8.0f spans/s of %lu bytes\n",
              bare.spans_per_second,
              static_cast<unsigned long>(bare.span_bytes));

  const ChildProcess server =
      ChildProcess::Exec({faultlined, "--listen=127.0.0.1:0",
                          absl::StrCat("--data_dir=", directory, "/faultline"),
                          "--config", config, "--log_level=warning"});
  Admin admin(server.port());
  const double own_cpu = CpuSeconds(getpid());
  const double server_cpu = CpuSeconds(server.pid());
  const OtlpLoad load =
      ExportSpans(LocalAddress(server.port()), absl::Seconds(seconds));
  const uint64_t runs = load.acknowledged / OtlpLoad::kSpansOfRun;
  const auto assembled = [&admin] {
    const v1::GetStatusResponse status = admin.Status();
    return status.projects_size() == 0 ? 0 : status.projects(0).traces();
  };
  const double micros = 1e6 / static_cast<double>(load.acknowledged);
  std::printf(
      "faultlined             %8.0f spans/s acknowledged in %d s, %.2f of the "
      "bare server; %lu rejected, %lu exports refused\n"
      "  CPU a span           %8.1f us of the server, %.1f us of the load\n"
      "  runs                 %8lu, of which %lu are whole at the end\n",
      load.spans_per_second, seconds,
      load.spans_per_second / bare.spans_per_second,
      static_cast<unsigned long>(load.rejected),
      static_cast<unsigned long>(load.failures),
      (CpuSeconds(server.pid()) - server_cpu) * micros,
      (CpuSeconds(getpid()) - own_cpu) * micros,
      static_cast<unsigned long>(runs),
      static_cast<unsigned long>(assembled()));
  const absl::Duration begin = base::Clock::System()->SteadyNow();
  WaitUntil([&] { return assembled() >= runs && admin.Lag() == 0; });
  std::printf(
      "  all whole, indexed   %8.1f s after the load\n",
      absl::ToDoubleSeconds(base::Clock::System()->SteadyNow() - begin));
  // For scripts: acknowledged, ratio.
  std::printf("figures %.0f %.2f\n", load.spans_per_second,
              load.spans_per_second / bare.spans_per_second);
  return load.rejected == 0 && load.acknowledged > 0 ? 0 : 1;
}

// Waits until the process has been idle for longer than the server waits for
// late spans, so that all that it does with the spans is counted.
void WaitUntilIdle(pid_t pid) {
  constexpr absl::Duration kIdle = absl::Seconds(7);
  constexpr double kIdleShare = 0.03;
  const base::Clock& clock = *base::Clock::System();
  absl::Duration since = clock.SteadyNow();
  double cpu = CpuSeconds(pid);
  WaitUntil([&] {
    const absl::Duration now = clock.SteadyNow();
    const double used = CpuSeconds(pid) - cpu;
    if (used > kIdleShare * absl::ToDoubleSeconds(kIdle)) {
      since = now;
      cpu += used;
    }
    return now - since >= kIdle;
  });
}

int Export(const std::string& server, int seconds, pid_t pid,
           const std::string& ids) {
  const double cpu = pid == 0 ? 0 : CpuSeconds(pid);
  const OtlpLoad load = ExportSpans(server, absl::Seconds(seconds));
  std::ofstream out(ids);
  for (const std::string& run : load.runs) out << run << '\n';
  if (pid != 0) WaitUntilIdle(pid);
  const double spent = pid == 0 ? 0 : CpuSeconds(pid) - cpu;
  std::printf("%.0f spans/s acknowledged, %lu rejected, %lu exports failed\n",
              load.spans_per_second, static_cast<unsigned long>(load.rejected),
              static_cast<unsigned long>(load.failures));
  // For scripts: a second, microseconds a span, spans.
  std::printf("figures %.0f %.1f %lu\n", load.spans_per_second,
              1e6 * spent / static_cast<double>(load.acknowledged),
              static_cast<unsigned long>(load.acknowledged));
  return load.rejected == 0 && load.acknowledged > 0 ? 0 : 1;
}

int Missing(const std::string& server, const std::string& ids) {
  std::ifstream in(ids);
  std::vector<std::string> runs;
  for (std::string run; in >> run;) runs.push_back(run);
  std::printf("%lu\n",
              static_cast<unsigned long>(CountMissingSpans(server, runs)));
  return runs.empty() ? 1 : 0;
}

int Main(int argc, char** argv) {
  CLI::App cli("Loads faultlined with traces");
  cli.require_subcommand(1);
  std::string faultlined;
  int seconds = 60;
  CLI::App* throughput = cli.add_subcommand("throughput");
  throughput->add_option("--faultlined", faultlined)->required();
  throughput->add_option("--seconds", seconds)->check(CLI::Range(3, 3600));
  CLI::App* spans = cli.add_subcommand("spans");
  spans->add_option("--faultlined", faultlined)->required();
  spans->add_option("--seconds", seconds)->check(CLI::Range(3, 3600));
  int port = 0;
  LoadOptions options;
  CLI::App* load = cli.add_subcommand("load");
  load->add_option("--port", port)->required();
  load->add_option("--traces", options.traces)->required();
  std::string server;
  std::string ids;
  pid_t pid = 0;
  CLI::App* exported = cli.add_subcommand("export");
  exported->add_option("--server", server)->required();
  exported->add_option("--seconds", seconds)->check(CLI::Range(1, 3600));
  exported->add_option("--pid", pid);
  exported->add_option("--ids", ids);
  CLI::App* missing = cli.add_subcommand("missing");
  missing->add_option("--server", server)->required();
  missing->add_option("--ids", ids)->required();
  CLI11_PARSE(cli, argc, argv);

  if (*exported) return Export(server, seconds, pid, ids);
  if (*missing) return Missing(server, ids);

  if (*throughput || *spans) {
    const std::string directory = MakeTemporaryDirectory();
    const int code = *spans ? Spans(faultlined, seconds, directory)
                            : Throughput(faultlined, seconds, directory);
    RemoveDirectory(directory);
    return code;
  }
  const LoadResult result = RunLoad(port, options);
  std::printf("%lu traces, %.0f a second, the first is %s\n",
              static_cast<unsigned long>(result.acknowledged), result.rate(),
              result.first_id.c_str());
  return result.acknowledged >= options.traces ? 0 : 1;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) { return faultline::bench::Main(argc, argv); }
