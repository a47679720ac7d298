// The whole loop over simulated worlds: agents that apply the policy, the real
// tick, and what their runs would have come to without a policy, with random
// changes, with one bandit over all changes, and with the best change each time
// (METHODS 7).
//   loop_bench --world planted --seed 1000 --worlds 5
// Seeds 1 to 99 are for tuning, from 1000 on for showing.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "faultline/v1/intervention.pb.h"
#include "lib/base/status_macros.h"
#include "lib/policy/policy_matcher.h"
#include "lib/policy/predicate.h"
#include "lib/slowloop/project_config.h"
#include "lib/space/blas.h"
#include "tests/bench/world_tick.h"
#include "tests/worlds/dice.h"
#include "tests/worlds/world.h"

namespace faultline::bench {
namespace {

using v1::Intervention;
using worlds::Changes;
using worlds::Dice;
using worlds::World;

// Labels of the dice of this program.
enum Label : uint64_t { kRoute = 100, kBandit, kRandom };

struct Options {
  worlds::WorldOptions world;
  int worlds = 1;
  uint64_t ticks = 16;
  int threads = 2;
  bool verbose = false;
  std::string json;
};

// Figures of one world. Rates are the runs' probabilities of failure, which the
// simulator knows, so that luck does not enter.
struct Figures {
  // Mean over the last quarter of the ticks.
  double none = 0, random = 0, bandit = 0, ours = 0, oracle = 0;
  int started = 0;
  int confirmed = 0;
  int false_confirmed = 0;  // their runs fail as often with as without
  int harmful_started = 0;  // their runs fail more often with than without
  int harmful_ended = 0;    // of these, rolled back or ended otherwise
  // Of the mode that begins late: ticks until a cluster of it may act; -1:
  // none.
  int ticks_to_find = -1;
  std::vector<double> by_tick;  // ours

  double captured() const {
    return none > oracle ? (none - ours) / (none - oracle) : 0;
  }
  double captured_by_bandit() const {
    return none > oracle ? (none - bandit) / (none - oracle) : 0;
  }
};

// The changes that one bandit without context chooses from, and that random
// ones are drawn from.
std::vector<Changes> SingleChanges(const World& world) {
  std::vector<Changes> all(1);
  for (int m = 0; m + 1 < world.sizes().models; ++m) {
    all.emplace_back().model = m;
  }
  for (int p = 0; p < world.sizes().prompts; ++p) all.emplace_back().prompt = p;
  all.emplace_back().drops_old_records = true;
  all.emplace_back().refuses_conflicts = true;
  return all;
}

// Mean rates by tick of runs that `choose` changes. `learn` is told of each
// outcome.
template <typename Choose, typename Learn>
double LateRate(const World& world, const Options& options,
                const Choose& choose, const Learn& learn) {
  const uint64_t runs = options.ticks * options.world.runs_per_tick;
  const uint64_t late = runs - runs / 4;
  double sum = 0;
  for (uint64_t i = 0; i < runs; ++i) {
    const Changes changes = choose(i);
    learn(i, changes);
    if (i >= late) sum += world.FailureRate(i, changes);
  }
  return sum / static_cast<double>(runs - late);
}

// Beta-distributed number by two gamma-distributed ones of whole shapes.
double Beta(int a, int b, Dice* dice) {
  const auto gamma = [dice](int shape) {
    double sum = 0;
    for (int i = 0; i < shape; ++i) {
      sum -= std::log(1 - static_cast<double>(dice->Next() >> 11) * 0x1p-53);
    }
    return sum;
  };
  const double x = gamma(a);
  return x / (x + gamma(b));
}

double BanditRate(const World& world, const Options& options) {
  const std::vector<Changes> arms = SingleChanges(world);
  struct Count {
    int passed = 0;
    int failed = 0;
  };
  std::vector<Count> counts(arms.size());
  Dice dice(options.world.seed, kBandit);
  size_t chosen = 0;
  // Thompson sampling; the draws are renewed every ten runs.
  return LateRate(
      world, options,
      [&](uint64_t i) {
        if (i % 10 == 0) {
          double best = -1;
          for (size_t a = 0; a < arms.size(); ++a) {
            const double draw =
                Beta(1 + counts[a].passed, 1 + counts[a].failed, &dice);
            if (draw > best) {
              best = draw;
              chosen = a;
            }
          }
        }
        return arms[chosen];
      },
      [&](uint64_t i, const Changes& changes) {
        const bool failed = world.Draw(i, changes).truth.failed;
        (failed ? counts[chosen].failed : counts[chosen].passed) += 1;
      });
}

// A change drawn anew each tick, for half of the runs, without a test.
double RandomRate(const World& world, const Options& options) {
  const std::vector<Changes> arms = SingleChanges(world);
  return LateRate(
      world, options,
      [&](uint64_t i) {
        Dice dice(options.world.seed, kRandom, i / options.world.runs_per_tick);
        const size_t chosen = 1 + dice.Below(arms.size() - 1);
        return i % 2 == 0 ? arms[chosen] : Changes();
      },
      [](uint64_t, const Changes&) {});
}

// The agents of a world, and the slow loop that watches them.
class Loop {
 public:
  explicit Loop(const Options& options)
      : options_(options),
        world_(options.world),
        driver_(Config(), options.threads) {}

