#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/behavior_contrast.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/scope.h"
#include "lib/embedding/feature_channel.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"
#include "lib/intervene/types/proposal_support.h"
#include "lib/policy/predicate.h"

namespace faultline::intervene {
namespace {

using diagnose::ArmContrast;
using diagnose::ContextTable;
using diagnose::Prognostic;
using diagnose::RunSet;
using v1::Guardrail;

constexpr char kConfidence[] = "confidence";
constexpr double kMaxThreshold = 1e6;
// A step supports an answer where usual successes have it so much more often
// than members.
constexpr double kMinSupportGap = 0.2;
constexpr double kMaxSupportedMembers = 0.5;
// Share of the successes in scope that must have it: the others got along.
constexpr double kMinUsualShare = 0.6;
// Least runs from which a rate or a quantile is taken.
constexpr double kMinRuns = 20;
constexpr double kUsualQuantile = 0.99;
// Share of the members beyond what is usual that makes a loop the matter.
constexpr double kMinBeyond = 0.5;
// Limits below these would cut short runs that are no loops.
constexpr double kMinRepeats = 2;
constexpr double kMinStepLimit = 8;
// Share of the failures below a threshold less that of the successes.
constexpr double kMinSeparation = 0.2;
// Scalars of Run::numeric.
constexpr int kLogSteps = 0;
constexpr int kLogRepeats = 3;

absl::string_view KindText(v1::Step::Kind kind) {
  if (kind == v1::Step::KIND_TOOL) return "tool";
  if (kind == v1::Step::KIND_RETRIEVAL) return "retrieval";
  return kind == v1::Step::KIND_MEMORY ? "memory" : "";
}

// A step that may be required: kind in words, and name.
using StepKey = std::pair<std::string, std::string>;

// The token of such a step, as the tool channel writes it.
std::string StepToken(const StepKey& step) {
  const std::string name = embedding::NormalizeName(step.second);
  if (step.first == "tool") {
    return absl::StrCat("tool t:", name.empty() ? "tool" : name);
  }
  return absl::StrCat("tool t:", step.first, name.empty() ? "" : ":", name);
}

// Share of the traces that have each step, done without error.
std::map<StepKey, double> StepShares(
    const std::vector<const v1::Trace*>& traces) {
  std::map<StepKey, double> shares;
  for (const v1::Trace* trace : traces) {
    std::set<StepKey> seen;
    for (const v1::Step& step : trace->steps()) {
      const absl::string_view kind = KindText(step.kind());
      // What the user does is not the agent's to require.
      if (kind.empty() || step.status() == v1::Step::STATUS_ERROR ||
          step.actor() == "user") {
        continue;
      }
      seen.emplace(std::string(kind), step.name());
    }
    for (const StepKey& step : seen) {
      shares[step] += 1 / static_cast<double>(traces.size());
    }
  }
  return shares;
}

// One call of Propose.
class Search {
 public:
  Search(const ProposalContext& context, const ContextTable& table)
      : context_(context),
        table_(table),
        window_{context.runs, context.discovery, context.names},
        natural_(~table.treated()),
        members_(SampledMembers(context)),
        scope_{context.cluster->scope(),
               MatchingRuns(window_, context.cluster->scope())},
        routes_(diagnose::CompareRoutes(table, scope_.runs,
                                        diagnose::kRouteField, members_)) {
    if (routes_ && !routes_->arms.Holds()) routes_.reset();
  }

  std::vector<Proposal> Run() {
    if (members_.Count() == 0) return {};
    RequireSupport();
    LimitRepeats();
    LimitSteps();
    RequireConfidence();
    std::stable_sort(proposals_.begin(), proposals_.end(),
                     [](const Proposal& a, const Proposal& b) {
                       return a.expected_reduction > b.expected_reduction;
                     });
    return std::move(proposals_);
  }

