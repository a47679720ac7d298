// Whether what reviewers decide about clusters lasts: in simulated worlds one
// cluster is rejected, one labelled, two are merged, one is split; then come
// ticks whose failures are all new.
//   decision_bench --failures 2000 --ticks 20 --seed 1000 --worlds 3

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/space/blas.h"
#include "tests/bench/world_tick.h"
#include "tests/worlds/world.h"

namespace faultline::bench {
namespace {

using v1::ClusterReview;

constexpr char kReason[] = "the tool was down that day";
constexpr char kLabel[] = "forgets the second search";
// Share of a mode's failures, or of a cluster's members, that makes one the
// other.
constexpr double kMost = 0.5;

struct Options {
  worlds::WorldOptions world;
  uint64_t failures = 2000;
  int ticks = 20;
  int worlds = 1;
  int threads = 2;
};

// Ticks after a decision, and those in which it held.
struct Tally {
  int ticks = 0;
  int held = 0;
};
using Tallies = std::map<std::string, Tally>;

// A cluster that the tick found, and the planted mode of most of its members.
struct Found {
  const v1::Cluster* value = nullptr;
  const v1::ClusterMembers* members = nullptr;
  int mode = -1;
  bool is_mode = false;  // it holds most of the mode, and little else
};

std::vector<Found> FindClusters(const v1::TickState& state,
                                const WorldTicks& ticks,
                                const WorldFailures& map, int modes) {
  std::vector<double> struck(modes);
  for (const worlds::Truth& run : map.truth) {
    if (run.mode >= 0) ++struck[run.mode];
  }
  std::map<std::string, const v1::ClusterMembers*> members;
  for (const v1::ClusterMembers& of : state.members()) {
    members[of.cluster_id()] = &of;
  }
  std::vector<Found> found;
  for (const v1::Cluster& cluster : state.clusters()) {
    if (cluster.last_seen_tick() != state.tick().tick()) continue;
    Found& value = found.emplace_back();
    value.value = &cluster;
    value.members = members.at(cluster.cluster_id());
    std::map<int, double> count;
    for (const uint64_t sequence : value.members->sequences()) {
      ++count[ticks.truth(sequence).mode];
    }
    double most = 0;
    for (const auto& [mode, runs] : count) {
      if (mode < 0 || runs <= most) continue;
      most = runs;
      value.mode = mode;
    }
    value.is_mode = value.mode >= 0 && most > kMost * struck[value.mode] &&
                    most > kMost * value.members->sequences_size();
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return a.members->sequences_size() > b.members->sequences_size();
  });
  return found;
}

// What the reviewer of one world decided.
struct Decisions {
  std::string rejected, labelled, merged, joined, split;
  std::string split_off;  // known after the next tick
  int rejected_mode = -1;
  std::set<int> merged_modes;
};

ClusterReview MakeReview(ClusterReview::Decision decision,
                         const std::string& id) {
  ClusterReview review;
  review.set_decision(decision);
  review.set_cluster_id(id);
  review.set_reviewer("bench");
  review.set_reason(kReason);
  return review;
}

// The cluster's second part leaves; where it has no parts, what is nearer to
// its second exemplar than to its medoid.
ClusterReview MakeSplit(const Found& cluster, const WorldTicks& ticks) {
  const std::string& id = cluster.value->cluster_id();
  if (!cluster.members->sub_modes().empty()) {
    ClusterReview review = MakeReview(ClusterReview::DECISION_SPLIT, id);
    ClusterReview::Part& part = *review.add_parts();
    for (int i = 0; i < cluster.members->sub_modes_size(); ++i) {
      if (cluster.members->sub_modes(i) == 2) {
        part.add_sequences(cluster.members->sequences(i));
      }
    }
    return review;
  }
  ClusterReview review = MakeReview(ClusterReview::DECISION_CANNOT_LINK, id);
  review.add_other_ids(id);
  for (const std::string& trace_id :
       {cluster.value->medoid(), cluster.value->exemplars(1)}) {
    for (const uint64_t sequence : cluster.members->sequences()) {
      if (ticks.truth(sequence).trace_id == trace_id) review.add_runs(sequence);
    }
  }
  return review;
}

Decisions Decide(const std::vector<Found>& found, WorldTicks* ticks) {
  // One cluster of each mode, largest first.
  std::vector<const Found*> free;
  std::set<int> seen;
  for (const Found& cluster : found) {
    if (cluster.is_mode && seen.insert(cluster.mode).second) {
      free.push_back(&cluster);
    }
  }
  Decisions decided;
  if (free.size() < 5) return decided;
  // The one with the largest second part is split.
  const auto second_part = [](const Found* cluster) -> uint64_t {
    const auto& parts = cluster->value->sub_modes();
    return parts.size() < 2 ? 0 : parts[1].size();
  };
  const auto splits = std::max_element(
      free.begin(), free.end(),
      [&](auto* a, auto* b) { return second_part(a) < second_part(b); });
  decided.split = (*splits)->value->cluster_id();
  ticks->Review(MakeSplit(**splits, *ticks));
  free.erase(splits);

  decided.rejected = free[0]->value->cluster_id();
  decided.rejected_mode = free[0]->mode;
  ticks->Review(MakeReview(ClusterReview::DECISION_REJECT, decided.rejected));

  decided.labelled = free[1]->value->cluster_id();
  ClusterReview label =
      MakeReview(ClusterReview::DECISION_LABEL, decided.labelled);
  label.set_label(kLabel);
  ticks->Review(std::move(label));

  decided.merged = free[2]->value->cluster_id();
  decided.joined = free[3]->value->cluster_id();
  decided.merged_modes = {free[2]->mode, free[3]->mode};
  ClusterReview merge =
      MakeReview(ClusterReview::DECISION_MERGE, decided.merged);
  merge.add_other_ids(decided.joined);
  ticks->Review(std::move(merge));
  return decided;
}

void Check(const Decisions& decided, const v1::TickState& state,
           const std::vector<Found>& found, Tallies* tallies) {
  const auto count = [&](const char* decision, bool held) {
    Tally& tally = (*tallies)[decision];
    ++tally.ticks;
    tally.held += held ? 1 : 0;
  };
  std::map<std::string, const v1::Cluster*> known;
  for (const v1::Cluster& cluster : state.clusters()) {
    known[cluster.cluster_id()] = &cluster;
  }
  const auto is_found = [&](const std::string& id) {
    return known.count(id) > 0 &&
           known.at(id)->last_seen_tick() == state.tick().tick();
  };
  // Whether another cluster than `id` passes for one of the modes.
  const auto elsewhere = [&](const std::string& id,
                             const std::set<int>& modes) {
    return std::any_of(found.begin(), found.end(), [&](const Found& cluster) {
      return cluster.is_mode && modes.count(cluster.mode) > 0 &&
             cluster.value->cluster_id() != id &&
             cluster.value->status() != v1::Cluster::STATUS_RETIRED;
    });
  };
  const v1::Cluster& rejected = *known.at(decided.rejected);
  count("rejected", rejected.status() == v1::Cluster::STATUS_RETIRED &&
                        absl::StrContains(rejected.status_reason(), kReason) &&
                        !elsewhere(decided.rejected, {decided.rejected_mode}));
  count("labelled", known.at(decided.labelled)->title() == kLabel);
  const auto alias = state.aliases().find(decided.joined);
  count("merged", alias != state.aliases().end() &&
                      alias->second == decided.merged &&
                      !elsewhere(decided.merged, decided.merged_modes));
  count("split", is_found(decided.split) && is_found(decided.split_off));
}

absl::StatusOr<bool> MeasureWorld(const Options& options, Tallies* tallies) {
  WorldTicks ticks(options.world, options.failures, options.threads);
  FAULTLINE_ASSIGN_OR_RETURN(slowloop::TickOutput output, ticks.Tick());
  const auto find = [&] {
    return FindClusters(output.state, ticks,
                        ticks.MapFailures(*output.embedder),
                        options.world.modes);
  };
  Decisions decided = Decide(find(), &ticks);
  if (decided.rejected.empty()) return false;
  // A review triggers a tick, before the window moves on.
  FAULTLINE_ASSIGN_OR_RETURN(output, ticks.Tick());
  for (const ClusterReview& review : output.state.cluster_reviews()) {
    if (!review.problem().empty()) {
      return absl::FailedPreconditionError(review.problem());
    }
    if (!review.new_ids().empty()) decided.split_off = review.new_ids(0);
  }
  for (int tick = 0; tick < options.ticks; ++tick) {
    ticks.Advance();
    FAULTLINE_ASSIGN_OR_RETURN(output, ticks.Tick());
    const std::vector<Found> found = find();
    Check(decided, output.state, found, tallies);
    uint64_t sizes[2] = {0, 0};
    for (const Found& cluster : found) {
      const std::string& id = cluster.value->cluster_id();
      if (id == decided.split) sizes[0] = cluster.value->size();
      if (id == decided.split_off) sizes[1] = cluster.value->size();
    }
    absl::PrintF(
        "seed %d, tick %2d: %2d clusters; parts of the split one %d, "
        "%d\n",
        options.world.seed, tick + 1, found.size(), sizes[0], sizes[1]);
  }
  return true;
}

absl::Status Run(Options options) {
  Tallies tallies;
  int judged = 0;
  for (int world = 0; world < options.worlds; ++world) {
    FAULTLINE_ASSIGN_OR_RETURN(const bool reviewed,
                               MeasureWorld(options, &tallies));
    judged += reviewed ? 1 : 0;
    ++options.world.seed;
  }
  absl::PrintF("worlds %d\n", judged);
  for (const auto& [decision, tally] : tallies) {
    absl::PrintF("%s %d %d\n", decision, tally.held, tally.ticks);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const std::map<std::string, worlds::WorldStyle> styles = {
      {"chains", worlds::WorldStyle::kChains},
      {"scripts", worlds::WorldStyle::kScripts}};
  Options options;
  CLI::App app("Whether decisions about clusters last.");
  app.add_option("--style", options.world.style, "How traces are written")
      ->transform(CLI::CheckedTransformer(styles));
  app.add_option("--seed", options.world.seed, "Of the first world");
  app.add_option("--worlds", options.worlds, "Worlds, of seeds in a row")
      ->check(CLI::PositiveNumber);
  app.add_option("--failures", options.failures, "Failures in the window")
      ->check(CLI::PositiveNumber);
  app.add_option("--ticks", options.ticks, "Ticks after the decisions")
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
