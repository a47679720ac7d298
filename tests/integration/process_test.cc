// The real binary: its command line, SIGTERM, and kill -9 during a stream.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "lib/base/random.h"
#include "lib/store/rocks_store.h"
#include "lib/trace/trace_log.h"
#include "tests/fakes/fake_clock.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::integration {
namespace {

using ::testing::HasSubstr;

// A run of faultlined; killed with this object.
class Faultlined {
 public:
  explicit Faultlined(const std::vector<std::string>& arguments) {
    int out[2];
    EXPECT_EQ(pipe(out), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(out[1], STDOUT_FILENO);
      dup2(out[1], STDERR_FILENO);
      close(out[0]);
      close(out[1]);
      std::vector<char*> argv = {const_cast<char*>(FAULTLINED)};
      for (const std::string& argument : arguments) {
        argv.push_back(const_cast<char*>(argument.c_str()));
      }
      argv.push_back(nullptr);
      execv(FAULTLINED, argv.data());
      _exit(127);
    }
    close(out[1]);
    output_ = fdopen(out[0], "r");
  }

  ~Faultlined() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
    fclose(output_);
  }

  // Reads until the server says where it listens; empty where it ends before.
  std::string Address() {
    constexpr absl::string_view kReady = "faultlined listening on ";
    while (ReadLine()) {
      const size_t at = line_.find(kReady.data());
      if (at != std::string::npos) return line_.substr(at + kReady.size());
    }
    return "";
  }

  // Everything that it still prints, until it ends.
  std::string Rest() {
    std::string rest;
    while (ReadLine()) absl::StrAppend(&rest, line_, "\n");
    return rest;
  }

  void Signal(int signal) { ASSERT_EQ(kill(pid_, signal), 0); }

  // Exit code, or minus the signal that ended it.
  int Wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  bool ReadLine() {
    line_.clear();
    int c;
    while ((c = fgetc(output_)) != EOF && c != '\n') {
      line_ += static_cast<char>(c);
    }
    return c != EOF || !line_.empty();
  }

  pid_t pid_ = 0;
  FILE* output_ = nullptr;
  std::string line_;
};

std::unique_ptr<v1::TraceIngestService::Stub> IngestStub(
    const std::string& address) {
  return v1::TraceIngestService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
}

v1::StreamTracesRequest Batch(const std::string& prefix, int count) {
  v1::StreamTracesRequest request;
  request.set_parent("projects/p");
  for (v1::Trace& trace : MakeTraces(prefix, count)) {
    *request.add_traces() = std::move(trace);
  }
  return request;
}

class ProcessTest : public ::testing::Test {
 protected:
  std::vector<std::string> Arguments() const {
    return {"--listen", "127.0.0.1:0", "--data_dir", dir_.path() + "/data"};
  }

  testing::TempDir dir_;
};

TEST_F(ProcessTest, SaysWhereItListensAndStopsOnSigterm) {
  auto arguments = Arguments();
  arguments.push_back("--port_file");
  arguments.push_back(dir_.path() + "/port");
  Faultlined server(arguments);
  const std::string address = server.Address();
  ASSERT_NE(address, "");
  char port[16] = {};
  const int file = open((dir_.path() + "/port").c_str(), O_RDONLY);
  ASSERT_GT(read(file, port, sizeof(port) - 1), 0);
  close(file);
  EXPECT_EQ(address + "\n", absl::StrCat("127.0.0.1:", port));

  {
    auto stub = IngestStub(address);
    grpc::ClientContext call;
    auto stream = stub->StreamTraces(&call);
    ASSERT_TRUE(stream->Write(Batch("t", 10)));
    v1::StreamTracesResponse response;
    while (response.settled() < 10) ASSERT_TRUE(stream->Read(&response));
    server.Signal(SIGTERM);
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  EXPECT_THAT(server.Rest(), HasSubstr("stopped"));
  EXPECT_EQ(server.Wait(), 0);
}

TEST_F(ProcessTest, TheExampleConfigurationStarts) {
  auto arguments = Arguments();
  arguments.push_back("--config");
  arguments.push_back(SERVER_TEXTPROTO);
  Faultlined server(arguments);
  EXPECT_NE(server.Address(), "");
}

TEST_F(ProcessTest, BadOptionsAreNamed) {
  {
    Faultlined server({"--listen", "0.0.0.0:0", "--data_dir", dir_.path()});
    EXPECT_THAT(server.Rest(), HasSubstr("listen_address"));
    EXPECT_EQ(server.Wait(), 1);
  }
  {
    Faultlined server({"--listen", "127.0.0.1:0"});
    EXPECT_THAT(server.Rest(), HasSubstr("data_dir"));
    EXPECT_EQ(server.Wait(), 1);
  }
  {
    Faultlined server({"--version"});
    EXPECT_THAT(server.Rest(), HasSubstr("."));
    EXPECT_EQ(server.Wait(), 0);
  }
}

// Streams batches until the call ends; returns how it ended. The reader counts
// the acknowledged traces while the writer goes on.
grpc::Status StreamUntilGone(const std::string& address, int round,
                             std::atomic<uint64_t>* acknowledged) {
  auto stub = IngestStub(address);
  grpc::ClientContext call;
  auto stream = stub->StreamTraces(&call);
  std::thread reader([&] {
    v1::StreamTracesResponse response;
    while (stream->Read(&response)) {
      EXPECT_EQ(response.rejections_size(), 0);
      *acknowledged = response.settled();
    }
  });
  for (int batch = 0;; ++batch) {
    if (!stream->Write(Batch(absl::StrCat("r", round, "_", batch, "_"), 16))) {
      break;
    }
  }
  reader.join();
  return stream->Finish();
}

TEST_F(ProcessTest, WhatWasAcknowledgedSurvivesKill9Once) {
  base::Random random(1);
  std::map<int, uint64_t> acknowledged;  // by round
  for (int round = 0; round < 5; ++round) {
    Faultlined server(Arguments());
    const std::string address = server.Address();
    ASSERT_NE(address, "");
    const uint64_t enough = 16 + random.Below(2000);
    std::atomic<uint64_t> settled = 0;
    std::atomic<bool> ended = false;
    std::thread killer([&] {
      while (settled < enough && !ended) std::this_thread::yield();
      server.Signal(SIGKILL);
    });
    const grpc::Status status = StreamUntilGone(address, round, &settled);
    ended = true;
    killer.join();
    EXPECT_EQ(server.Wait(), -SIGKILL);
    acknowledged[round] = settled;
    EXPECT_GE(settled, enough) << "the call ended: " << status.error_message();
  }

  fakes::FakeClock clock;
  ASSERT_OK_AND_ASSIGN(const auto store,
                       store::RocksStore::Open({}, dir_.path() + "/data"));
  ASSERT_OK_AND_ASSIGN(const auto log,
                       trace::TraceLog::Create({}, store.get(), &clock));
  std::map<std::string, int> stored;
  ASSERT_OK(log->Scan("p", 1, log->LastSequence("p"),
                      [&](const v1::LogRecord& record) {
                        ++stored[record.trace().trace_id()];
                        return true;
                      }));
  for (const auto& [id, times] : stored) EXPECT_EQ(times, 1) << id;
  for (const auto& [round, count] : acknowledged) {
    for (uint64_t i = 0; i < count; ++i) {
      const std::string id = absl::StrCat("r", round, "_", i / 16, "_", i % 16);
      EXPECT_EQ(stored.count(id), 1) << id;
    }
  }
}

}  // namespace
}  // namespace faultline::integration
