#include "lib/intervene/types/proposal_support.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {
constexpr size_t kMinUsual = 20;
// Runs that show how another choice fares.
constexpr size_t kMinOtherRuns = 20;
// Power of the share of the runs in the worth of a scope. At 1 a scope could
// take in any number of runs that gain nothing; near 0 it would shrink to the
// few that gain most.
constexpr double kWidth = 2.0 / 3;
}  // namespace

diagnose::RunSet SampledMembers(const ProposalContext& context) {
  absl::flat_hash_set<std::string> ids;
  for (const v1::Trace* trace : context.member_traces) {
    ids.insert(trace->trace_id());
  }
  diagnose::RunSet members(context.runs.size());
  for (size_t i = 0; i < context.runs.size(); ++i) {
    const embedding::Run& run = *context.runs[i];
    if (context.discovery[i] && run.failed() && ids.contains(run.trace_id)) {
      members.Add(i);
    }
  }
  return members;
}

std::vector<const v1::Trace*> UsualTraces(const ProposalContext& context) {
  const auto scope =
      policy::CompiledPredicate::Compile(context.cluster->scope());
  if (!scope.ok()) return context.success_traces;
  std::vector<const v1::Trace*> usual;
  for (const v1::Trace* trace : context.success_traces) {
    if (scope->Matches(*trace)) usual.push_back(trace);
  }
  return usual.size() < kMinUsual ? context.success_traces : usual;
}

double ScopeWorth(double discovery_runs, const diagnose::Regret& regret) {
  return regret.large ? WorthOfAnyRegret(discovery_runs, regret) : 0;
}

double WorthOfAnyRegret(double discovery_runs, const diagnose::Regret& regret) {
  const auto inside = static_cast<double>(regret.scope_runs);
  if (inside == 0) return 0;
  const double with_choice = static_cast<double>(regret.choice_runs) / inside;
  return std::max(0.0, regret.spared - regret.error) *
         std::max(0.0, regret.spared_in_scope) * with_choice *
         std::pow(inside / discovery_runs, kWidth);
}

std::optional<BetterChoice> FindBetterChoice(
    const ProposalContext& context, const diagnose::ContextTable& table,
    absl::string_view field) {
  if (table.Values(field).size() < 2) return std::nullopt;
  const diagnose::RunSet members = SampledMembers(context);
  const auto discovery = static_cast<double>(table.discovery().Count());
  diagnose::RouteRegret regrets(table, field, members);
  const auto worth = [&](const diagnose::RunSet& runs,
                         const diagnose::RunSet& term) {
    const auto regret = regrets.In(runs, term);
    return regret ? ScopeWorth(discovery, *regret) : 0;
  };
  diagnose::Scope scope = diagnose::SearchScope(table, worth, kScopeGain);
  if (worth(scope.runs, scope.runs) <= 0) return std::nullopt;
  std::optional<diagnose::RouteContrast> contrast =
      diagnose::CompareRoutes(table, scope.runs, field, members);
  if (!contrast || !contrast->arms.Holds()) return std::nullopt;
  const double current =
      diagnose::HeldOutFailureRate(table, contrast->with_choice);
  const double reduction =
      diagnose::HeldOutShare(table, contrast->with_choice) *
      std::max(0.0, current - contrast->arms.better_rate);
  return BetterChoice{std::move(scope), *std::move(contrast), reduction};
}

std::optional<AvoidableCause> FindAvoidableCause(
    const ProposalContext& context, const diagnose::ContextTable& table,
    absl::string_view field, absl::string_view alias) {
  const v1::Cluster& cluster = *context.cluster;
  absl::flat_hash_map<std::string, const v1::CauseEvidence*> causes;
  std::vector<std::string> by_strength;
  for (const v1::CauseEvidence& cause : cluster.diagnosis().causes()) {
    const v1::Comparison& comparison = cause.feature().comparison();
    if (comparison.op() != v1::Comparison::OPERATOR_EQUAL ||
        (comparison.field() != field && comparison.field() != alias)) {
      continue;
    }
    if (causes.try_emplace(comparison.text(), &cause).second) {
      by_strength.push_back(comparison.text());
    }
  }
  const std::vector<const diagnose::Feature*> values = table.Values(field);
  const diagnose::RunSet untreated = ~table.treated();
  for (const std::string& value : by_strength) {
    const auto avoided = std::find_if(
        values.begin(), values.end(), [&](const diagnose::Feature* feature) {
          return feature->comparison.text() == value;
        });
    if (avoided == values.end()) continue;
    const diagnose::RunSet runs = (*avoided)->runs & untreated;
    std::vector<std::pair<double, std::string>> others;
    for (const diagnose::Feature* other : values) {
      if (causes.contains(other->comparison.text()) ||
          other->runs.CountBoth(table.discovery()) < kMinOtherRuns) {
        continue;
      }
      const auto arms = diagnose::CompareArms(table, other->runs & untreated,
                                              runs, other->variable);
      if (arms && arms->difference > 0) {
        others.emplace_back(-arms->difference, other->comparison.text());
      }
    }
    if (others.empty()) continue;
    std::sort(others.begin(), others.end());
    AvoidableCause found;
    found.evidence = causes.at(value);
    *found.scope.mutable_comparison() = (*avoided)->comparison;
    for (auto& [difference, name] : others) {
      found.others.push_back(std::move(name));
    }
    found.expected_reduction =
        found.evidence->attributable_share() *
        static_cast<double>(cluster.size()) /
        std::max(1.0, static_cast<double>(table.discovery().Count()));
    return found;
  }
  return std::nullopt;
}

}  // namespace faultline::intervene
