#include "server/server_options.h"

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::server {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<std::optional<ServerOptions>> Parse(
    const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"faultlined"};
  for (const std::string& argument : arguments) {
    argv.push_back(argument.c_str());
  }
  return ParseServerOptions(static_cast<int>(argv.size()), argv.data());
}

class ServerOptionsTest : public ::testing::Test {
 protected:
  std::string WriteFile(const std::string& text) {
    std::string path = dir_.path() + "/server.textproto";
    std::ofstream(path) << text;
    return path;
  }

  testing::TempDir dir_;
};

TEST_F(ServerOptionsTest, DefaultsAreFilledIn) {
  ASSERT_OK_AND_ASSIGN(const auto options, Parse({"--data_dir", "d"}));
  ASSERT_TRUE(options.has_value());
  const v1::ServerConfig& config = options->config;
  EXPECT_EQ(config.listen_address(), "127.0.0.1:7171");
  EXPECT_EQ(config.data_dir(), "d");
  EXPECT_EQ(config.max_message_bytes(), 64 << 20);
  EXPECT_EQ(config.stream_window(), 4096);
  EXPECT_EQ(config.drain_deadline().seconds(), 10);
  EXPECT_EQ(config.space().dimension(), 256);
  EXPECT_EQ(config.ingest().max_index_lag(), 16384);
  EXPECT_EQ(config.ingest().max_closing_runs(), 4096);
  EXPECT_EQ(config.store().write_buffer_bytes(), 128 << 20);
  EXPECT_EQ(config.store().cache_bytes(), 64 << 20);
  EXPECT_FALSE(config.insecure());
}

TEST_F(ServerOptionsTest, AFlagWinsOverTheFile) {
  const std::string file = WriteFile(
      "data_dir: 'from file' listen_address: '127.0.0.1:1' stream_window: 128");
  ASSERT_OK_AND_ASSIGN(
      const auto options,
      Parse({"--config", file, "--listen", "127.0.0.1:2", "--log_level",
             "warning", "--verbosity", "2", "--port_file", "p"}));
  EXPECT_EQ(options->config.data_dir(), "from file");
  EXPECT_EQ(options->config.listen_address(), "127.0.0.1:2");
  EXPECT_EQ(options->config.stream_window(), 128);
  EXPECT_EQ(options->min_log_level, 1);
  EXPECT_EQ(options->verbosity, 2);
  EXPECT_EQ(options->port_file, "p");
}

TEST_F(ServerOptionsTest, ABadFileIsReportedByLineAndField) {
  const std::string file =
      WriteFile("data_dir: 'd'\n\nno_such_field: 3\nstream_window: -1\n");
  EXPECT_THAT(Parse({"--config", file}),
              StatusIs(kInvalid, AllOf(HasSubstr(file + ":3:"),
                                       HasSubstr("no_such_field"))));
  EXPECT_THAT(Parse({"--config", WriteFile("stream_window: -1")}),
              StatusIs(kInvalid, HasSubstr(":1:16:")));
  EXPECT_THAT(Parse({"--config", dir_.path() + "/none"}),
              StatusIs(kInvalid, HasSubstr("No such file")));
}

TEST_F(ServerOptionsTest, AValueOutOfBoundsNamesItsField) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"stream_window: 63", "stream_window"},
      {"stream_window: 65537", "stream_window"},
      {"max_message_bytes: 1", "max_message_bytes"},
      {"drain_deadline { seconds: -1 }", "drain_deadline"},
      {"space { dimension: 100 }", "space.dimension"},
      {"ingest { max_index_lag: 255 }", "ingest.max_index_lag"},
      {"ingest { max_closing_runs: 1000001 }", "ingest.max_closing_runs"},
      {"store { write_buffer_bytes: 8388607 }", "store.write_buffer_bytes"},
      {"store { cache_bytes: 1 }", "store.cache_bytes"},
      {"listen_address: '127.0.0.1'", "listen_address"},
      {"listen_address: '127.0.0.1:70000'", "listen_address"},
      {"listen_address: ':7171'", "listen_address"},
  };
  for (const auto& [text, field] : bad) {
    EXPECT_THAT(Parse({"--data_dir", "d", "--config", WriteFile(text)}),
                StatusIs(kInvalid, HasSubstr(field)))
        << text;
  }
  EXPECT_THAT(Parse({}), StatusIs(kInvalid, HasSubstr("data_dir")));
}

TEST_F(ServerOptionsTest, OnlyLoopbackWithoutInsecure) {
  for (const char* address : {"127.0.0.1:0", "localhost:1", "[::1]:1"}) {
    EXPECT_OK(Parse({"--data_dir", "d", "--listen", address})) << address;
  }
  for (const char* address :
       {"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.org:1",
        "127.example.org:1", "127.0.0.1.example.org:1"}) {
    EXPECT_THAT(Parse({"--data_dir", "d", "--listen", address}),
                StatusIs(kInvalid, HasSubstr("insecure")))
        << address;
    EXPECT_OK(Parse({"--data_dir", "d", "--listen", address, "--insecure"}));
  }
}

TEST_F(ServerOptionsTest, AnUnknownFlagIsNamed) {
  EXPECT_THAT(Parse({"--data_dir", "d", "--speed", "9"}),
              StatusIs(kInvalid, HasSubstr("--speed")));
  EXPECT_THAT(Parse({"--data_dir", "d", "--log_level", "loud"}),
              StatusIs(kInvalid, HasSubstr("log_level")));
}

TEST_F(ServerOptionsTest, VersionAndHelpEndTheProgramInOrder) {
  ASSERT_OK_AND_ASSIGN(const auto version, Parse({"--version"}));
  EXPECT_FALSE(version.has_value());
  ASSERT_OK_AND_ASSIGN(const auto help, Parse({"--help"}));
  EXPECT_FALSE(help.has_value());
}

}  // namespace
}  // namespace faultline::server
