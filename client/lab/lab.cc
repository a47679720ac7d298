#include "client/lab/lab.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace faultline::lab {
namespace {

constexpr int kMaxTasksPerTick = 1000000;
constexpr size_t kMaxRunIdBytes = 32;
constexpr absl::Duration kBetweenRuns = absl::Milliseconds(10);
// Problems of each family by which the oracle learns what is best for a kind,
// and the tick that they are taken from: nobody's.
constexpr int kOracleProblems = 600;
constexpr int kOracleTick = 0;

v1::Action AlwaysRoute(const std::string& name) {
  v1::Action action;
  auto* candidate = action.mutable_routing_policy()->add_candidates();
  candidate->set_name(name);
  candidate->set_weight(1);
  return action;
}

v1::Action AlwaysStrategy(const std::string& name) {
  v1::Action action;
  action.mutable_prompt_strategy()->set_strategy(name);
  return action;
}

}  // namespace

void Score::Add(const Score& other) {
  problems += other.problems;
  none += other.none;
  random += other.random;
  bandit += other.bandit;
  oracle += other.oracle;
  reached += other.reached;
}

void Scores::Count(Family family, int Score::*failures, bool failed) {
  all.*failures += failed ? 1 : 0;
  by_family[static_cast<size_t>(family)].*failures += failed ? 1 : 0;
}

double Captured(const Score& score, int failures) {
  const int gap = score.none - score.oracle;
  return gap <= 0 ? 0 : static_cast<double>(score.none - failures) / gap;
}

bool Failed(const v1::Trace& trace) {
  return trace.evaluation().outcome() != v1::OUTCOME_PASS;
}

absl::StatusOr<std::unique_ptr<const Lab>> Lab::Create(const Options& options) {
  if (options.tasks_per_tick < 1 || options.tasks_per_tick > kMaxTasksPerTick) {
    return absl::InvalidArgumentError(
        absl::StrCat("tasks_per_tick: ", options.tasks_per_tick,
                     " is not from 1 to ", kMaxTasksPerTick));
  }
  if (options.drift_tick < 1) {
    return absl::InvalidArgumentError("drift_tick: must be at least 1");
  }
  const std::set<Family> distinct(options.families.begin(),
                                  options.families.end());
  if (distinct.empty() || distinct.size() != options.families.size()) {
    return absl::InvalidArgumentError(
        "families: must be at least one, each once");
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
  return std::unique_ptr<const Lab>(new Lab(options));
}

Lab::Lab(const Options& options)
    : options_(options),
      runtime_(AgentRuntime::Create({options.seed, options.world, false})),
      drifted_(options.world == World::kDrift
                   ? AgentRuntime::Create({options.seed, options.world, true})
                   : nullptr),
      oracle_(FindOracle(*runtime_)),
      drifted_oracle_(drifted_ == nullptr ? Oracle() : FindOracle(*drifted_)) {}

std::vector<Problem> Lab::MakeProblems(int tick, int count) const {
  base::Random random(
      base::Mix64(base::Mix64(options_.seed) + static_cast<uint64_t>(tick)));
  std::map<Family, std::deque<Problem>> waiting;
  std::vector<Problem> problems;
  for (int i = 0; i < count; ++i) {
    const Family family = options_.families[i % options_.families.size()];
    std::deque<Problem>& queue = waiting[family];
    if (queue.empty()) {
      for (Problem& problem : runtime_->MakeProblems(family, &random)) {
        queue.push_back(std::move(problem));
      }
    }
    problems.push_back(std::move(queue.front()));
    queue.pop_front();
    problems.back().id =
        absl::StrCat("lab-", options_.run_id, "-", tick, "-", i);
    problems.back().seed = random.Next();
  }
  return problems;
}

Lab::Oracle Lab::FindOracle(const AgentRuntime& runtime) const {
  std::map<Kind, std::vector<int>> failures;
  const int count =
      kOracleProblems * static_cast<int>(options_.families.size());
  for (const Problem& problem : MakeProblems(kOracleTick, count)) {
    const auto& options = AgentRuntime::OptionsOf(problem.family);
    std::vector<int>& counts = failures[{problem.family, problem.kind}];
    counts.resize(options.size());
    for (size_t i = 0; i < options.size(); ++i) {
      counts[i] += Failed(runtime.Run(problem, ForcedActions(options[i]),
                                      absl::UnixEpoch()))
                       ? 1
                       : 0;
    }
  }
  Oracle oracle;
  for (const auto& [kind, counts] : failures) {
    oracle[kind] = static_cast<size_t>(
        std::min_element(counts.begin(), counts.end()) - counts.begin());
  }
  return oracle;
}

bool Lab::OraclePasses(const Problem& problem, int tick) const {
  const bool drifted = drifted_ != nullptr && tick >= options_.drift_tick;
  const Oracle& oracle = drifted ? drifted_oracle_ : oracle_;
  const auto best = oracle.find({problem.family, problem.kind});
  const size_t option = best == oracle.end() ? 0 : best->second;
  return !Failed(runtime(tick).Run(
      problem, ForcedActions(AgentRuntime::OptionsOf(problem.family)[option]),
      absl::UnixEpoch()));
}

TickRuns Lab::RunTick(int tick, const PolicySource& policy,
                      absl::Time end) const {
  TickRuns runs;
  runs.problems = MakeProblems(tick, options_.tasks_per_tick);
  const int count = options_.tasks_per_tick;
  const AgentRuntime& runtime = this->runtime(tick);
  for (int i = 0; i < count; ++i) {
    const Problem& problem = runs.problems[i];
    const absl::Time start = end - (count - i) * kBetweenRuns;
    runs.traces.push_back(runtime.Run(problem, policy, start));
    ++runs.scores.all.problems;
    ++runs.scores.by_family[static_cast<size_t>(problem.family)].problems;
    runs.scores.Count(problem.family, &Score::reached,
                      Failed(runs.traces.back()));
    runs.scores.Count(problem.family, &Score::none,
                      Failed(runtime.Run(problem, NoPolicy(), start)));
    runs.scores.Count(problem.family, &Score::oracle,
                      !OraclePasses(problem, tick));
  }
  return runs;
}

std::vector<KindReport> Lab::MeasureKinds(int problems) const {
  std::map<Kind, KindReport> reports;
  const int count = problems * static_cast<int>(options_.families.size());
  for (const Problem& problem : MakeProblems(kFreshTicks, count)) {
    KindReport& report = reports[{problem.family, problem.kind}];
    report.family = problem.family;
    report.kind = problem.kind;
    ++report.problems;
    const auto fails = [&](const PolicySource& policy) {
      return Failed(runtime_->Run(problem, policy, absl::UnixEpoch())) ? 1 : 0;
    };
    const auto& routes = AgentRuntime::RoutesOf(problem.family);
    report.route_failures.resize(routes.size());
    for (size_t i = 0; i < routes.size(); ++i) {
      report.route_failures[i] +=
          fails(ForcedActions({AlwaysRoute(routes[i].name)}));
    }
    const auto& strategies = AgentRuntime::StrategiesOf(problem.family);
    report.strategy_failures.resize(strategies.size());
    for (size_t i = 0; i < strategies.size(); ++i) {
      report.strategy_failures[i] +=
          fails(ForcedActions({AlwaysStrategy(strategies[i].name)}));
    }
    report.none += fails(NoPolicy());
    report.oracle += OraclePasses(problem, 1) ? 0 : 1;
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
