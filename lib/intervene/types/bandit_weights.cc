#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/logged_choices.h"
#include "lib/diagnose/route_contrast.h"
#include "lib/diagnose/scope.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"
#include "lib/intervene/safe_weights.h"
#include "lib/intervene/types/proposal_support.h"
#include "lib/policy/predicate.h"
#include "lib/stats/off_policy.h"
#include "lib/stats/sequential.h"

namespace faultline::intervene {
namespace {

using diagnose::ContextTable;
using diagnose::LoggedChoices;
using diagnose::RunSet;

constexpr double kLeastFloor = 1e-9;
constexpr double kMaxFloor = 0.5;
// A record loses so much of its weight in a tick.
constexpr double kDiscount = 0.97;
// Choices below which a scope learns nothing of its own.
constexpr size_t kMinChoices = 30;
// Share of the decisions in scope that may lack what off-policy evaluation
// needs: were it more, those that have it would not stand for the others.
constexpr double kMaxIncomplete = 0.1;
// Share of the runs in scope that must have the arms.
constexpr double kMinWithArms = 0.5;
constexpr double kSignificance = 0.05;
// What the model of the loss tells apart.
constexpr char kCellField[] = "task.type";

// Whether the choices stand for the runs that they were taken from.
bool Represents(const LoggedChoices& logged) {
  const diagnose::ChoicesLeftOut& out = logged.left_out;
  const auto choices = static_cast<double>(logged.choices.size());
  const auto incomplete = static_cast<double>(
      out.several_decisions + out.no_propensity + out.no_candidates);
  const auto without_arms =
      static_cast<double>(out.arm_missing + out.no_decision);
  return incomplete <= kMaxIncomplete * (choices + incomplete) &&
         choices >= kMinWithArms * (choices + without_arms);
}

// One call of Propose.
class Search {
 public:
  Search(const ProposalContext& context, const ContextTable& table)
      : context_(context),
        table_(table),
        window_{context.runs, context.discovery, context.names},
        natural_(~table.treated()),
        scope_(FindScope()) {
    for (const embedding::Run* run : context.runs) {
      newest_ = std::max(newest_, run->sequence);
    }
  }

  std::optional<Proposal> Run() {
    if (!scope_) return std::nullopt;
    const RunSet learn = table_.discovery() & natural_;
    LoggedChoices logged = Collect(scope_->runs & learn);
    if (logged.choices.size() < kMinChoices) {
      scope_ = diagnose::EverythingScope(table_);
      logged = Collect(learn);
    }
    if (!Represents(logged) || logged.offered < 2) return std::nullopt;
    arms_.assign(logged.arms.begin(),
                 logged.arms.begin() + static_cast<ptrdiff_t>(logged.offered));
    if (!SetWeights(logged, learn)) return std::nullopt;
    return Evaluate(scope_->runs & table_.held_out() & natural_);
  }

 private:
  // Where it would be worth most to the cluster that runs asked the best
  // candidate, by however little.
  std::optional<diagnose::Scope> FindScope() const {
    const bool any_drawn = std::any_of(
        context_.runs.begin(), context_.runs.end(),
        [](const embedding::Run* run) { return run->route.propensity > 0; });
    if (!any_drawn) return std::nullopt;
    const auto discovery = static_cast<double>(table_.discovery().Count());
    diagnose::RouteRegret regrets(table_, diagnose::kRouteField,
                                  SampledMembers(context_));
    const auto worth = [&](const RunSet& runs, const RunSet& term) {
      const auto regret = regrets.In(runs, term);
      return regret ? WorthOfAnyRegret(discovery, *regret) : 0;
    };
    diagnose::Scope scope = diagnose::SearchScope(table_, worth, kScopeGain);
    if (worth(scope.runs, scope.runs) <= 0) return std::nullopt;
    return scope;
  }

  LoggedChoices Collect(const RunSet& runs) const {
    return diagnose::CollectLoggedChoices(window_, runs,
                                          diagnose::OneCell(window_), arms_);
  }

  // Records of the arms, older runs discounted.
  std::vector<ArmRecord> RecordsOf(const LoggedChoices& logged) const {
    std::vector<ArmRecord> records(arms_.size());
    for (size_t i = 0; i < logged.choices.size(); ++i) {
      const auto arm = static_cast<size_t>(logged.choices[i].arm);
      if (arm >= arms_.size()) continue;
      const embedding::Run& run = *window_.runs[logged.runs[i]];
      const auto records_since = static_cast<double>(newest_ - run.sequence);
      const double age = context_.records_per_tick > 0
                             ? records_since / context_.records_per_tick
                             : 0;
      (run.failed() ? records[arm].failed : records[arm].succeeded) +=
          std::pow(kDiscount, age);
    }
    return records;
  }

  // False where an arm was never drawn: then nobody knows what it would do.
  bool SetWeights(const LoggedChoices& logged, const RunSet& learn) {
    current_.assign(arms_.size(), 0);
    double drawn = 0;
    for (const stats::LoggedChoice& choice : logged.choices) {
      const auto arm = static_cast<size_t>(choice.arm);
      if (arm >= arms_.size()) continue;
      current_[arm] += 1;
      drawn += 1;
    }
    for (double& share : current_) {
      if (share == 0) return false;
      share /= drawn;
    }
    const uint64_t seed =
        base::Hash64(scope_->predicate.SerializeAsString(), context_.seed);
    weights_ = BoundWeights(
        BestArmShares(RecordsOf(logged), RecordsOf(Collect(learn)), seed),
        current_);
    return true;
  }

