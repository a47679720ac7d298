// Mixed load whose ledger says what the server acknowledged, and the check that
// the server keeps to it.
//   fault_load kill9 --faultlined PATH --data_dir DIR [--rounds N] [--seed N]
//     kills the server at random moments; prints what was lost and what is
//     there twice, and ends with 0 only where nothing is
//   fault_load load --port N --ledger FILE [--seconds N]
//     loads a server, whatever it answers; prints which errors it answered
//   fault_load check --port N --ledger FILE [--damaged]
//     sends what is in doubt again and checks; ends with 0 only where nothing
//     acknowledged is lost and nothing is there twice. --damaged: the server
//     may answer DATA_LOSS instead of what it owes
// `load` and `check` go on with the ledger where the file is there.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "tests/bench/child_process.h"
#include "tests/bench/ledger.h"
#include "tests/bench/ledger_check.h"
#include "tests/bench/mixed_load.h"
#include "tests/bench/pause.h"
#include "tests/bench/trace_load.h"

namespace faultline::bench {
namespace {

// Runs in pieces and spans close soon, so that the log has much of them.
constexpr char kSettings[] =
    "default_project {\n"
    "  tick_interval { seconds: 0 }\n"
    "  assembly { quiet_period { nanos: 200000000 } }\n"
    "}\n";
constexpr absl::Duration kShortest = absl::Milliseconds(50);
constexpr absl::Duration kLongest = absl::Milliseconds(800);
// Rounds between two checks of everything new.
constexpr int kRoundsOfCheck = 10;

absl::Duration SteadyNow() { return base::Clock::System()->SteadyNow(); }

void PrintErrors(const MixedLoad& load) {
  for (const auto& [error, times] : load.Errors()) {
    std::printf("  answered %lu times: %s\n", static_cast<unsigned long>(times),
                error.c_str());
  }
}

void PrintCounts(const Ledger& ledger) {
  const Ledger::Counts counts = ledger.GetCounts();
  std::printf("acknowledged:");
  for (int way = 0; way < kWays; ++way) {
    std::printf(" %lu %s,", static_cast<unsigned long>(counts.parts[way]),
                WayName(static_cast<Way>(way)));
  }
  std::printf(" %lu outcomes, %lu deletions\n",
              static_cast<unsigned long>(counts.outcomes),
              static_cast<unsigned long>(counts.deletions));
}

// The project that keeps few; true where that is durable.
bool KeepFew(int port) {
  const auto stub = v1::AdminService::NewStub(Connect(port, -1));
  grpc::ClientContext context;
  v1::UpdateConfigRequest request;
  request.set_parent(absl::StrCat("projects/", kShortProject));
  request.mutable_config()->mutable_retention()->set_max_traces(kShortKeeps);
  request.mutable_update_mask()->add_paths("retention");
  v1::UpdateConfigResponse response;
  return stub->UpdateConfig(&context, request, &response).ok();
}

bool KeepsFew(int port) {
  const auto stub = v1::AdminService::NewStub(Connect(port, -1));
  grpc::ClientContext context;
  v1::GetConfigRequest request;
  request.set_parent(absl::StrCat("projects/", kShortProject));
  v1::GetConfigResponse response;
  return stub->GetConfig(&context, request, &response).ok() &&
         response.config().retention().max_traces() == kShortKeeps;
}

class Kill9 {
 public:
  Kill9(const std::string& faultlined, const std::string& data_dir,
        uint64_t seed)
      : data_dir_(data_dir),
        command_({faultlined, "--listen=127.0.0.1:0", "--data_dir", data_dir,
                  "--config", data_dir + ".textproto", "--log_level=warning"}),
        random_(seed),
        ledger_(seed) {
    std::ofstream(data_dir + ".textproto") << kSettings;
  }

  bool Run(int rounds) {
    for (int round = 1; round <= rounds; ++round) {
      if (random_.Bernoulli(0.25)) KillDuringStart();
      if (!KillDuringLoad()) return false;
      const bool checks = round % kRoundsOfCheck == 0 || round == rounds;
      if (checks && !Check(round)) return false;
    }
    std::printf(
        "rounds: %d, kills: %d, of these %d during a start and %d "
        "during a checkpoint\n",
        rounds, kills_, kills_of_starts_, kills_of_checkpoints_);
    PrintCounts(ledger_);
    std::printf("acknowledged and lost: %lu, duplicates: %lu\n",
                static_cast<unsigned long>(findings_.lost()),
                static_cast<unsigned long>(findings_.duplicates()));
    return findings_.lost() + findings_.data_losses() == 0 &&
           findings_.duplicates() == 0;
  }

 private:
  absl::Duration Between(absl::Duration least, absl::Duration most) {
    return least + random_.Uniform() * (most - least);
  }

  void KillDuringStart() {
    {
      const ChildProcess server = ChildProcess::Launch(command_);
      Pause(Between(absl::ZeroDuration(), start_));
      // At the end of this block.
    }
    ++kills_;
    ++kills_of_starts_;
  }

