// Clients that a server must bear, and a well-behaved one beside them.
//   ingest_clients flood --server ADDRESS [--seconds N]
//   ingest_clients quiet --server ADDRESS [--seconds N]
//   ingest_clients readers --server ADDRESS --pid N [--seconds N]
// `quiet` prints its p99 last, in milliseconds, and fails where a call failed;
// `readers` ends with 0 only where its claim holds.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "lib/base/clock.h"
#include "tests/bench/large_messages.h"
#include "tests/bench/pause.h"
#include "tests/bench/synthetic_traces.h"

namespace faultline::bench {
namespace {

constexpr int kQuietBatch = 16;
constexpr absl::Duration kQuietGap = absl::Milliseconds(20);
constexpr int kFloodStreams = 8;
constexpr int kFloodBatch = 64;

const base::Clock& SteadyClock() { return *base::Clock::System(); }

std::shared_ptr<grpc::Channel> Connect(const std::string& server, int which) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("which", which);  // a connection of its own
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(),
                                   arguments);
}

// A runtime that sends a small batch now and then and waits for each answer.
struct Quiet {
  std::vector<double> milliseconds;  // of each answer
  int failures = 0;

  double Percentile(double share) {
    if (milliseconds.empty()) return 0;
    std::sort(milliseconds.begin(), milliseconds.end());
    return milliseconds[static_cast<size_t>(
        share * static_cast<double>(milliseconds.size() - 1))];
  }
};

Quiet RunQuiet(const std::string& server, const std::string& name,
               const std::function<bool()>& goes_on) {
  Quiet quiet;
  const auto stub = v1::TraceIngestService::NewStub(Connect(server, 1));
  v1::IngestTracesRequest request;
  request.set_parent("projects/quiet");
  for (int i = 0; i < kQuietBatch; ++i) {
    *request.add_traces() = MakeSyntheticTrace(i, 1);
  }
  v1::IngestTracesResponse response;
  uint64_t sent = 0;
  while (goes_on()) {
    for (v1::Trace& trace : *request.mutable_traces()) {
      trace.set_trace_id(absl::StrCat(name, getpid(), "-", sent++));
    }
    grpc::ClientContext context;
    const absl::Duration begin = SteadyClock().SteadyNow();
    const grpc::Status status =
        stub->IngestTraces(&context, request, &response);
    if (!status.ok()) {
      ++quiet.failures;
      std::fprintf(stderr, "quiet: %s\n", status.error_message().c_str());
    }
    quiet.milliseconds.push_back(
        absl::ToDoubleMilliseconds(SteadyClock().SteadyNow() - begin));
    Pause(kQuietGap);
  }
  return quiet;
}

Quiet RunQuietFor(const std::string& server, const std::string& name,
                  absl::Duration length) {
  const absl::Duration end = SteadyClock().SteadyNow() + length;
  return RunQuiet(server, name,
                  [end] { return SteadyClock().SteadyNow() < end; });
}

void Print(const char* what, Quiet quiet) {
  std::printf("%-28s p50 %7.2f ms   p99 %7.2f ms   %zu calls, %d failed\n",
              what, quiet.Percentile(0.5), quiet.Percentile(0.99),
              quiet.milliseconds.size(), quiet.failures);
}

// Writes batches as fast as the server takes them, until told; answers are
// read by another thread. Returns the traces acknowledged.
uint64_t Flood(const std::string& server, int which,
               const std::atomic<bool>& stop) {
  const auto stub =
      v1::TraceIngestService::NewStub(Connect(server, 10 + which));
  grpc::ClientContext context;
  const auto stream = stub->StreamTraces(&context);
  uint64_t settled = 0;
  std::thread reader([&] {
    v1::StreamTracesResponse response;
    while (stream->Read(&response)) settled = response.settled();
  });
  v1::StreamTracesRequest request;
  request.set_parent("projects/flood");
  for (int i = 0; i < kFloodBatch; ++i) {
    *request.add_traces() = MakeSyntheticTrace(i, which);
  }
  uint64_t sent = 0;
  while (!stop) {
    for (v1::Trace& trace : *request.mutable_traces()) {
      trace.set_trace_id(absl::StrCat("f", which, "-", getpid(), "-", sent++));
    }
    if (!stream->Write(request)) break;
  }
  stream->WritesDone();
  reader.join();
  stream->Finish();
  return settled;
}

