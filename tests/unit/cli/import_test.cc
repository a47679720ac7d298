#include "client/cli/import.h"

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/cli.h"
#include "client/cli/exit_code.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "lib/base/clock.h"
#include "tests/fakes/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace faultline::cli {
namespace {

using ::testing::HasSubstr;

// Stores trace ids in memory; refuses those that begin with `bad`.
class FakeIngest : public v1::TraceIngestService::Service {
 public:
  grpc::Status StreamTraces(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::StreamTracesResponse,
                               v1::StreamTracesRequest>* stream) override {
    v1::StreamTracesRequest request;
    v1::StreamTracesResponse response;
    response.set_window(4096);
    while (stream->Read(&request)) {
      response.clear_rejections();
      for (const v1::Trace& trace : request.traces()) {
        response.set_settled(response.settled() + 1);
        if (trace.trace_id().rfind("bad", 0) == 0) {
          auto* rejection = response.add_rejections();
          rejection->set_index(response.settled() - 1);
          rejection->set_trace_id(trace.trace_id());
          rejection->mutable_error()->set_field("trace_id");
          rejection->mutable_error()->set_message("no good");
        } else if (!stored_.insert(trace.trace_id()).second) {
          response.set_duplicates(response.duplicates() + 1);
        }
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  std::set<std::string> stored_;
};

class ImportTest : public ::testing::Test {
 protected:
  ImportTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  // A file of runs with these lines; returns its path.
  std::string File(const std::string& name,
                   const std::vector<std::string>& lines) {
    std::string path = absl::StrCat(directory_.path(), "/", name);
    std::ofstream file(path);
    for (const std::string& line : lines) file << line << "\n";
    return path;
  }

  static std::string Run(const std::string& id) {
    return absl::StrCat(R"({"trace_id": ")", id,
                        R"(", "evaluation": {"passed": true}})");
  }

  int Import(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"import", "--json", "--format", "runs"});
    std::ostringstream out;
    std::ostringstream err;
    const int code =
        RunCli(std::move(arguments), {.out = &out,
                                      .err = &err,
                                      .out_terminal = {},
                                      .err_terminal = {},
                                      .clock = base::Clock::System(),
                                      .user = ""});
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  FakeIngest service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  const testing::TempDir directory_;
  std::string out_;
  std::string err_;
};

TEST_F(ImportTest, StoresEveryRunOnceWhateverIsRepeated) {
  const std::string one = File("one.jsonl", {Run("a"), Run("b")});
  const std::string two = File("two.jsonl", {Run("b"), Run("c")});
  EXPECT_EQ(Import({"--server", address_, one, two}), kExitOk) << err_;
  EXPECT_THAT(out_, HasSubstr(R"({"read":4,"stored":3,"duplicates":1,)"));
  EXPECT_THAT(err_, HasSubstr("100 %"));
  EXPECT_EQ(Import({"--server", address_, one, two}), kExitOk) << err_;
  EXPECT_THAT(out_, HasSubstr(R"({"read":4,"stored":0,"duplicates":4,)"));
}

TEST_F(ImportTest, CountsAndNamesWhatIsNotTakenAndGoesOn) {
  const std::string file =
      File("mixed.jsonl", {Run("a"), "{", Run("bad1"), Run("b")});
  EXPECT_EQ(Import({"--server", address_, file}), kExitRefused);
  EXPECT_THAT(out_, HasSubstr(R"("stored":2,"duplicates":0,"rejected":1,)"
                              R"("unreadable":1)"));
  EXPECT_THAT(err_, HasSubstr("mixed.jsonl"));
  EXPECT_THAT(err_, HasSubstr("bad1: trace_id: no good"));
}

TEST_F(ImportTest, AMissingFileIsFoundBeforeAnythingIsSent) {
  const std::string file = File("there.jsonl", {Run("a")});
  EXPECT_EQ(Import({"--server", address_, file, "no-such-file"}),
            kExitNotFound);
  EXPECT_THAT(err_, HasSubstr("no-such-file"));
  EXPECT_THAT(out_, HasSubstr(R"("settled":0)"));
}

TEST_F(ImportTest, GivesUpWhereNoServerComesBack) {
  const std::string file = File("there.jsonl", {Run("a")});
  EXPECT_EQ(Import({"--server", "127.0.0.1:1", "--patience", "0.1", file}),
            kExitUnreachable);
  EXPECT_THAT(err_, HasSubstr("Repeat the command"));
}

TEST(ProgressTest, DrawsABarOnATerminalAndLinesElsewhere) {
  fakes::FakeClock clock;
  std::ostringstream lines;
  Progress plain("runs", {}, &clock, &lines);
  plain.Update(0.1, 10);
  clock.Advance(absl::Seconds(2));
  plain.Update(0.5, 100);
  plain.Update(0.6, 120);
  EXPECT_EQ(lines.str(), "  2.0 s   50 %  100 runs  50/s  2.0 s left\n");

  std::ostringstream bar;
  Progress drawn("runs", {.interactive = true, .color = true, .width = 70},
                 &clock, &bar);
  clock.Advance(absl::Seconds(1));
  drawn.Finish(1, 100);
  EXPECT_EQ(bar.str(),
            absl::StrCat("\r[", std::string(35, '#'),
                         "]   1.0 s  100 %  100 runs  100/s", "\x1b[K\n"));
}

}  // namespace
}  // namespace faultline::cli
