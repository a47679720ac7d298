// What the slow loop makes of simulated worlds whose faults are known:
// agreement of its clusters with the planted modes, what the gate lets pass,
// identity over windows without a run in common, seconds and memory.
//   cluster_bench --failures 2000 --seed 1000 --worlds 5
//   cluster_bench --world outcome-null --worlds 200 --tick_only
// Seeds 1 to 99 are for tuning, from 1000 on for showing.

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/time_util.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/clusterer.h"
#include "lib/space/blas.h"
#include "tests/bench/failure_map.h"
#include "tests/bench/world_tick.h"
#include "tests/worlds/partition_scores.h"
#include "tests/worlds/world.h"

namespace faultline::bench {
namespace {

using worlds::Truth;
using Labels = std::vector<int32_t>;
// Figures of one world, by name; the order is that of the columns.
using Figures = std::vector<std::pair<std::string, double>>;

struct Options {
  worlds::WorldOptions world;
  uint64_t failures = 2000;
  int worlds = 1;
  int windows = 1;
  int threads = 2;
  bool tick_only = false;
  bool digest = false;
  std::string json;
  std::string export_directory;
};

// A cluster of the tick, with the planted mode that fits it best.
struct FoundCluster {
  std::string id;
  bool accepted = false;
  bool behavior = false;  // found in the behaviour view
  int mode = -1;          // of most of its members; -1: of none
  double share = 0;       // of its members that are of this mode
  double f1 = 0;          // with this mode
};

double PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

double SecondsOf(const v1::TickStage& stage) {
  return static_cast<double>(
             google::protobuf::util::TimeUtil::DurationToNanoseconds(
                 stage.duration())) /
         1e9;
}

Labels ModesOf(const std::vector<Truth>& truth) {
  Labels modes;
  modes.reserve(truth.size());
  for (const Truth& run : truth) modes.push_back(run.mode);
  return modes;
}

// Where `planted` is not -1.
Labels OfPlanted(const Labels& planted, const Labels& labels) {
  Labels kept;
  for (size_t i = 0; i < planted.size(); ++i) {
    if (planted[i] != -1) kept.push_back(labels[i]);
  }
  return kept;
}

// Largest AMI of a labelling with a variable of the context.
double SliceAgreement(const std::vector<Truth>& truth, const Labels& labels) {
  double largest = -1;
  const auto try_variable = [&](auto value_of) {
    Labels values;
    values.reserve(truth.size());
    for (const Truth& run : truth) values.push_back(value_of(run.context));
    largest =
        std::max(largest, worlds::AdjustedMutualInformation(values, labels));
  };
  try_variable([](const worlds::Context& c) { return c.dataset; });
  for (const worlds::Variable variable :
       {worlds::Variable::kTaskType, worlds::Variable::kModel,
        worlds::Variable::kPrompt, worlds::Variable::kMemory,
        worlds::Variable::kVersion, worlds::Variable::kToolset}) {
    try_variable([variable](const worlds::Context& c) {
      return worlds::ValueOf(c, variable);
    });
  }
  return largest;
}

void AddScores(const std::vector<Truth>& truth, const Labels& found, int modes,
               Figures* figures) {
  const Labels planted = ModesOf(truth);
  const Labels of_planted = OfPlanted(planted, planted);
  const Labels found_of_planted = OfPlanted(planted, found);
  const auto add = [&](const char* name, auto score) {
    figures->emplace_back(absl::StrCat(name, "_planted"),
                          score(of_planted, found_of_planted));
    figures->emplace_back(absl::StrCat(name, "_all"), score(planted, found));
  };
  add("ari", worlds::AdjustedRandIndex);
  add("ami", worlds::AdjustedMutualInformation);
  add("v", worlds::VMeasure);
  add("purity", worlds::Purity);

  double struck = 0;
  double recalled = 0;
  const std::vector<double> f1 = worlds::BestF1(planted, found, modes);
  for (int m = 0; m < modes; ++m) {
    struck += std::count(planted.begin(), planted.end(), m) > 0 ? 1 : 0;
    recalled += f1[m] > 0.5 ? 1 : 0;
  }
  figures->emplace_back("mode_recall", struck > 0 ? recalled / struck : 1);
  double noise = 0;
  double unplanted = 0;
  for (size_t i = 0; i < planted.size(); ++i) {
    if (planted[i] != -1) continue;
    ++unplanted;
    noise += found[i] == -1 ? 1 : 0;
  }
  figures->emplace_back("noise_found", unplanted > 0 ? noise / unplanted : 1);
  figures->emplace_back(
      "groups",
      found.empty() ? 0 : 1 + *std::max_element(found.begin(), found.end()));
  figures->emplace_back("slice_ami", SliceAgreement(truth, found));
  figures->emplace_back("slice_ami_truth", SliceAgreement(truth, planted));
}

std::vector<FoundCluster> ReadClusters(const v1::TickState& state,
                                       const WorldFailures& map,
                                       const WorldTicks& ticks, int modes) {
  std::vector<double> struck(modes);
  for (const Truth& run : map.truth) {
    if (run.mode >= 0) ++struck[run.mode];
  }
  std::map<std::string, const v1::ClusterMembers*> members;
  for (const v1::ClusterMembers& of : state.members()) {
    members[of.cluster_id()] = &of;
  }
  std::vector<FoundCluster> found;
  for (const v1::Cluster& cluster : state.clusters()) {
    if (cluster.last_seen_tick() != state.tick().tick()) continue;
    FoundCluster& value = found.emplace_back();
    value.id = cluster.cluster_id();
    value.accepted = cluster.status() == v1::Cluster::STATUS_STABLE;
    value.behavior = std::count(cluster.views().begin(), cluster.views().end(),
                                v1::VIEW_BEHAVIOR) > 0;
    const auto& sequences = members.at(value.id)->sequences();
    std::map<int, double> count;
    for (const uint64_t sequence : sequences) {
      ++count[ticks.truth(sequence).mode];
    }
    for (const auto& [mode, both] : count) {
      if (mode < 0 || both / sequences.size() <= value.share) continue;
      value.mode = mode;
      value.share = both / sequences.size();
      value.f1 = 2 * both / (sequences.size() + struck[mode]);
    }
  }
  return found;
}

void AddAcceptance(const std::vector<FoundCluster>& clusters,
                   const std::vector<Truth>& truth, int modes,
                   Figures* figures) {
  std::vector<bool> struck(modes);
  for (const Truth& run : truth) {
    if (run.mode >= 0) struck[run.mode] = true;
  }
  std::vector<bool> recalled(modes);
  double accepted = 0;
  double behavior = 0;
  double mixed = 0;
  for (const FoundCluster& cluster : clusters) {
    if (!cluster.accepted) continue;
    ++accepted;
    behavior += cluster.behavior ? 1 : 0;
    // Most members are of no mode, or of several.
    mixed += cluster.share <= 0.5 ? 1 : 0;
    if (cluster.f1 > 0.5) recalled[cluster.mode] = true;
  }
  const auto total =
      static_cast<double>(std::count(struck.begin(), struck.end(), true));
  figures->emplace_back("clusters", clusters.size());
  figures->emplace_back("accepted", accepted);
  figures->emplace_back("accepted_behavior", behavior);
  figures->emplace_back("accepted_mixed", mixed);
  figures->emplace_back(
      "accepted_recall",
      total > 0 ? std::count(recalled.begin(), recalled.end(), true) / total
                : 1);
}

// Of two windows: modes that both have a cluster for, those whose best clusters
// have one id, and identities whose two clusters are of the same mode, however
// few of their members are of it. `clear`: only identities of which a cluster
// is found of its mode, as above.
void AddIdentity(const std::vector<FoundCluster>& before,
                 const std::vector<FoundCluster>& after, int modes,
                 Figures* figures) {
  const auto best_of = [](const std::vector<FoundCluster>& clusters, int mode) {
    const FoundCluster* best = nullptr;
    for (const FoundCluster& cluster : clusters) {
      if (cluster.mode != mode || cluster.f1 <= 0.5) continue;
      if (!best || cluster.f1 > best->f1) best = &cluster;
    }
    return best;
  };
  double lasting = 0;
  double matched = 0;
  for (int m = 0; m < modes; ++m) {
    const FoundCluster* old = best_of(before, m);
    const FoundCluster* now = best_of(after, m);
    if (!old || !now) continue;
    ++lasting;
    matched += old->id == now->id ? 1 : 0;
  }
  double survivors = 0;
  double right = 0;
  double clear = 0;
  double clear_right = 0;
  for (const FoundCluster& now : after) {
    for (const FoundCluster& old : before) {
      if (old.id != now.id) continue;
      ++survivors;
      right += old.mode == now.mode ? 1 : 0;
      if (std::max(old.f1, now.f1) <= 0.5) continue;
      ++clear;
      clear_right += old.mode == now.mode ? 1 : 0;
    }
  }
  figures->emplace_back("lasting_modes", lasting);
  figures->emplace_back("matched_modes", matched);
  figures->emplace_back("survivors", survivors);
  figures->emplace_back("right_survivors", right);
  figures->emplace_back("clear_survivors", clear);
  figures->emplace_back("clear_right", clear_right);
}

absl::Status ExportRuns(const std::string& path, const FailureMap& map,
                        const WorldTicks& ticks) {
  std::ofstream file(path);
  for (const uint64_t sequence : map.sequence) {
    FAULTLINE_ASSIGN_OR_RETURN(const v1::Trace trace,
                               ticks.ReadTrace(sequence));
    file << StepWords(trace) << "\n";
  }
  return file.good()
             ? absl::OkStatus()
             : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::Status Export(const std::string& directory, const WorldFailures& map,
                    const Labels& found) {
  FAULTLINE_RETURN_IF_ERROR(
      WriteNpy(directory + "/failures.npy", map.vectors, map.dimension));
  FAULTLINE_RETURN_IF_ERROR(
      WriteNpy(directory + "/planted.npy", ModesOf(map.truth)));
  return WriteNpy(directory + "/ours.npy", found);
}

// What must not change where only the speed of a tick does.
void PrintDigest(const slowloop::TickOutput& output) {
  std::printf("tick %d digest %s policy %s\n",
              static_cast<int>(output.state.tick().tick()),
              output.state.tick().digest().c_str(),
              output.policy.digest().c_str());
}

// Processor seconds of this process, all threads: what the wall clock cannot
// tell on a busy machine.
double CpuSeconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

absl::StatusOr<Figures> MeasureWorld(const Options& options) {
  WorldTicks ticks(options.world, options.failures, options.threads);
  const int modes = options.world.modes;
  const double cpu_begin = CpuSeconds();
  FAULTLINE_ASSIGN_OR_RETURN(slowloop::TickOutput output, ticks.Tick());
  const double cpu_seconds = CpuSeconds() - cpu_begin;
  if (options.digest) PrintDigest(output);
  WorldFailures map = ticks.MapFailures(*output.embedder);
  std::vector<FoundCluster> clusters =
      ReadClusters(output.state, map, ticks, modes);

  Figures figures;
  figures.emplace_back("seed", options.world.seed);
  figures.emplace_back("clustered", map.truth.size());
  if (!options.tick_only) {
    const absl::Duration begin = base::Clock::System()->SteadyNow();
    FAULTLINE_ASSIGN_OR_RETURN(const cluster::Clustering found,
                               ClusterMap(map, options.threads));
    const absl::Duration taken = base::Clock::System()->SteadyNow() - begin;
    AddScores(map.truth, found.label, modes, &figures);
    figures.emplace_back("cluster_seconds", absl::ToDoubleSeconds(taken));
    if (!options.export_directory.empty()) {
      FAULTLINE_RETURN_IF_ERROR(
          Export(options.export_directory, map, found.label));
      FAULTLINE_RETURN_IF_ERROR(
          ExportRuns(options.export_directory + "/runs.txt", map, ticks));
    }
  }
  AddAcceptance(clusters, map.truth, modes, &figures);
  double total = 0;
  Figures stages;
  for (const v1::TickStage& stage : output.stages) {
    stages.emplace_back(absl::StrCat("stage_", stage.name()), SecondsOf(stage));
    total += SecondsOf(stage);
  }
  for (int window = 1; window < options.windows; ++window) {
    ticks.Advance();
    FAULTLINE_ASSIGN_OR_RETURN(output, ticks.Tick());
    if (options.digest) PrintDigest(output);
    map = ticks.MapFailures(*output.embedder);
    std::vector<FoundCluster> later =
        ReadClusters(output.state, map, ticks, modes);
    AddIdentity(clusters, later, modes, &figures);
    clusters = std::move(later);
  }
  figures.emplace_back("tick_seconds", total);
  figures.emplace_back("tick_cpu_seconds", cpu_seconds);
  figures.insert(figures.end(), stages.begin(), stages.end());
  figures.emplace_back("peak_mb", PeakMegabytes());
  return figures;
}

// Sums over all worlds, by name, in the order of their first appearance.
Figures Mean(const std::vector<Figures>& worlds) {
  Figures mean;
  for (const Figures& world : worlds) {
    for (const auto& [name, value] : world) {
      const auto place = std::find_if(
          mean.begin(), mean.end(),
          [&name = name](const auto& f) { return f.first == name; });
      if (place == mean.end()) {
        mean.emplace_back(name, value / worlds.size());
      } else {
        place->second += value / worlds.size();
      }
    }
  }
  return mean;
}

void Print(const std::vector<Figures>& worlds, const Figures& mean) {
  std::printf("%-18s %10s", "", "mean");
  // The first few worlds beside the mean.
  const size_t shown = std::min<size_t>(worlds.size(), 6);
  for (size_t w = 0; w < shown; ++w) {
    std::printf(" %10s", absl::StrCat("world ", w + 1).c_str());
  }
  std::printf("\n");
  for (size_t f = 0; f < mean.size(); ++f) {
    std::printf("%-18s %10.3f", mean[f].first.c_str(), mean[f].second);
    for (size_t w = 0; w < shown; ++w) {
      std::printf(" %10.3f", worlds[w][f].second);
    }
    std::printf("\n");
  }
}

google::protobuf::Struct ToStruct(const Figures& figures) {
  google::protobuf::Struct object;
  for (const auto& [name, value] : figures) {
    (*object.mutable_fields())[name].set_number_value(value);
  }
  return object;
}

absl::Status WriteJson(const std::string& path,
                       const std::vector<Figures>& worlds,
                       const Figures& mean) {
  google::protobuf::Struct report = ToStruct(mean);
  auto* list = (*report.mutable_fields())["worlds"].mutable_list_value();
  for (const Figures& world : worlds) {
    *list->add_values()->mutable_struct_value() = ToStruct(world);
  }
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(report, &text).ok()) {
    return absl::InternalError("a figure is not a number");
  }
  std::ofstream file(path);
  file << text << "\n";
  return file.good()
             ? absl::OkStatus()
             : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::Status Run(Options options) {
  std::vector<Figures> worlds;
  worlds.reserve(options.worlds);
  for (int w = 0; w < options.worlds; ++w) {
    FAULTLINE_ASSIGN_OR_RETURN(Figures figures, MeasureWorld(options));
    worlds.push_back(std::move(figures));
    ++options.world.seed;
  }
  const Figures mean = Mean(worlds);
  Print(worlds, mean);
  return options.json.empty() ? absl::OkStatus()
                              : WriteJson(options.json, worlds, mean);
}

int Main(int argc, char** argv) {
  using worlds::WorldKind;
  using worlds::WorldStyle;
  const std::map<std::string, WorldKind> kinds = {
      {"planted", WorldKind::kPlanted},
      {"outcome-null", WorldKind::kOutcomeNull},
      {"slice-null", WorldKind::kSliceNull},
      {"hidden-slice-null", WorldKind::kHiddenSliceNull},
      {"rare", WorldKind::kRare},
      {"new-mode", WorldKind::kNewMode},
      {"shift", WorldKind::kShift},
      {"placebo", WorldKind::kPlacebo},
      {"harmful", WorldKind::kHarmful}};
  const std::map<std::string, WorldStyle> styles = {
      {"chains", WorldStyle::kChains}, {"scripts", WorldStyle::kScripts}};
  Options options;
  CLI::App app("Clusters of simulated worlds beside what was planted.");
  app.add_option("--world", options.world.kind, "What makes runs fail")
      ->transform(CLI::CheckedTransformer(kinds));
  app.add_option("--style", options.world.style, "How traces are written")
      ->transform(CLI::CheckedTransformer(styles));
  app.add_option("--seed", options.world.seed, "Of the first world");
  app.add_option("--worlds", options.worlds, "Worlds, of seeds in a row")
      ->check(CLI::PositiveNumber);
  app.add_option("--modes", options.world.modes, "Planted modes")
      ->check(CLI::Range(1, 16));
  app.add_option("--failures", options.failures,
                 "Failures of a window, and successes at most")
      ->check(CLI::Range(100, 10'000'000));
  app.add_option("--windows", options.windows,
                 "Windows without a run in common; 2 measure identity")
      ->check(CLI::Range(1, 2));
  app.add_option("--threads", options.threads, "Of the tick")
      ->check(CLI::PositiveNumber);
  app.add_flag("--tick_only", options.tick_only,
               "Do not cluster the behaviour view once more to score it");
  app.add_flag("--digest", options.digest,
               "Print the digests of each tick's state and policy");
  app.add_option("--json", options.json, "File for the figures");
  app.add_option("--export", options.export_directory,
                 "Directory for vectors, labels and runs")
      ->check(CLI::ExistingDirectory);
  CLI11_PARSE(app, argc, argv);
  if (const absl::Status status = Run(options); !status.ok()) {
    std::fprintf(stderr, "cluster_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) {
  faultline::space::ChooseBlasKernels(argv);
  return faultline::bench::Main(argc, argv);
}
