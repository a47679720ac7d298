// What the planner proposes in simulated worlds, against what caused the mode:
// how many proposals of each kind went to modes of each cause. The model, the
// prompt strategy and the state of memory are causes that a kind is the remedy
// of; the others are not.
//   proposal_bench --failures 3000 --ticks 3 --seed 1000 --worlds 5

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/space/blas.h"
#include "tests/bench/world_tick.h"
#include "tests/worlds/world.h"

namespace faultline::bench {
namespace {

// Share of a cluster's members that makes it a mode's.
constexpr double kMost = 0.5;

struct Options {
  worlds::WorldOptions world;
  uint64_t failures = 3000;
  int ticks = 3;
  int worlds = 1;
  int threads = 2;
};

// Proposals for modes of one cause, by their kind.
using Tallies = std::map<std::string, std::map<std::string, int>>;

std::string CauseText(worlds::Variable variable) {
  switch (variable) {
    case worlds::Variable::kTaskType:
      return "task_type";
    case worlds::Variable::kModel:
      return "model";
    case worlds::Variable::kPrompt:
      return "prompt";
    case worlds::Variable::kMemory:
      return "memory";
    case worlds::Variable::kVersion:
      return "version";
    case worlds::Variable::kToolset:
      return "toolset";
  }
  return "";
}

// The cause of a mode that a kind is the remedy of, or its first one.
const worlds::Condition& CauseFor(const worlds::PlantedMode& mode,
                                  v1::InterventionKind kind) {
  const std::map<v1::InterventionKind, worlds::Variable> remedies = {
      {v1::INTERVENTION_KIND_ROUTING_POLICY, worlds::Variable::kModel},
      {v1::INTERVENTION_KIND_BANDIT_WEIGHTS, worlds::Variable::kModel},
      {v1::INTERVENTION_KIND_PROMPT_STRATEGY, worlds::Variable::kPrompt},
      {v1::INTERVENTION_KIND_MEMORY_SCHEMA, worlds::Variable::kMemory}};
  const auto remedy = remedies.find(kind);
  for (const worlds::Condition& cause : mode.trigger) {
    if (remedy != remedies.end() && cause.variable == remedy->second) {
      return cause;
    }
  }
  return mode.trigger.front();
}

// The planted mode of most of the members; -1: of none.
int ModeOf(const v1::ClusterMembers& members, const WorldTicks& ticks) {
  std::map<int, double> count;
  for (const uint64_t sequence : members.sequences()) {
    ++count[ticks.truth(sequence).mode];
  }
  for (const auto& [mode, runs] : count) {
    if (mode >= 0 && runs > kMost * members.sequences_size()) return mode;
  }
  return -1;
}

absl::Status MeasureWorld(const Options& options, Tallies* tallies) {
  WorldTicks ticks(options.world, options.failures, options.threads);
  std::map<std::string, int> mode_of;  // of clusters, by name
  std::map<std::string, bool> seen;    // interventions
  for (int tick = 0; tick < options.ticks; ++tick) {
    if (tick > 0) ticks.Advance();
    FAULTLINE_ASSIGN_OR_RETURN(const slowloop::TickOutput output, ticks.Tick());
    std::map<std::string, std::string> names;
    for (const v1::Cluster& cluster : output.state.clusters()) {
      names[cluster.cluster_id()] = cluster.name();
    }
    for (const v1::ClusterMembers& members : output.state.members()) {
      mode_of[names[members.cluster_id()]] = ModeOf(members, ticks);
    }
    for (const v1::TickStage& stage : output.stages) {
      if (stage.name() != "plan") continue;
      absl::PrintF("seed %d, tick %d: plan %.3f s\n", options.world.seed,
                   tick + 1,
                   static_cast<double>(stage.duration().seconds()) +
                       1e-9 * stage.duration().nanos());
    }
    for (const v1::Intervention& intervention : output.state.interventions()) {
      if (!seen.emplace(intervention.intervention_id(), true).second) continue;
      const auto mode = mode_of.find(intervention.cluster());
      if (mode == mode_of.end() || mode->second < 0) continue;
      const worlds::Condition& cause =
          CauseFor(ticks.world().modes()[mode->second], intervention.kind());
      const std::string kind = v1::InterventionKind_Name(intervention.kind())
                                   .substr(sizeof("INTERVENTION_KIND_") - 1);
      std::string text = CauseText(cause.variable);
      // Only stale and conflicting memory has a remedy.
      if (cause.variable == worlds::Variable::kMemory && cause.value < 2) {
        text += "_other";
      }
      ++(*tallies)[text][kind];
      absl::PrintF("  mode %d by %s %d, read as %s: %s\n", mode->second,
                   CauseText(cause.variable), cause.value,
                   v1::FailureMode_Name(intervention.failure_mode()),
                   intervention.summary());
    }
  }
  return absl::OkStatus();
}

absl::Status Run(Options options) {
  Tallies tallies;
  for (int world = 0; world < options.worlds; ++world) {
    FAULTLINE_RETURN_IF_ERROR(MeasureWorld(options, &tallies));
    ++options.world.seed;
  }
  for (const auto& [cause, kinds] : tallies) {
    for (const auto& [kind, count] : kinds) {
      absl::PrintF("%s %s %d\n", cause, kind, count);
    }
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const std::map<std::string, worlds::WorldStyle> styles = {
      {"chains", worlds::WorldStyle::kChains},
      {"scripts", worlds::WorldStyle::kScripts}};
  Options options;
  CLI::App app("What is proposed for what causes a mode.");
  app.add_option("--style", options.world.style, "How traces are written")
      ->transform(CLI::CheckedTransformer(styles));
  app.add_option("--seed", options.world.seed, "Of the first world");
  app.add_option("--worlds", options.worlds, "Worlds, of seeds in a row")
      ->check(CLI::PositiveNumber);
  app.add_option("--failures", options.failures, "Failures in the window")
      ->check(CLI::PositiveNumber);
  app.add_option("--ticks", options.ticks, "Ticks of a world")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads, "Threads of a tick")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Run(options);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) {
  faultline::space::ChooseBlasKernels(argv);
  return faultline::bench::Main(argc, argv);
}