  absl::StatusOr<Figures> Run() {
    const uint64_t late = options_.ticks - options_.ticks / 4;
    Figures figures;
    if (options_.verbose) PrintModes();
    for (uint64_t tick = 0; tick < options_.ticks; ++tick) {
      const double rate = Act(tick);
      figures.by_tick.push_back(rate);
      if (tick >= late) {
        figures.ours += rate / static_cast<double>(options_.ticks - late);
      }
      FAULTLINE_ASSIGN_OR_RETURN(const slowloop::TickOutput output,
                                 driver_.Tick());
      Watch(tick, output.state, &figures);
    }
    const auto nothing = [](uint64_t, const Changes&) {};
    figures.none = LateRate(
        world_, options_, [](uint64_t) { return Changes(); }, nothing);
    figures.oracle = LateRate(
        world_, options_, [this](uint64_t i) { return world_.BestChanges(i); },
        nothing);
    figures.bandit = BanditRate(world_, options_);
    figures.random = RandomRate(world_, options_);
    Judge(driver_.state(), &figures);
    return figures;
  }

 private:
  static v1::ProjectConfig Config() {
    v1::ProjectConfig config = *slowloop::ResolveConfig({}, {});
    for (int kind = v1::InterventionKind_MIN + 1;
         kind <= v1::InterventionKind_MAX; ++kind) {
      config.add_auto_approve(static_cast<v1::InterventionKind>(kind));
    }
    return config;
  }

  // The runs of one tick under the policy in force; their mean rate.
  double Act(uint64_t tick) {
    const auto matcher = policy::PolicyMatcher::Create(driver_.policy());
    double sum = 0;
    const uint64_t runs = options_.world.runs_per_tick;
    for (uint64_t i = tick * runs; i < (tick + 1) * runs; ++i) {
      const v1::Trace begun = world_.Begin(i);
      const std::vector<policy::RuleMatch> matches =
          matcher->Match(begun, begun.trace_id(), driver_.now());
      Changes changes;
      double propensity = 0;
      Dice dice(options_.world.seed, kRoute, i);
      for (const policy::RuleMatch& match : matches) {
        if (!match.applies) continue;
        world_.Carry(match.rule->action(), &dice, &changes, &propensity);
      }
      worlds::SimulatedRun run = world_.Draw(i, changes);
      if (propensity > 0) {
        for (v1::Decision& decision : *run.trace.mutable_decisions()) {
          decision.set_propensity(propensity);
        }
      }
      *run.trace.mutable_exposure() =
          matcher->MakeExposure(matches, begun.trace_id());
      driver_.Append(run.trace);
      truths_.push_back(std::move(run.truth));
      sum += world_.FailureRate(i, changes);
    }
    return sum / static_cast<double>(runs);
  }

