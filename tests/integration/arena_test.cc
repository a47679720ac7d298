// A small arena on generated runs, through a real server.
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/cli.h"
#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "lib/base/random.h"
#include "server/app.h"
#include "server/server_options.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Json = nlohmann::json;

// Tasks of two types; each model is good at one, and a run that goes wrong
// shows it in its second half.
void WriteRuns(const std::string& path, int tasks) {
  base::Random random(1);
  std::ofstream file(path);
  for (int task = 0; task < tasks; ++task) {
    const bool even = task % 2 == 0;
    for (const char* model : {"left", "right"}) {
      const bool weak = even == (std::string(model) == "left");
      for (int trial = 0; trial < 4; ++trial) {
        const bool failed = random.Bernoulli(weak ? 0.8 : 0.2);
        Json run;
        run["trace_id"] = absl::StrCat(task, "-", model, "-", trial);
        run["dataset"] = "generated";
        run["task"] = {{"id", absl::StrCat("t", task)},
                       {"type", even ? "even" : "odd"},
                       {"input", absl::StrCat("task of kind ", task % 7)}};
        run["system"] = {{"model", model}, {"agent", "agent"}};
        for (int step = 0; step < 8; ++step) {
          const bool lost = failed && step >= 3 && random.Bernoulli(0.5);
          run["steps"].push_back({{"kind", "tool"},
                                  {"name", lost ? "search" : "read"},
                                  {"status", "ok"}});
        }
        run["evaluation"] = {{"passed", !failed}};
        run["labels"] = {{"failure_modes", {"an answer"}}};
        file << run.dump() << "\n";
      }
    }
  }
}

class ArenaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    v1::ServerConfig config;
    config.set_data_dir(dir_.path() + "/data");
    config.set_listen_address("127.0.0.1:0");
    ASSERT_OK(server::CompleteServerConfig(&config));
    ASSERT_OK_AND_ASSIGN(app_,
                         server::App::Create(config, base::Clock::System()));
    ASSERT_OK(app_->Start());
    WriteRuns(runs(), 40);
  }

  std::string runs() const { return dir_.path() + "/runs.jsonl"; }

  // The JSON objects that a command line prints, one for each line.
  std::vector<Json> Run(std::vector<std::string> arguments, int expected) {
    arguments.push_back("--json");
    arguments.push_back(absl::StrCat("--server=", app_->address()));
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(cli::RunCli(arguments, {.out = &out,
                                      .err = &err,
                                      .out_terminal = {},
                                      .err_terminal = {},
                                      .clock = base::Clock::System(),
                                      .user = "ada"}),
              expected)
        << err.str();
    errors_ = err.str();
    std::vector<Json> lines;
    for (const auto line : absl::StrSplit(out.str(), '\n', absl::SkipEmpty())) {
      lines.push_back(Json::parse(std::string(line)));
    }
    return lines;
  }

  faultline::testing::TempDir dir_;
  std::unique_ptr<server::App> app_;
  std::string errors_;
};

TEST_F(ArenaTest, StreamsEachSeedIntoAProjectOfItsOwn) {
  const std::vector<std::string> command = {
      "arena",    runs(),       "--project=a",        "--seeds=2",
      "--seed=5", "--epochs=3", "--runs-per-tick=40", "--set=max_trials=2"};
  const std::vector<Json> lines = Run(command, cli::kExitOk);
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_EQ(lines[0]["seed"], 5);
  EXPECT_EQ(lines[0]["runs"], 96);
  EXPECT_EQ(lines[0]["ticks"], 3);
  const Json& summary = lines[2]["summary"];
  EXPECT_EQ(summary["seeds"], 2);
  EXPECT_LT(summary["allTasks"]["bestPerType"], summary["allTasks"]["uniform"]);
  EXPECT_LE(summary["unseenRecommended"]["mean"], 1);

  const std::vector<Json> status = Run({"status"}, cli::kExitOk);
  std::vector<std::string> projects;
  for (const Json& project : status[0]["projects"]) {
    projects.push_back(project["name"]);
    EXPECT_EQ(project["traces"], "96");
    EXPECT_EQ(project["rejected"], "0");
  }
  EXPECT_THAT(projects,
              ::testing::UnorderedElementsAre("projects/a-5", "projects/a-6"));
  // What is stored holds the decision and no answer.
  const std::vector<Json> trace =
      Run({"--project=a-5", "trace", "arena-5-000001"}, cli::kExitOk);
  const std::string text = trace[0].dump();
  EXPECT_THAT(text, HasSubstr("\"propensity\":0.5"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("an answer")));

  EXPECT_THAT(Run(command, cli::kExitRefused), IsEmpty());
  EXPECT_THAT(errors_, HasSubstr("has 96 runs already"));
}

TEST_F(ArenaTest, TheRiskOfACutRunKnowsWhatItHasDone) {
  const std::vector<Json> lines =
      Run({"arena", runs(), "--project=w", "--early-warning", "--unseen=0.3"},
          cli::kExitOk);
  ASSERT_THAT(lines, SizeIs(2));
  const Json& result = lines[0];
  EXPECT_EQ(result["learningRuns"], 28 * 8);
  EXPECT_EQ(result["unseenRuns"], 12 * 8);
  ASSERT_THAT(result["at"], SizeIs(4));
  const double baseline = result["baseline"]["auc"];
  EXPECT_GT(baseline, 0.7);
  const double whole = result["at"][3]["auc"];
  EXPECT_GT(whole, baseline + 0.03);
}

}  // namespace
}  // namespace faultline::integration
