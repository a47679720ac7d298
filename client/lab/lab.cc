#include "client/lab/lab.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/lab/arithmetic_world.h"
#include "client/lab/reasoning_world.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace faultline::lab {
namespace {

constexpr int kMaxTasksPerTick = 1000000;
constexpr size_t kMaxRunIdBytes = 32;
constexpr absl::Duration kBetweenRuns = absl::Milliseconds(10);

bool Failed(const v1::Trace& trace) {
  return trace.evaluation().outcome() != v1::OUTCOME_PASS;
}

v1::Action AlwaysRoute(const std::string& name) {
  v1::Action action;
  auto* candidate = action.mutable_routing_policy()->add_candidates();
  candidate->set_name(name);
  candidate->set_weight(1);
  return action;
}

}  // namespace

double GapClosed(const Score& score) {
  const int gap = score.none - score.oracle;
  return gap <= 0 ? 0 : static_cast<double>(score.none - score.reached) / gap;
}

absl::StatusOr<std::unique_ptr<const Lab>> Lab::Create(const Options& options) {
  if (options.tasks_per_tick < 1 || options.tasks_per_tick > kMaxTasksPerTick) {
    return absl::InvalidArgumentError(
        absl::StrCat("tasks_per_tick: ", options.tasks_per_tick,
                     " is not from 1 to ", kMaxTasksPerTick));
  }
  bool id_ok =
      !options.run_id.empty() && options.run_id.size() <= kMaxRunIdBytes;
  for (const char c : options.run_id) {
    id_ok &= absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-';
  }
  if (!id_ok) {
    return absl::InvalidArgumentError(absl::StrCat(
        "run_id: must be 1 to ", kMaxRunIdBytes, " letters, digits and `-`"));
  }
  return std::unique_ptr<const Lab>(
      new Lab(options, AgentRuntime::Create(options.seed)));
}

Lab::Lab(const Options& options, std::unique_ptr<const AgentRuntime> runtime)
    : options_(options), runtime_(std::move(runtime)) {}

std::vector<Problem> Lab::MakeProblems(int tick, int count) const {
  base::Random random(
      base::Mix64(base::Mix64(options_.seed) + static_cast<uint64_t>(tick)));
  std::vector<Problem> problems;
  for (int i = 0; i < count; ++i) {
    problems.push_back(i % 2 == 0
                           ? MakeReasoningProblem(Phrasing::kAsked, &random)
                           : MakeArithmeticProblem(&random));
    problems.back().id =
        absl::StrCat("lab-", options_.run_id, "-", tick, "-", i);
    problems.back().seed = random.Next();
  }
  return problems;
}

TickRuns Lab::RunTick(int tick, const PolicySource& policy,
                      absl::Time end) const {
  TickRuns runs;
  runs.problems = MakeProblems(tick, options_.tasks_per_tick);
  const int count = options_.tasks_per_tick;
  for (int i = 0; i < count; ++i) {
    const Problem& problem = runs.problems[i];
    const absl::Time start = end - (count - i) * kBetweenRuns;
    runs.traces.push_back(runtime_->Run(problem, policy, start));
    const bool none_failed = Failed(runtime_->Run(problem, NoPolicy(), start));
    const bool oracle_failed = !runtime_->OraclePasses(problem);
    for (Score* score :
         {&runs.score, &runs.by_family[static_cast<size_t>(problem.family)]}) {
      ++score->problems;
      score->none += none_failed ? 1 : 0;
      score->oracle += oracle_failed ? 1 : 0;
      score->reached += Failed(runs.traces.back()) ? 1 : 0;
    }
  }
  return runs;
}

std::vector<KindReport> Lab::MeasureKinds(int problems) const {
  std::map<std::pair<Family, std::string>, KindReport> reports;
  // Tick 0 is nobody's: what is measured is not what is then run.
  for (const Problem& problem : MakeProblems(0, 2 * problems)) {
    KindReport& report = reports[{problem.family, problem.kind}];
    const std::vector<Route>& routes = AgentRuntime::RoutesOf(problem.family);
    report.family = problem.family;
    report.kind = problem.kind;
    report.route_failures.resize(routes.size());
    ++report.problems;
    for (size_t i = 0; i < routes.size(); ++i) {
      const ForcedActions always({AlwaysRoute(routes[i].name)});
      report.route_failures[i] +=
          Failed(runtime_->Run(problem, always, absl::UnixEpoch())) ? 1 : 0;
    }
    report.none +=
        Failed(runtime_->Run(problem, NoPolicy(), absl::UnixEpoch())) ? 1 : 0;
    report.oracle += runtime_->OraclePasses(problem) ? 0 : 1;
  }
  std::vector<KindReport> sorted;
  sorted.reserve(reports.size());
  for (auto& [key, report] : reports) sorted.push_back(std::move(report));
  return sorted;
}

std::string LabelLine(const Problem& problem, const v1::Trace& trace) {
  return nlohmann::json{
      {"trace_id", trace.trace_id()}, {"family", FamilyName(problem.family)},
      {"kind", problem.kind},         {"model", trace.system().model()},
      {"answer", problem.answer},     {"passed", !Failed(trace)}}
      .dump();
}

}  // namespace faultline::lab