  bool KillDuringLoad() {
    auto server = Start();
    if (server == nullptr) return false;
    CheckSequences(server->port(), ledger_, &findings_);
    // Its answer may get lost, but not what it said once.
    if (!configured_) configured_ = KeepFew(server->port());
    if (configured_ && !KeepsFew(server->port())) {
      findings_.Lost("the settings of project short");
    }
    MixedLoad load(server->port(), /*new_runs=*/true, &ledger_);
    const absl::Duration end = SteadyNow() + Between(kShortest, kLongest);
    const bool awaits_checkpoint = random_.Bernoulli(0.25);
    while (SteadyNow() < end) {
      Pause(absl::Milliseconds(1));
      if (awaits_checkpoint && InCheckpoint()) {
        Pause(Between(absl::ZeroDuration(), absl::Milliseconds(5)));
        break;
      }
    }
    server.reset();  // the kill
    load.Stop();
    ++kills_;
    kills_of_checkpoints_ += InCheckpoint();
    for (const auto& [error, times] : load.Errors()) {
      // That the server has gone is no news.
      if (!absl::StartsWith(error, "14 ")) {
        std::printf("  answered %lu times: %s\n",
                    static_cast<unsigned long>(times), error.c_str());
      }
    }
    return true;
  }

  // By questions to a server, and then by reading the log that a kill leaves.
  bool Check(int round) {
    {
      const auto server = Start();
      if (server == nullptr ||
          !CheckServer(server->port(), &ledger_, &findings_)) {
        return false;
      }
    }
    ++kills_;
    if (!CheckStore(data_dir_, ledger_, &findings_)) return false;
    std::printf(
        "round %d: %d kills, %zu runs, a start takes %.0f ms; lost: "
        "%lu, duplicates: %lu\n",
        round, kills_, ledger_.All().size(), absl::ToDoubleMilliseconds(start_),
        static_cast<unsigned long>(findings_.lost()),
        static_cast<unsigned long>(findings_.duplicates()));
    std::fflush(stdout);
    return true;
  }

  // Serving. Null, with a message, where it does not come up.
  std::unique_ptr<ChildProcess> Start() {
    const absl::Duration begin = SteadyNow();
    // Not make_unique: it cannot be moved.
    std::unique_ptr<ChildProcess> server(
        new ChildProcess(ChildProcess::Launch(command_)));
    if (!server->AwaitPort()) {
      std::printf("the server does not start again after a kill\n");
      return nullptr;
    }
    start_ = SteadyNow() - begin;
    return server;
  }

  // Whether a checkpoint is being written, or was when the server went.
  bool InCheckpoint() const {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(
             data_dir_ + "/checkpoints", none)) {
      if (entry.path().extension() != ".ckpt") return true;
    }
    return false;
  }

  const std::string data_dir_;
  const std::vector<std::string> command_;
  base::Random random_;
  Ledger ledger_;
  Findings findings_;
  bool configured_ = false;
  absl::Duration start_ = absl::Milliseconds(100);  // the last one took
  int kills_ = 0;
  int kills_of_starts_ = 0;
  int kills_of_checkpoints_ = 0;
};

int Load(int port, const std::string& file, absl::Duration length) {
  Ledger ledger(/*seed=*/1);
  if (std::filesystem::exists(file)) ledger.Load(file);
  KeepFew(port);
  MixedLoad load(port, /*new_runs=*/true, &ledger);
  Pause(length);
  load.Stop();
  PrintErrors(load);
  PrintCounts(ledger);
  ledger.Save(file);
  return 0;
}

int Check(int port, const std::string& file, bool damaged) {
  Ledger ledger(/*seed=*/2);
  if (std::filesystem::exists(file)) ledger.Load(file);
  Findings findings;
  const bool answered = CheckServer(port, &ledger, &findings);
  ledger.Save(file);
  const uint64_t lost =
      findings.lost() + (damaged ? 0 : findings.data_losses());
  std::printf(
      "%zu runs, %lu answers of DATA_LOSS; acknowledged and lost: %lu, "
      "duplicates: %lu\n",
      ledger.All().size(), static_cast<unsigned long>(findings.data_losses()),
      static_cast<unsigned long>(lost),
      static_cast<unsigned long>(findings.duplicates()));
  return answered && lost == 0 && findings.duplicates() == 0 ? 0 : 1;
}

int Main(int argc, char** argv) {
  CLI::App cli("Loads faultlined and holds it to what it acknowledged");
  cli.require_subcommand(1);
  std::string faultlined, data_dir, ledger;
  int rounds = 200;
  int seconds = 5;
  int port = 0;
  uint64_t seed = 1;
  CLI::App* kill9 = cli.add_subcommand("kill9", "Kill it at random moments");
  kill9->add_option("--faultlined", faultlined)->required();
  kill9->add_option("--data_dir", data_dir)->required();
  kill9->add_option("--rounds", rounds)->check(CLI::Range(1, 100'000));
  kill9->add_option("--seed", seed);
  CLI::App* load = cli.add_subcommand("load", "Load it");
  CLI::App* check = cli.add_subcommand("check", "Check it");
  for (CLI::App* command : {load, check}) {
    command->add_option("--port", port)->required();
    command->add_option("--ledger", ledger)->required();
  }
  bool damaged = false;
  check->add_flag("--damaged", damaged);
  load->add_option("--seconds", seconds)->check(CLI::Range(1, 3600));
  CLI11_PARSE(cli, argc, argv);

  if (*load) return Load(port, ledger, absl::Seconds(seconds));
  if (*check) return Check(port, ledger, damaged);
  return Kill9(faultlined, data_dir, seed).Run(rounds) ? 0 : 1;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) { return faultline::bench::Main(argc, argv); }
