#ifndef FAULTLINE_CLIENT_LAB_LAB_H_
#define FAULTLINE_CLIENT_LAB_LAB_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/lab/agent_runtime.h"
#include "client/lab/policy_source.h"
#include "client/lab/problem.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::lab {

// How many of the same problems, with the same random numbers, failed under
// three policies. Tells what is reached of what could be.
struct Score {
  int problems = 0;
  int none = 0;     // no policy at all
  int oracle = 0;   // for each problem the best that any policy could do
  int reached = 0;  // the policy in force

  double Rate(int failures) const {
    return problems == 0 ? 0 : static_cast<double>(failures) / problems;
  }
};

// The share of the gap between no policy and the oracle that is closed:
// (none - reached) / (none - oracle). 0 where there is no gap.
double GapClosed(const Score& score);

// The lab's runs of one tick.
struct TickRuns {
  std::vector<Problem> problems;
  std::vector<v1::Trace> traces;  // parallel to `problems`
  Score score;
  // By Family.
  std::array<Score, 2> by_family;
};

// How often each route fails on one hidden kind, were it always chosen.
struct KindReport {
  Family family;
  std::string kind;
  int problems = 0;
  std::vector<int> route_failures;  // parallel to AgentRuntime::RoutesOf
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
    // Problems in one tick, half of each family.
    int tasks_per_tick = 1500;
    // Stands in every trace id (`lab-RUN-TICK-N`), so that a second lab on the
    // same server sends new traces. 1 to 32 letters, digits and `-`.
    std::string run_id = "0";
  };

  // Trains the models. INVALID_ARGUMENT names the option at fault.
  static absl::StatusOr<std::unique_ptr<const Lab>> Create(
      const Options& options);

  // Runs the problems of a tick (counts from 1) under `policy`. They depend on
  // seed and tick alone. Runs start 10 ms apart; the last one just before
  // `end`.
  TickRuns RunTick(int tick, const PolicySource& policy, absl::Time end) const;

  const AgentRuntime& runtime() const { return *runtime_; }

  // Runs `problems` problems of each family on every route, by kind.
  std::vector<KindReport> MeasureKinds(int problems) const;

 private:
  Lab(const Options& options, std::unique_ptr<const AgentRuntime> runtime);
  std::vector<Problem> MakeProblems(int tick, int count) const;

  const Options options_;
  const std::unique_ptr<const AgentRuntime> runtime_;
};

// One line of the side file: a JSON object with trace_id, family, kind, model
// and answer. What scores clusters by their hidden cause; never sent anywhere.
std::string LabelLine(const Problem& problem, const v1::Trace& trace);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_LAB_H_