  // Looks for the mode that begins late among the clusters that may act.
  void Watch(uint64_t tick, const v1::TickState& state,
             Figures* figures) const {
    if (options_.verbose) Print(tick, state);
    if (options_.world.kind != worlds::WorldKind::kNewMode ||
        figures->ticks_to_find >= 0) {
      return;
    }
    std::set<std::string> acting;
    for (const v1::Cluster& cluster : state.clusters()) {
      if (cluster.status() == v1::Cluster::STATUS_STABLE) {
        acting.insert(cluster.cluster_id());
      }
    }
    for (const v1::ClusterMembers& members : state.members()) {
      if (acting.count(members.cluster_id()) == 0) continue;
      int of_mode = 0;
      for (const uint64_t sequence : members.sequences()) {
        of_mode +=
            truths_[sequence - 1].mode == options_.world.modes - 1 ? 1 : 0;
      }
      if (2 * of_mode > members.sequences_size()) {
        figures->ticks_to_find =
            static_cast<int>(tick - options_.world.onset_tick);
      }
    }
  }

  void PrintModes() const {
    constexpr const char* kNames[] = {"task type", "model",   "prompt",
                                      "memory",    "version", "tool set"};
    for (const worlds::PlantedMode& mode : world_.modes()) {
      std::printf("mode %d: rate %.3f, %.3f where",
                  static_cast<int>(&mode - world_.modes().data()), mode.rate,
                  mode.trigger_rate);
      for (const worlds::Condition& cause : mode.trigger) {
        std::printf(" %s %d", kNames[static_cast<int>(cause.variable)],
                    cause.value);
      }
      std::printf("\n");
    }
  }

  static void Print(uint64_t tick, const v1::TickState& state) {
    std::printf("tick %d: %d clusters, %d may act\n",
                static_cast<int>(tick + 1),
                static_cast<int>(state.tick().clusters()),
                static_cast<int>(state.tick().stable_clusters()));
    for (const Intervention& intervention : state.interventions()) {
      const Intervention::Transition& last = *intervention.history().rbegin();
      if (last.tick() != tick + 1) continue;
      std::printf("  %s %s: %s\n", intervention.intervention_id().c_str() + 20,
                  Intervention::Status_Name(intervention.status()).c_str() + 7,
                  last.to() == Intervention::STATUS_TRIAL
                      ? intervention.summary().c_str()
                      : last.reason().c_str());
    }
  }

  // What its action does to the rate of the runs in its scope.
  double EffectOf(const Intervention& intervention) const {
    policy::PredicateSet scopes;
    const absl::StatusOr<int> scope = scopes.Add(intervention.scope());
    if (!scope.ok()) return 0;
    double effect = 0;
    const uint64_t runs = options_.ticks * options_.world.runs_per_tick;
    for (uint64_t i = 0; i < runs; i += 7) {
      const v1::Trace begun = world_.Begin(i);
      if (!policy::PredicateSet::Reader(scopes, begun).Matches(*scope))
        continue;
      Changes changes;
      double propensity = 0;
      Dice dice(options_.world.seed, kRoute, i);
      world_.Carry(intervention.action(), &dice, &changes, &propensity);
      effect += world_.FailureRate(i, changes) - world_.FailureRate(i);
    }
    return effect;
  }

  void Judge(const v1::TickState& state, Figures* figures) const {
    for (const Intervention& intervention : state.interventions()) {
      bool started = false;
      bool confirmed = false;
      for (const Intervention::Transition& change : intervention.history()) {
        started |= change.to() == Intervention::STATUS_TRIAL;
        confirmed |= change.to() == Intervention::STATUS_CONFIRMED;
      }
      if (!started) continue;
      const double effect = EffectOf(intervention);
      figures->started += 1;
      figures->confirmed += confirmed ? 1 : 0;
      figures->false_confirmed += confirmed && effect >= 0 ? 1 : 0;
      if (effect <= 0) continue;
      figures->harmful_started += 1;
      const bool lives =
          intervention.status() == Intervention::STATUS_TRIAL ||
          intervention.status() == Intervention::STATUS_CONFIRMED;
      figures->harmful_ended += lives ? 0 : 1;
    }
  }