 private:
  // Members answer without a step that usual successes take.
  void RequireSupport() {
    const std::map<StepKey, double> members =
        StepShares(context_.member_traces);
    const StepKey* best = nullptr;
    double best_gap = kMinSupportGap;
    const std::map<StepKey, double> usual = StepShares(UsualTraces(context_));
    for (const auto& [step, share] : usual) {
      const auto found = members.find(step);
      const double member_share = found == members.end() ? 0 : found->second;
      if (member_share > kMaxSupportedMembers) continue;
      if (share - member_share <= best_gap) continue;
      best = &step;
      best_gap = share - member_share;
    }
    if (best == nullptr) return;

    const std::string token = StepToken(*best);
    const RunSet with = RunsWithToken(
        window_, [&token](absl::string_view text) { return text == token; });
    const auto discovery = static_cast<double>(table_.discovery().Count());
    diagnose::RegretCounter regrets(table_, {&with}, members_);
    const auto worth = [&](const RunSet& runs, const RunSet& term) {
      regrets.Count(runs, term);
      const diagnose::Regret regret = regrets.Of(0);
      return regret.runs >= kMinRuns && IsUsual(regret)
                 ? ScopeWorth(discovery, regret)
                 : 0;
    };
    const diagnose::Scope scope =
        diagnose::SearchScope(table_, worth, kScopeGain);
    if (worth(scope.runs, scope.runs) <= 0) return;
    const RunSet runs =
        RunsWithChoice(table_, scope.runs, regrets.Of(0)) & natural_;
    const auto arms = diagnose::CompareArms(table_, runs & with, runs & ~with,
                                            Prognostic::kNone);
    if (!arms || !arms->Holds()) return;

    Proposal& proposal = proposals_.emplace_back();
    Guardrail& guardrail = *proposal.action.mutable_guardrail();
    guardrail.set_check(Guardrail::CHECK_STEP_REQUIRED);
    guardrail.set_required_step(best->first);
    guardrail.set_required_name(best->second);
    guardrail.set_fallback(Guardrail::FALLBACK_REQUIRE_STEP);
    proposal.scope = scope.predicate;
    proposal.expected_reduction = Spared(runs & ~with, *arms);
    proposal.summary = absl::StrFormat(
        "Before an answer leaves where %s, require a %s step `%s`: held-out "
        "runs with it failed in %.0f %% of %d, those without it in %.0f %% of "
        "%d.",
        policy::PredicateText(scope.predicate), best->first, best->second,
        100 * arms->better_rate, arms->better_runs, 100 * arms->other_rate,
        arms->other_runs);
  }

  // Most discovery successes that had the choice took the step.
  static bool IsUsual(const diagnose::Regret& regret) {
    return static_cast<double>(regret.better_successes) >=
           kMinUsualShare * static_cast<double>(regret.choice_successes);
  }

  void LimitRepeats() {
    Limit(Guardrail::CHECK_MAX_REPEATS, "repetitions of a step", kMinRepeats,
          [](const embedding::Run& run) {
            return std::exp(run.numeric[kLogRepeats]);
          });
  }

  void LimitSteps() {
    Limit(Guardrail::CHECK_MAX_STEPS, "steps", kMinStepLimit,
          [](const embedding::Run& run) {
            return std::expm1(run.numeric[kLogSteps]);
          });
  }

  // Members go beyond nearly every success in scope, by some count.
  template <typename CountOf>
  void Limit(Guardrail::Check check, absl::string_view what, double least,
             const CountOf& count_of) {
    const RunSet successes =
        table_.discovery() & ~table_.failed() & scope_.runs & natural_;
    std::vector<std::pair<size_t, double>> counts;
    std::vector<double> usual;
    (scope_.runs | members_).ForEach([&](size_t run) {
      const double exact = count_of(*context_.runs[run]);
      const double count = std::isnan(exact) ? 0 : std::round(exact);
      counts.emplace_back(run, count);
      if (successes.Has(run)) usual.push_back(count);
    });
    if (usual.size() < kMinRuns) return;
    std::sort(usual.begin(), usual.end());
    const double limit = std::max(
        least,
        usual[static_cast<size_t>(std::ceil(kUsualQuantile * usual.size())) -
              1]);
    RunSet beyond(context_.runs.size());  // of the scope and the members
    for (const auto& [run, count] : counts) {
      if (count > limit) beyond.Add(run);
    }
    if (beyond.CountBoth(members_) <
        kMinBeyond * static_cast<double>(members_.Count())) {
      return;
    }
    const RunSet runs = scope_.runs & natural_;
    const auto arms = diagnose::CompareArms(table_, runs & ~beyond,
                                            runs & beyond, Prognostic::kNone);
    if (!arms || !arms->Holds()) return;

    Proposal& proposal = proposals_.emplace_back();
    Guardrail& guardrail = *proposal.action.mutable_guardrail();
    guardrail.set_check(check);
    guardrail.set_threshold(limit);
    proposal.scope = scope_.predicate;
    proposal.summary = absl::StrFormat(
        "Stop runs where %s after %g %s: 99 %% of the successes have no more, "
        "held-out runs beyond it failed in %.0f %% of %d.",
        policy::PredicateText(scope_.predicate), limit, what,
        100 * arms->other_rate, arms->other_runs);
    SetFallback(runs & beyond, *arms, &proposal);
  }

