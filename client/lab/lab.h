#ifndef FAULTLINE_CLIENT_LAB_LAB_H_
#define FAULTLINE_CLIENT_LAB_LAB_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/lab/agent_runtime.h"
#include "client/lab/policy_source.h"
#include "client/lab/problem.h"
#include "client/lab/world.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::lab {

// How many of the same problems, with the same random numbers, failed under
// several policies. Tells what is reached of what could be.
struct Score {
  int problems = 0;
  int none = 0;     // no policy at all
  int random = 0;   // actions drawn by lot, without a test
  int bandit = 0;   // one bandit over routes, without context
  int oracle = 0;   // the best actions for the hidden kind
  int reached = 0;  // the policy in force

  double Rate(int failures) const {
    return problems == 0 ? 0 : static_cast<double>(failures) / problems;
  }
  void Add(const Score& other);
};

// Scores of all problems, and by Family.
struct Scores {
  Score all;
  std::array<Score, kFamilies.size()> by_family;

  // Counts one problem's failure in a member of Score.
  void Count(Family family, int Score::*failures, bool failed);
};

// The share of the gap between no policy and the oracle that a policy captures:
// (none - failures) / (none - oracle). 0 where there is no gap.
double Captured(const Score& score, int failures);

// The lab's runs of one tick.
struct TickRuns {
  std::vector<Problem> problems;
  std::vector<v1::Trace> traces;  // parallel to `problems`
  Scores scores;                  // without `random` and `bandit`
};

// How often each way to run fails on one hidden kind, were it always chosen.
struct KindReport {
  Family family;
  std::string kind;
  int problems = 0;
  std::vector<int> route_failures;     // parallel to AgentRuntime::RoutesOf
  std::vector<int> strategy_failures;  // to AgentRuntime::StrategiesOf
  int none = 0;
  int oracle = 0;
};

// Problems and the runtime that answers them. Immutable once created, so
// thread-safe.
class Lab {
 public:
  struct Options {
    // Of models, problems and runs.
    uint64_t seed = 1;
    World world = World::kNormal;
    // First tick at which World::kDrift's parts are the worse ones.
    int drift_tick = 9;
    // Families that problems are taken from in turn; at least one, each once.
    std::vector<Family> families = {kFamilies.begin(), kFamilies.end()};
    // Problems in one tick.
    int tasks_per_tick = 1600;
    // Stands in every trace id (`lab-RUN-TICK-N`), so that a second lab on the
    // same server sends new traces. 1 to 32 letters, digits and `-`.
    std::string run_id = "0";
  };

  // Trains the models. INVALID_ARGUMENT names the option at fault.
  static absl::StatusOr<std::unique_ptr<const Lab>> Create(
      const Options& options);

  // The problems of a tick (counts from 1): they depend on seed, families and
  // tick alone. Ticks from kFreshTicks on are never run: problems for
  // counterfactuals.
  static constexpr int kFreshTicks = 1000000;
  std::vector<Problem> MakeProblems(int tick, int count) const;

  // Runs the problems of a tick under `policy`. Runs start 10 ms apart; the
  // last one just before `end`.
  TickRuns RunTick(int tick, const PolicySource& policy, absl::Time end) const;

  // The runtime of a tick.
  const AgentRuntime& runtime(int tick) const {
    return drifted_ != nullptr && tick >= options_.drift_tick ? *drifted_
                                                              : *runtime_;
  }
  const Options& options() const { return options_; }

  // Runs `problems` problems of each family on every route and strategy, by
  // kind.
  std::vector<KindReport> MeasureKinds(int problems) const;

 private:
  using Kind = std::pair<Family, std::string>;
  // Which of AgentRuntime::OptionsOf fails least, by kind.
  using Oracle = std::map<Kind, size_t>;

  explicit Lab(const Options& options);
  Oracle FindOracle(const AgentRuntime& runtime) const;
  bool OraclePasses(const Problem& problem, int tick) const;

  const Options options_;
  const std::unique_ptr<const AgentRuntime> runtime_;
  const std::unique_ptr<const AgentRuntime> drifted_;  // null: never
  const Oracle oracle_;
  const Oracle drifted_oracle_;
};

bool Failed(const v1::Trace& trace);

// One line of the side file: a JSON object with trace_id, family, kind, model
// and answer. What scores clusters by their hidden cause; never sent anywhere.
std::string LabelLine(const Problem& problem, const v1::Trace& trace);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_LAB_H_