  const Options options_;
  const World world_;
  TickDriver driver_;
  std::vector<worlds::Truth> truths_;  // by sequence
};

std::string Json(uint64_t seed, const Figures& f) {
  std::string by_tick =
      absl::StrJoin(f.by_tick, ", ", [](std::string* out, double rate) {
        absl::StrAppendFormat(out, "%.4f", rate);
      });
  return absl::StrFormat(
      "{\"seed\": %d, \"none\": %.4f, \"random\": %.4f, \"bandit\": %.4f, "
      "\"ours\": %.4f, \"oracle\": %.4f, \"captured\": %.4f, "
      "\"captured_by_bandit\": %.4f, \"started\": %d, \"confirmed\": %d, "
      "\"false_confirmed\": %d, \"harmful_started\": %d, "
      "\"harmful_ended\": %d, \"ticks_to_find\": %d, \"by_tick\": [%s]}",
      seed, f.none, f.random, f.bandit, f.ours, f.oracle, f.captured(),
      f.captured_by_bandit(), f.started, f.confirmed, f.false_confirmed,
      f.harmful_started, f.harmful_ended, f.ticks_to_find, by_tick);
}

absl::Status Run(Options options) {
  std::ofstream json;
  if (!options.json.empty()) json.open(options.json);
  std::printf("%6s %6s %6s %6s %6s %6s %8s %8s %7s %9s %5s %7s %5s\n", "seed",
              "none", "random", "bandit", "ours", "oracle", "captured",
              "(bandit)", "started", "confirmed", "false", "harmful", "found");
  for (int w = 0; w < options.worlds; ++w, ++options.world.seed) {
    FAULTLINE_ASSIGN_OR_RETURN(const Figures f, Loop(options).Run());
    std::printf(
        "%6d %6.3f %6.3f %6.3f %6.3f %6.3f %8.2f %8.2f %7d %9d %5d %3d/%-3d "
        "%5d\n",
        static_cast<int>(options.world.seed), f.none, f.random, f.bandit,
        f.ours, f.oracle, f.captured(), f.captured_by_bandit(), f.started,
        f.confirmed, f.false_confirmed, f.harmful_ended, f.harmful_started,
        f.ticks_to_find);
    std::fflush(stdout);
    if (json.is_open()) json << Json(options.world.seed, f) << std::endl;
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  using worlds::WorldKind;
  Options options;
  CLI::App cli("Runs the whole loop over simulated worlds");
  const std::map<std::string, WorldKind> kinds = {
      {"planted", WorldKind::kPlanted},
      {"outcome-null", WorldKind::kOutcomeNull},
      {"slice-null", WorldKind::kSliceNull},
      {"hidden-slice-null", WorldKind::kHiddenSliceNull},
      {"new-mode", WorldKind::kNewMode},
      {"shift", WorldKind::kShift},
      {"placebo", WorldKind::kPlacebo},
      {"harmful", WorldKind::kHarmful}};
  cli.add_option("--world", options.world.kind, "Which world")
      ->transform(CLI::CheckedTransformer(kinds));
  cli.add_option("--seed", options.world.seed, "Of the first world");
  cli.add_option("--worlds", options.worlds, "How many")
      ->check(CLI::PositiveNumber);
  cli.add_option("--ticks", options.ticks, "Of each world")
      ->check(CLI::Range(4, 1000));
  cli.add_option("--runs_per_tick", options.world.runs_per_tick, "Runs")
      ->check(CLI::PositiveNumber);
  cli.add_option("--modes", options.world.modes, "Planted modes");
  cli.add_option("--threads", options.threads, "Of a tick");
  cli.add_flag("--verbose", options.verbose, "Say what every tick decides");
  cli.add_option("--json", options.json, "Writes a line for each world here");
  CLI11_PARSE(cli, argc, argv);
  const absl::Status status = Run(options);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
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