  // Confidence tells failures from successes.
  void RequireConfidence() {
    const RunSet runs = scope_.runs & natural_;
    std::vector<std::pair<size_t, double>> confidence;
    std::vector<double> values;  // of the discovery side
    RunSet known(context_.runs.size());
    runs.ForEach([&](size_t run) {
      const double value = context_.runs[run]->confidence;
      if (value < 0) return;
      known.Add(run);
      confidence.emplace_back(run, value);
      if (table_.discovery().Has(run)) values.push_back(value);
    });
    if (values.size() < 2 * kMinRuns) return;
    std::sort(values.begin(), values.end());
    const RunSet discovery = known & table_.discovery();
    const RunSet failures = discovery & table_.failed();
    const RunSet successes = discovery & ~table_.failed();
    double threshold = 0;
    double best = kMinSeparation;
    RunSet below(context_.runs.size());
    for (int decile = 1; decile < 10; ++decile) {
      // Two decimals are all that a threshold deserves.
      const double value =
          std::round(100 * values[decile * values.size() / 10]) / 100;
      RunSet candidate(context_.runs.size());
      for (const auto& [run, confident] : confidence) {
        if (confident < value) candidate.Add(run);
      }
      const double separation =
          static_cast<double>(candidate.CountBoth(failures)) /
              std::max<double>(1, static_cast<double>(failures.Count())) -
          static_cast<double>(candidate.CountBoth(successes)) /
              std::max<double>(1, static_cast<double>(successes.Count()));
      if (separation <= best) continue;
      best = separation;
      threshold = value;
      below = std::move(candidate);
    }
    if (threshold <= 0) return;
    const auto arms = diagnose::CompareArms(table_, known & ~below, below,
                                            Prognostic::kAnswerer);
    if (!arms || !arms->Holds()) return;

    Proposal proposal;
    Guardrail& guardrail = *proposal.action.mutable_guardrail();
    guardrail.set_check(Guardrail::CHECK_SIGNAL_AT_LEAST);
    guardrail.set_signal(kConfidence);
    guardrail.set_threshold(threshold);
    proposal.scope = scope_.predicate;
    proposal.summary = absl::StrFormat(
        "Do not let answers with confidence below %g leave where %s: held-out "
        "runs below it failed in %.0f %% of %d, the others in %.0f %% of %d.",
        threshold, policy::PredicateText(scope_.predicate),
        100 * arms->other_rate, arms->other_runs, 100 * arms->better_rate,
        arms->better_runs);
    SetFallback(below, *arms, &proposal);
    // To abstain is the last resort.
    if (guardrail.fallback() == Guardrail::FALLBACK_ABSTAIN &&
        !proposals_.empty()) {
      return;
    }
    proposals_.push_back(std::move(proposal));
  }

  // The best candidate in scope, where it does better than the runs that the
  // check stops; else no answer, which spares nothing that is counted.
  void SetFallback(const RunSet& stopped, const ArmContrast& arms,
                   Proposal* proposal) const {
    Guardrail& guardrail = *proposal->action.mutable_guardrail();
    if (routes_ && routes_->arms.better_rate < arms.other_rate) {
      guardrail.set_fallback(Guardrail::FALLBACK_ROUTE);
      guardrail.set_fallback_route(routes_->best.front());
      ArmContrast rerouted = arms;
      rerouted.difference = arms.other_rate - routes_->arms.better_rate;
      proposal->expected_reduction = Spared(stopped, rerouted);
      absl::StrAppend(&proposal->summary, " Ask ", routes_->best.front(),
                      " instead.");
    } else {
      guardrail.set_fallback(Guardrail::FALLBACK_ABSTAIN);
      absl::StrAppend(&proposal->summary, " Give no answer instead.");
    }
  }

  // Share of all runs that `stopped` would be spared.
  double Spared(const RunSet& stopped, const ArmContrast& arms) const {
    return HeldOutShare(table_, stopped) * std::max(0.0, arms.difference);
  }

