#include "lib/intervene/types/proposal_support.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {
constexpr size_t kMinUsual = 20;
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

bool NamesCause(const ProposalContext& context,
                absl::Span<const absl::string_view> fields) {
  const auto names = [fields](const v1::Predicate& predicate) {
    return std::any_of(
        fields.begin(), fields.end(), [&](absl::string_view field) {
          return absl::StartsWith(predicate.comparison().field(), field);
        });
  };
  for (const v1::CauseEvidence& cause : context.cluster->diagnosis().causes()) {
    const auto& parts = cause.feature().all().predicates();
    if (names(cause.feature()) ||
        std::any_of(parts.begin(), parts.end(), names)) {
      return true;
    }
  }
  return false;
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
    absl::string_view field, Least least) {
  if (table.Values(field).size() < 2) return std::nullopt;
  const diagnose::RunSet members = SampledMembers(context);
  const auto discovery = static_cast<double>(table.discovery().Count());
  diagnose::RouteRegret regrets(table, field, members);
  const auto worth = [&](const diagnose::RunSet& runs,
                         const diagnose::RunSet& term) {
    const auto regret = regrets.In(runs, term);
    return regret ? ScopeWorth(discovery, *regret, least) : 0;
  };
  diagnose::Scope scope = diagnose::SearchScope(table, worth, kScopeGain);
  if (worth(scope.runs, scope.runs) <= 0) return std::nullopt;
  std::optional<diagnose::RouteContrast> contrast =
      diagnose::CompareRoutes(table, scope.runs, field, members);
  if (!contrast || !Confirms(contrast->arms, least)) return std::nullopt;
  const double current =
      diagnose::HeldOutFailureRate(table, contrast->with_choice);
  const double reduction =
      diagnose::HeldOutShare(table, contrast->with_choice) *
      std::max(0.0, current - contrast->arms.better_rate);
  return BetterChoice{std::move(scope), *std::move(contrast), reduction};
}

}  // namespace faultline::intervene