  // The weights as a proposal, where held-out runs say that they fail less.
  std::optional<Proposal> Evaluate(const RunSet& runs) const {
    const diagnose::ChoiceCells cells = diagnose::CellsOfField(
        window_, scope_->runs & table_.discovery(), kCellField, kMinChoices);
    LoggedChoices logged =
        diagnose::CollectLoggedChoices(window_, runs, cells, arms_);
    if (!Represents(logged)) return std::nullopt;
    // The estimate halves them by place; a router that takes turns would put
    // each arm into one half.
    base::Random(context_.seed).Shuffle(&logged.choices);
    stats::ChoicePolicy policy;
    policy.arms = static_cast<int32_t>(logged.arms.size());
    for (size_t cell = 0; cell < cells.names.size(); ++cell) {
      policy.probability.insert(policy.probability.end(), weights_.begin(),
                                weights_.end());
      policy.probability.resize((cell + 1) * logged.arms.size());
    }
    const stats::OffPolicyReport report =
        stats::EvaluateOffPolicy(logged.choices, policy);
    if (report.support != stats::Support::kSufficient) return std::nullopt;
    // Every tick looks again.
    const stats::Interval change =
        stats::AsymptoticSequence(report.change_moments, kSignificance);
    if (change.upper >= 0) return std::nullopt;

    const auto seen = static_cast<double>(logged.choices.size()) /
                      (static_cast<double>(logged.choices.size()) +
                       static_cast<double>(logged.left_out.total()));
    return MakeProposal(report, change.upper, seen);
  }

  Proposal MakeProposal(const stats::OffPolicyReport& report, double upper,
                        double with_arms) const {
    Proposal proposal;
    v1::BanditWeights& bandit = *proposal.action.mutable_bandit_weights();
    std::vector<std::string> texts;
    for (size_t arm = 0; arm < arms_.size(); ++arm) {
      v1::BanditWeights::Arm& named = *bandit.add_arms();
      named.set_name(arms_[arm]);
      named.set_probability(weights_[arm]);
      texts.push_back(absl::StrFormat("%s %.0f %% (now %.0f)", arms_[arm],
                                      100 * weights_[arm],
                                      100 * current_[arm]));
    }
    // An arm that is rarer than the floor already stays as rare as it is.
    bandit.set_floor(
        std::min(kWeightFloor / static_cast<double>(arms_.size()),
                 *std::min_element(weights_.begin(), weights_.end())));
    proposal.scope = scope_->predicate;
    proposal.expected_reduction = diagnose::HeldOutShare(table_, scope_->runs) *
                                  with_arms *
                                  std::clamp(-report.change.value, 0.0, 1.0);
    proposal.summary = absl::StrFormat(
        "Draw the route of runs where %s with %s: by off-policy evaluation on "
        "%d held-out runs (doubly robust, effective size %.0f), %.1f %% fail "
        "instead of %.1f %%, at least %.1f points fewer.",
        policy::PredicateText(scope_->predicate), absl::StrJoin(texts, ", "),
        report.change_moments.count, report.effective_size,
        100 * report.dr.value, 100 * report.logged.value, -100 * upper);
    return proposal;
  }

  const ProposalContext& context_;
  const ContextTable& table_;
  const diagnose::Window window_;
  const RunSet natural_;  // that no intervention treated
  std::optional<diagnose::Scope> scope_;
  uint64_t newest_ = 0;  // sequence
  std::vector<std::string> arms_;
  std::vector<double> current_;  // share of each arm
  std::vector<double> weights_;
};

// Shifts the probabilities of routes by one safe step. Where a context has
// weights of its own, it is the scope.
class BanditWeightsType final : public InterventionType {
 public:
  v1::InterventionKind kind() const override {
    return v1::INTERVENTION_KIND_BANDIT_WEIGHTS;
  }

  bool Answers(v1::FailureMode mode) const override {
    return mode == v1::FAILURE_MODE_ROUTING_FAILURE;
  }

  std::vector<Proposal> Propose(const ProposalContext& context,
                                const ContextTable& table) const override {
    std::optional<Proposal> proposal = Search(context, table).Run();
    if (!proposal) return {};
    return {*std::move(proposal)};
  }

  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(
        CheckArm(action, v1::Action::kBanditWeights, "action.bandit_weights"));
    const v1::BanditWeights& bandit = action.bandit_weights();
    FAULTLINE_RETURN_IF_ERROR(CheckRange(
        "action.bandit_weights.floor", bandit.floor(), kLeastFloor, kMaxFloor));
    std::vector<NamedWeight> weights;
    for (const v1::BanditWeights::Arm& arm : bandit.arms()) {
      weights.push_back({arm.name(), arm.probability()});
    }
    return CheckWeights("action.bandit_weights.arms", "probability", 2,
                        bandit.floor(), weights);
  }
};

}  // namespace

std::unique_ptr<const InterventionType> MakeBanditWeights() {
  return std::make_unique<BanditWeightsType>();
}

}  // namespace faultline::intervene