  const ProposalContext& context_;
  const ContextTable& table_;
  const diagnose::Window window_;
  const RunSet natural_;  // that no intervention treated
  const RunSet members_;
  const diagnose::Scope scope_;
  // Within the cluster's scope, where held-out runs confirm it.
  std::optional<diagnose::RouteContrast> routes_;
  std::vector<Proposal> proposals_;
};

// Checks a run before its answer leaves.
class GuardrailType final : public InterventionType {
 public:
  v1::InterventionKind kind() const override {
    return v1::INTERVENTION_KIND_GUARDRAIL;
  }

  bool Answers(v1::FailureMode mode) const override {
    return mode == v1::FAILURE_MODE_HALLUCINATION ||
           mode == v1::FAILURE_MODE_REASONING_BREAKDOWN ||
           mode == v1::FAILURE_MODE_RETRIEVAL_FAILURE;
  }

  std::vector<Proposal> Propose(const ProposalContext& context,
                                const ContextTable& table) const override {
    return Search(context, table).Run();
  }

  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(
        CheckArm(action, v1::Action::kGuardrail, "action.guardrail"));
    const Guardrail& guardrail = action.guardrail();
    FAULTLINE_RETURN_IF_ERROR(ValidateCheck(guardrail));
    return ValidateFallback(guardrail);
  }

 private:
  static absl::Status ValidateCheck(const Guardrail& guardrail) {
    constexpr char kThreshold[] = "action.guardrail.threshold";
    switch (guardrail.check()) {
      case Guardrail::CHECK_SIGNAL_AT_LEAST:
        FAULTLINE_RETURN_IF_ERROR(
            CheckName("action.guardrail.signal", guardrail.signal()));
        return CheckRange(kThreshold, guardrail.threshold(), -kMaxThreshold,
                          kMaxThreshold);
      case Guardrail::CHECK_STEP_REQUIRED: {
        const std::string& step = guardrail.required_step();
        if (step != "tool" && step != "retrieval" && step != "memory") {
          return Invalid(v1::ErrorDetail::REASON_MALFORMED,
                         "action.guardrail.required_step",
                         "tool, retrieval or memory",
                         absl::StrCat("is \"", step, "\""));
        }
        return CheckOptionalName("action.guardrail.required_name",
                                 guardrail.required_name());
      }
      case Guardrail::CHECK_MAX_REPEATS:
      case Guardrail::CHECK_MAX_STEPS:
        return CheckRange(kThreshold, guardrail.threshold(), 1, kMaxThreshold);
      case Guardrail::CHECK_UNSPECIFIED:
      case v1::Guardrail_Check_Guardrail_Check_INT_MIN_SENTINEL_DO_NOT_USE_:
      case v1::Guardrail_Check_Guardrail_Check_INT_MAX_SENTINEL_DO_NOT_USE_:
        break;
    }
    return Invalid(v1::ErrorDetail::REASON_UNKNOWN_ENUM,
                   "action.guardrail.check", "a known check",
                   absl::StrCat("is ", static_cast<int>(guardrail.check())));
  }

  static absl::Status ValidateFallback(const Guardrail& guardrail) {
    switch (guardrail.fallback()) {
      case Guardrail::FALLBACK_ROUTE:
        return CheckName("action.guardrail.fallback_route",
                         guardrail.fallback_route());
      case Guardrail::FALLBACK_REQUIRE_STEP:
        if (guardrail.check() != Guardrail::CHECK_STEP_REQUIRED) {
          return Invalid(v1::ErrorDetail::REASON_CONFLICT,
                         "action.guardrail.fallback",
                         "FALLBACK_REQUIRE_STEP goes with CHECK_STEP_REQUIRED",
                         "names no step");
        }
        return absl::OkStatus();
      case Guardrail::FALLBACK_ABSTAIN:
        return absl::OkStatus();
      case Guardrail::FALLBACK_UNSPECIFIED:
      case v1::
          Guardrail_Fallback_Guardrail_Fallback_INT_MIN_SENTINEL_DO_NOT_USE_:
      case v1::
          Guardrail_Fallback_Guardrail_Fallback_INT_MAX_SENTINEL_DO_NOT_USE_:
        break;
    }
    return Invalid(v1::ErrorDetail::REASON_UNKNOWN_ENUM,
                   "action.guardrail.fallback", "a known fallback",
                   absl::StrCat("is ", static_cast<int>(guardrail.fallback())));
  }
};

}  // namespace

std::unique_ptr<const InterventionType> MakeGuardrail() {
  return std::make_unique<GuardrailType>();
}

}  // namespace faultline::intervene
