#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/arena/arena.h"
#include "client/arena/early_warning.h"
#include "client/arena/recorded_runs.h"
#include "client/cli/arena_report.h"
#include "client/cli/arena_server.h"
#include "client/cli/commands.h"
#include "client/cli/progress.h"
#include "client/cli/settings.h"

namespace faultline::cli {
namespace {

struct ArenaOptions {
  std::vector<std::string> files;
  int seeds = 1;
  arena::StreamOptions stream;
  std::vector<std::string> settings;
  bool early_warning = false;
};

// Calls `run(seed, server, progress)` for each seed, each in a project of its
// own, named after --project and the seed.
template <typename Run>
absl::Status ForEachSeed(Session* session, const ArenaOptions& options,
                         const Run& run) {
  Progress progress("seeds", session->environment().err_terminal,
                    session->environment().clock, &session->err());
  for (int i = 0; i < options.seeds; ++i) {
    const uint64_t seed = options.stream.seed + i;
    FAULTLINE_ASSIGN_OR_RETURN(
        const auto server,
        ArenaServer::Create(session,
                            absl::StrCat(session->options().project, "-", seed),
                            options.settings));
    FAULTLINE_RETURN_IF_ERROR(
        run(seed, server.get(), [&progress, &options, i](double share) {
          progress.Update((i + share) / options.seeds, i);
        }));
  }
  progress.Finish(1, options.seeds);
  return absl::OkStatus();
}

absl::Status RunStreams(Session* session, const ArenaOptions& options,
                        const arena::RecordedRuns& recorded) {
  const bool json = session->options().json;
  std::vector<arena::StreamResult> results;
  FAULTLINE_RETURN_IF_ERROR(ForEachSeed(
      session, options,
      [&](uint64_t seed, ArenaServer* server,
          const arena::ProgressSink& progress) {
        arena::StreamOptions stream = options.stream;
        stream.seed = seed;
        FAULTLINE_ASSIGN_OR_RETURN(
            arena::StreamResult result,
            arena::RunStream(recorded, stream, *session->environment().clock,
                             server, progress));
        if (json) session->out() << StreamJson(result) << std::endl;
        results.push_back(std::move(result));
        return absl::OkStatus();
      }));
  std::vector<int> all(recorded.tasks().size());
  std::iota(all.begin(), all.end(), 0);
  const arena::Baselines baselines = arena::ComputeBaselines(recorded, all);
  if (json) {
    session->out() << StreamSummaryJson(results, baselines) << "\n";
    return absl::OkStatus();
  }
  session->PrintTable(StreamTable(results), "");
  session->out() << "\n";
  session->PrintTable(StreamSummary(results, baselines), "");
  return absl::OkStatus();
}

absl::Status RunWarnings(Session* session, const ArenaOptions& options,
                         const arena::RecordedRuns& recorded) {
  const bool json = session->options().json;
  std::vector<arena::WarningResult> results;
  FAULTLINE_RETURN_IF_ERROR(
      ForEachSeed(session, options,
                  [&](uint64_t seed, ArenaServer* server,
                      const arena::ProgressSink& progress) {
                    arena::WarningOptions warning;
                    warning.seed = seed;
                    warning.unseen_share = options.stream.unseen_share;
                    FAULTLINE_ASSIGN_OR_RETURN(
                        arena::WarningResult result,
                        arena::MeasureWarnings(recorded, warning,
                                               *session->environment().clock,
                                               server, progress));
                    if (json)
                      session->out() << WarningJson(result) << std::endl;
                    results.push_back(std::move(result));
                    return absl::OkStatus();
                  }));
  if (json) {
    session->out() << WarningSummaryJson(results) << "\n";
  } else {
    session->PrintTable(WarningSummary(results), "");
  }
  return absl::OkStatus();
}

absl::Status RunArena(Session* session, const ArenaOptions& options) {
  FAULTLINE_ASSIGN_OR_RETURN(const arena::RecordedRuns recorded,
                             arena::RecordedRuns::Read(options.files));
  return options.early_warning ? RunWarnings(session, options, recorded)
                               : RunStreams(session, options, recorded);
}

}  // namespace

void AddArenaCommand(CLI::App* app, Session* session) {
  auto options = std::make_shared<ArenaOptions>();
  CLI::App* command = AddCommand(
      app, session, "arena",
      "Replay recorded runs of several models on the same tasks: how often "
      "what the policy routes fails, beside what routers achieve that know "
      "every answer",
      [session, options] { return RunArena(session, *options); });
  command->add_option("FILES", options->files, "Files in the format `runs`")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--seeds", options->seeds,
                   "Replays, each in the project PROJECT-SEED")
      ->check(CLI::Range(1, 10000))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--seed", options->stream.seed,
                   "First seed: of the split, the order and the draws")
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 62))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--epochs", options->stream.epochs,
                   "Visits of each task of the stream; a recorded run comes "
                   "again only where the model has no other one on the task")
      ->check(CLI::Range(1, 10000))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--runs-per-tick", options->stream.runs_per_tick,
                   "Runs between two ticks")
      ->check(CLI::Range(1, 1000000))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--unseen", options->stream.unseen_share,
                   "Share of the tasks that never are in the stream")
      ->check(CLI::Range(0.01, 0.99))
      ->type_name("SHARE")
      ->capture_default_str();
  command
      ->add_option("--set", options->settings,
                   "Settings of the projects, as for `config set`")
      ->check(SettingProblem)
      ->type_name("SETTING=VALUE");
  command->add_flag(
      "--early-warning", options->early_warning,
      "Instead: store every run of the stream's tasks, and compare the risk "
      "that Recommend gives for cut runs of unseen tasks with their outcomes");
}

}  // namespace faultline::cli