int RunFlood(const std::string& server, absl::Duration length) {
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> flooded = 0;
  std::vector<std::thread> flood;
  flood.reserve(kFloodStreams);
  for (int i = 0; i < kFloodStreams; ++i) {
    flood.emplace_back([&, i] { flooded += Flood(server, i, stop); });
  }
  Pause(length);
  stop = true;
  for (std::thread& thread : flood) thread.join();
  std::printf("flood: %.0f traces/s acknowledged on %d streams\n",
              static_cast<double>(flooded) / absl::ToDoubleSeconds(length),
              kFloodStreams);
  return 0;
}

int RunQuietAlone(const std::string& server, absl::Duration length) {
  RunQuietFor(server, "warm", absl::Seconds(1));
  Quiet quiet = RunQuietFor(server, "quiet", length);
  Print("quiet project", quiet);
  std::printf("%.3f\n", quiet.Percentile(0.99));
  return quiet.failures;
}

uint64_t ResidentBytes(const std::string& server) {
  const auto stub = v1::AdminService::NewStub(Connect(server, 0));
  grpc::ClientContext context;
  v1::GetStatusResponse response;
  stub->GetStatus(&context, v1::GetStatusRequest(), &response);
  return response.resident_bytes();
}

// Streams batches of refused traces, whose answers are long, and reads one
// answer in each `gap`; never, where it is infinite.
class BadReader {
 public:
  BadReader(const std::string& server, int which, absl::Duration gap)
      : stub_(v1::TraceIngestService::NewStub(Connect(server, 100 + which))),
        stream_(stub_->StreamTraces(&context_)),
        writer_([this] { Write(); }),
        reader_([this, gap] { Read(gap); }) {}
  ~BadReader() {
    stop_ = true;
    context_.TryCancel();
    writer_.join();
    reader_.join();
    stream_->Finish();
  }

 private:
  void Write() {
    v1::StreamTracesRequest request;
    request.set_parent("projects/readers");
    for (int i = 0; i < kFloodBatch; ++i) {
      *request.add_traces() = MakeSyntheticTrace(i, 1);
      request.mutable_traces()->rbegin()->clear_start_time();
    }
    while (!stop_ && stream_->Write(request)) {
    }
  }
  void Read(absl::Duration gap) {
    if (gap == absl::InfiniteDuration()) return;
    v1::StreamTracesResponse response;
    while (!stop_ && stream_->Read(&response)) Pause(gap);
  }

  const std::unique_ptr<v1::TraceIngestService::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::StreamTracesRequest,
                                                 v1::StreamTracesResponse>>
      stream_;
  std::atomic<bool> stop_ = false;
  std::thread writer_;
  std::thread reader_;
};

// Streams that have begun and are silent.
class IdleStreams {
 public:
  IdleStreams(const std::string& server, int count) {
    for (int i = 0; i < count; ++i) {
      if (i % kOnOneConnection == 0) {
        stubs_.push_back(
            v1::TraceIngestService::NewStub(Connect(server, 1000 + i)));
      }
      contexts_.push_back(std::make_unique<grpc::ClientContext>());
      streams_.push_back(stubs_.back()->StreamTraces(contexts_.back().get()));
      v1::StreamTracesRequest hello;
      hello.set_parent("projects/idle");
      v1::StreamTracesResponse greeting;
      if (streams_.back()->Write(hello) && streams_.back()->Read(&greeting)) {
        ++open_;
      }
    }
  }
  ~IdleStreams() {
    for (const auto& context : contexts_) context->TryCancel();
    for (const auto& stream : streams_) stream->Finish();
  }

  int open() const { return open_; }

 private:
  static constexpr int kOnOneConnection = 250;

  int open_ = 0;
  std::vector<std::unique_ptr<v1::TraceIngestService::Stub>> stubs_;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts_;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<
      v1::StreamTracesRequest, v1::StreamTracesResponse>>>
      streams_;
};

// The most memory that a process of this machine has had at once.
uint64_t PeakBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  uint64_t kibibytes = 0;
  for (std::string word; file >> word;) {
    if (word == "VmHWM:") file >> kibibytes;
  }
  return kibibytes << 10;
}

int RunReaders(const std::string& server, pid_t pid, absl::Duration length) {
  constexpr int kIdle = 1000;
  constexpr int kBad = 8;
  constexpr int kLarge = 8;
  constexpr int kFlood = 64;
  constexpr double kMostMiB = 3072;
  constexpr double kMostMs = 1000;
  RunQuietFor(server, "warm", absl::Seconds(1));
  const uint64_t before = ResidentBytes(server);
  const auto growth = [&] {
    return static_cast<double>(PeakBytes(pid) - before) / (1 << 20);
  };
  std::atomic<bool> stop = false;
  Quiet quiet;
  std::thread well_behaved(
      [&] { quiet = RunQuiet(server, "served", [&] { return !stop; }); });
  int open = 0;
  bool large = false;
  {
    const IdleStreams idle(server, kIdle);
    open = idle.open();
    std::vector<std::unique_ptr<BadReader>> bad;
    bad.reserve(kBad);
    for (int i = 0; i < kBad; ++i) {
      bad.push_back(std::make_unique<BadReader>(
          server, i,
          i % 2 == 0 ? absl::InfiniteDuration() : absl::Milliseconds(200)));
    }
    Pause(length);
    std::printf(
        "idle streams open: %d of %d; streams that never read: %d, that read "
        "slowly: %d\n  most memory above the start: %.0f MiB\n",
        open, kIdle, kBad / 2, kBad - kBad / 2, growth());
    large = CheckLimit(server);
    std::printf("  most memory above the start: %.0f MiB\n", growth());
    large = CheckBombs(server) && large;
    std::printf("  most memory above the start: %.0f MiB\n", growth());
    large = CheckConcurrent(server, kLarge) && large;
  }
  stop = true;
  well_behaved.join();
  Print("well-behaved client", quiet);
  std::printf("  most memory above the start: %.0f MiB\n", growth());
  large = CheckFlood(server, kFlood) && large;
  const double most = growth();
  std::printf("most memory above the start: %.0f MiB of at most %.0f\n", most,
              kMostMiB);
  return open == kIdle && large && quiet.failures == 0 &&
                 quiet.Percentile(0.99) < kMostMs && most <= kMostMiB
             ? 0
             : 1;
}

int Main(int argc, char** argv) {
  CLI::App cli("Clients that a server must bear");
  std::string server;
  int seconds = 10;
  cli.add_option("--server", server, "HOST:PORT")->required();
  cli.add_option("--seconds", seconds, "Length of each measurement");
  cli.require_subcommand(1);
  CLI::App* flood = cli.add_subcommand("flood", "As fast as it can");
  flood->fallthrough();
  CLI::App* quiet = cli.add_subcommand("quiet", "A small batch now and then");
  quiet->fallthrough();
  CLI::App* readers = cli.add_subcommand(
      "readers", "Slow, absent and silent readers, and large messages");
  readers->fallthrough();
  pid_t pid = 0;
  readers->add_option("--pid", pid, "The server, on this machine")->required();
  CLI11_PARSE(cli, argc, argv);
  const absl::Duration length = absl::Seconds(seconds);
  if (flood->parsed()) return RunFlood(server, length);
  if (quiet->parsed()) return RunQuietAlone(server, length);
  return RunReaders(server, pid, length);
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) { return faultline::bench::Main(argc, argv); }
