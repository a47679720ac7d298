#include "lib/evaluate/offline_policy.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/logged_choices.h"
#include "lib/diagnose/run_set.h"
#include "lib/stats/off_policy.h"
#include "lib/stats/sequential.h"

namespace faultline::evaluate {
namespace {

using v1::EvaluatePolicyOfflineResponse;

constexpr int kMaxWeights = 64;
constexpr size_t kMaxNameBytes = 128;
constexpr double kSumTolerance = 1e-6;
constexpr double kAlpha = 0.05;
// Share of the choices without propensity beyond which the others are a
// selection.
constexpr double kMaxWithoutPropensity = 0.1;
// Probability that the policy may give to candidates nobody has seen.
constexpr double kMaxUnseen = 0.01;
constexpr size_t kMaxShownCandidates = 64;

absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

bool Earlier(const google::protobuf::Timestamp& a,
             const google::protobuf::Timestamp& b) {
  return std::make_pair(a.seconds(), a.nanos()) <
         std::make_pair(b.seconds(), b.nanos());
}

void Normalize(RouteRule* rule) {
  double total = 0;
  for (const auto& [name, weight] : rule->weights) total += weight;
  for (auto& [name, weight] : rule->weights) weight /= total;
}

std::string RuleText(const RouteRule& rule) {
  std::string text;
  for (const auto& [name, weight] : rule.weights) {
    absl::StrAppendFormat(&text, "%s%s %.3g", text.empty() ? "" : ", ", name,
                          weight);
  }
  if (rule.floor > 0) {
    absl::StrAppendFormat(&text, ", any other at least %.3g", rule.floor);
  }
  return text;
}

// Probabilities of `arms`, whose first `offered` ones are the candidates.
std::vector<double> Probabilities(const RouteRule& rule,
                                  absl::Span<const std::string> arms,
                                  size_t offered) {
  std::vector<double> probability(arms.size(), 0);
  double total = 0;
  for (size_t arm = 0; arm < offered; ++arm) {
    for (const auto& [name, weight] : rule.weights) {
      if (name == arms[arm]) probability[arm] += weight;
    }
    total += probability[arm];
  }
  const auto n = static_cast<double>(offered);
  const double floor = std::clamp(rule.floor, 0.0, 1 / n);
  for (size_t arm = 0; arm < offered; ++arm) {
    probability[arm] = floor + (1 - n * floor) * probability[arm] / total;
  }
  return probability;
}

// The choices of every rule's runs, over all arms that occur.
struct Gathered {
  std::vector<std::string> arms;
  std::vector<stats::LoggedChoice> choices;
  std::vector<int32_t> rules;  // of each choice
  // Of each rule, by arm; empty for a rule without choices.
  std::vector<std::vector<double>> probabilities;
  diagnose::ChoicesLeftOut left_out;

  size_t ArmOf(const std::string& name) {
    const auto arm = static_cast<size_t>(
        std::find(arms.begin(), arms.end(), name) - arms.begin());
    if (arm == arms.size()) arms.push_back(name);
    return arm;
  }
};

void AddLeftOut(const diagnose::ChoicesLeftOut& part,
                diagnose::ChoicesLeftOut* sum) {
  sum->no_decision += part.no_decision;
  sum->several_decisions += part.several_decisions;
  sum->no_propensity += part.no_propensity;
  sum->no_candidates += part.no_candidates;
  sum->arm_missing += part.arm_missing;
}

// Candidates that must have been open to each run of a rule: those that it
// names, and where it explores, those that its runs usually have.
std::vector<std::string> ArmsOf(const RouteRule& rule,
                                const diagnose::Window& window,
                                const diagnose::RunSet& scope) {
  std::set<std::string> arms;
  for (const auto& [name, weight] : rule.weights) {
    if (weight > 0) arms.insert(name);
  }
  if (rule.floor > 0) {
    const diagnose::LoggedChoices usual = diagnose::CollectLoggedChoices(
        window, scope, diagnose::OneCell(window));
    arms.insert(usual.arms.begin(),
                usual.arms.begin() + static_cast<ptrdiff_t>(usual.offered));
  }
  return {arms.begin(), arms.end()};
}

// `rule_of`: of each run of the window. `cells`: parted by rule.
Gathered GatherChoices(const std::vector<RouteRule>& rules,
                       const diagnose::Window& window,
                       const std::vector<int32_t>& rule_of,
                       const diagnose::ChoiceCells& cells) {
  Gathered gathered;
  gathered.probabilities.resize(rules.size());
  for (size_t r = 0; r < rules.size(); ++r) {
    diagnose::RunSet scope(window.runs.size());
    for (size_t run = 0; run < rule_of.size(); ++run) {
      if (rule_of[run] == static_cast<int32_t>(r)) scope.Add(run);
    }
    const diagnose::LoggedChoices logged = diagnose::CollectLoggedChoices(
        window, scope, cells, ArmsOf(rules[r], window, scope));
    AddLeftOut(logged.left_out, &gathered.left_out);
    if (logged.choices.empty()) continue;
    std::vector<int32_t> place;  // of each of the rule's arms among all
    for (const std::string& name : logged.arms) {
      place.push_back(static_cast<int32_t>(gathered.ArmOf(name)));
    }
    const std::vector<double> probabilities =
        Probabilities(rules[r], logged.arms, logged.offered);
    std::vector<double>& all = gathered.probabilities[r];
    for (size_t arm = 0; arm < place.size(); ++arm) {
      const auto there = static_cast<size_t>(place[arm]);
      all.resize(std::max(all.size(), there + 1));
      all[there] = probabilities[arm];
    }
    for (stats::LoggedChoice choice : logged.choices) {
      choice.arm = place[static_cast<size_t>(choice.arm)];
      gathered.choices.push_back(choice);
      gathered.rules.push_back(static_cast<int32_t>(r));
    }
  }
  for (std::vector<double>& all : gathered.probabilities) {
    all.resize(gathered.arms.size());
  }
  return gathered;
}

void CountLeftOut(const Gathered& gathered, uint64_t runs,
                  v1::OfflineOverlap* overlap) {
  const diagnose::ChoicesLeftOut& left_out = gathered.left_out;
  overlap->set_runs(runs);
  overlap->set_without_choice(static_cast<uint64_t>(left_out.no_decision +
                                                    left_out.several_decisions +
                                                    left_out.no_candidates));
  overlap->set_without_propensity(
      static_cast<uint64_t>(left_out.no_propensity));
  overlap->set_without_candidate(static_cast<uint64_t>(left_out.arm_missing));
  overlap->set_choices(gathered.choices.size());
}

// Why nothing can be said; empty where something can.
std::string WhyNotIdentified(const Gathered& gathered, uint64_t runs) {
  if (runs == 0) return "no run in scope has a known outcome";
  const diagnose::ChoicesLeftOut& left_out = gathered.left_out;
  const int64_t decided = static_cast<int64_t>(runs) - left_out.no_decision -
                          left_out.several_decisions;
  if (static_cast<double>(left_out.no_propensity) >
      kMaxWithoutPropensity * static_cast<double>(decided)) {
    return absl::StrFormat(
        "%d of %d route decisions have no propensity, more than 10 %%: the "
        "others may be a selection. Have the router set Decision.propensity",
        left_out.no_propensity, decided);
  }
  if (!gathered.choices.empty()) return "";
  return absl::StrFormat(
      "no run in scope tells how its route was chosen: of %d runs %d have no "
      "route decision, %d several, %d no propensity, %d do not tell the "
      "candidates, and in %d a candidate of the policy was none",
      runs, left_out.no_decision, left_out.several_decisions,
      left_out.no_propensity, left_out.no_candidates, left_out.arm_missing);
}

void DescribeOverlap(const Gathered& gathered,
                     const stats::OffPolicyReport& report,
                     v1::OfflineOverlap* overlap) {
  std::vector<v1::CandidateOverlap> candidates(gathered.arms.size());
  for (size_t arm = 0; arm < candidates.size(); ++arm) {
    candidates[arm].set_name(gathered.arms[arm]);
  }
  const auto n = static_cast<double>(gathered.choices.size());
  for (size_t i = 0; i < gathered.choices.size(); ++i) {
    const stats::LoggedChoice& choice = gathered.choices[i];
    v1::CandidateOverlap& taken = candidates[static_cast<size_t>(choice.arm)];
    taken.set_chosen(taken.chosen() + 1);
    taken.set_failures(taken.failures() + (choice.loss > 0 ? 1 : 0));
    taken.set_mean_propensity(taken.mean_propensity() + choice.propensity);
    const std::vector<double>& probabilities =
        gathered.probabilities[static_cast<size_t>(gathered.rules[i])];
    for (size_t arm = 0; arm < candidates.size(); ++arm) {
      candidates[arm].set_policy_probability(
          candidates[arm].policy_probability() + probabilities[arm] / n);
    }
  }
  for (v1::CandidateOverlap& candidate : candidates) {
    if (candidate.chosen() == 0) {
      overlap->set_probability_unseen(overlap->probability_unseen() +
                                      candidate.policy_probability());
      continue;
    }
    candidate.set_mean_propensity(candidate.mean_propensity() /
                                  static_cast<double>(candidate.chosen()));
  }
  std::stable_sort(
      candidates.begin(), candidates.end(),
      [](const v1::CandidateOverlap& a, const v1::CandidateOverlap& b) {
        return a.chosen() > b.chosen();
      });
  candidates.resize(std::min(candidates.size(), kMaxShownCandidates));
  for (v1::CandidateOverlap& candidate : candidates) {
    *overlap->add_candidates() = std::move(candidate);
  }
  overlap->set_effective_size(report.effective_size);
  overlap->set_mean_weight(report.mean_weight);
  overlap->set_mean_weight_error(report.mean_weight_error);
  overlap->set_largest_weight_share(report.largest_weight_share);
  overlap->set_clipped(static_cast<uint64_t>(report.clipped));
}

v1::OfflineEstimate Estimate(const stats::MeanEstimate& estimate) {
  v1::OfflineEstimate message;
  message.set_value(estimate.value);
  message.set_lower(estimate.lower);
  message.set_upper(estimate.upper);
  return message;
}

std::string SupportText(const stats::OffPolicyReport& report) {
  switch (report.support) {
    case stats::Support::kSufficient:
      return absl::StrFormat(
          "as many choices as %.0f by the policy itself, and their weights add "
          "up as they should",
          report.effective_size);
    case stats::Support::kNoChoices:
      return "fewer than two choices";
    case stats::Support::kWrongWeights:
      return absl::StrFormat(
          "the mean weight is %.3f and not 1 (standard error %.3f): the "
          "propensities are not those that were drawn with, or the policy "
          "wants what was never drawn",
          report.mean_weight, report.mean_weight_error);
    case stats::Support::kFewEffective:
      return absl::StrFormat(
          "only as many choices as %.0f by the policy itself; it takes 100 and "
          "5 %% of the choices: the logged policy hardly ever did as this one "
          "would",
          report.effective_size);
    case stats::Support::kOneWeightRules:
      return absl::StrFormat(
          "one choice has %.1f %% of the weight, more than "
          "5 %%",
          100 * report.largest_weight_share);
  }
  return "";
}

void DescribeEstimates(const stats::OffPolicyReport& report,
                       EvaluatePolicyOfflineResponse* response) {
  *response->mutable_logged() = Estimate(report.logged);
  *response->mutable_ips() = Estimate(report.ips);
  *response->mutable_snips() = Estimate(report.snips);
  *response->mutable_dr() = Estimate(report.dr);
  *response->mutable_change() = Estimate(report.change);
  const stats::Interval always =
      stats::AsymptoticSequence(report.change_moments, kAlpha);
  *response->mutable_change_at_every_look() =
      Estimate({report.change.value, always.lower, always.upper});
}

void Judge(const stats::OffPolicyReport& report,
           EvaluatePolicyOfflineResponse* response) {
  const double unseen = response->overlap().probability_unseen();
  response->set_verdict(
      EvaluatePolicyOfflineResponse::VERDICT_INSUFFICIENT_SUPPORT);
  if (unseen > kMaxUnseen) {
    response->set_reason(absl::StrFormat(
        "the policy gives %.1f %% to candidates that no choice took: nothing "
        "is known of them",
        100 * unseen));
    return;
  }
  response->set_reason(SupportText(report));
  if (report.support == stats::Support::kSufficient) {
    response->set_verdict(EvaluatePolicyOfflineResponse::VERDICT_SUPPORTED);
  }
}

}  // namespace

absl::StatusOr<RouteRule> RuleOfWeights(const v1::CandidateWeights& weights) {
  if (weights.weights().empty() || weights.weights_size() > kMaxWeights) {
    return Invalid(weights.weights().empty() ? v1::ErrorDetail::REASON_REQUIRED
                                             : v1::ErrorDetail::REASON_TOO_MANY,
                   "weights.weights", absl::StrCat("1 to ", kMaxWeights),
                   absl::StrCat("has ", weights.weights_size()));
  }
  RouteRule rule;
  rule.match.mutable_all();
  double total = 0;
  std::set<std::string> names;
  for (int i = 0; i < weights.weights_size(); ++i) {
    const v1::CandidateWeights::Weight& weight = weights.weights(i);
    const std::string field = absl::StrCat("weights.weights[", i, "]");
    if (weight.name().empty() || weight.name().size() > kMaxNameBytes) {
      return Invalid(weight.name().empty() ? v1::ErrorDetail::REASON_REQUIRED
                                           : v1::ErrorDetail::REASON_TOO_LONG,
                     absl::StrCat(field, ".name"), "1 to 128 bytes",
                     absl::StrCat("has ", weight.name().size(), " bytes"));
    }
    if (!names.insert(weight.name()).second) {
      return Invalid(v1::ErrorDetail::REASON_CONFLICT,
                     absl::StrCat(field, ".name"), "each candidate once",
                     absl::StrCat("names ", weight.name(), " again"));
    }
    if (!(weight.weight() >= 0 && weight.weight() <= 1)) {
      return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE,
                     absl::StrCat(field, ".weight"), "in [0, 1]",
                     absl::StrCat("is ", weight.weight()));
    }
    total += weight.weight();
    rule.weights.emplace_back(weight.name(), weight.weight());
  }
  if (std::abs(total - 1) > kSumTolerance) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "weights.weights",
                   "weights that add up to 1",
                   absl::StrCat("add up to ", total));
  }
  Normalize(&rule);
  return rule;
}

absl::StatusOr<RouteRule> RuleOfAction(const v1::Action& action,
                                       const v1::Predicate& match) {
  RouteRule rule;
  rule.match = match;
  double total = 0;
  if (action.has_routing_policy()) {
    rule.floor = action.routing_policy().exploration_floor();
    for (const auto& candidate : action.routing_policy().candidates()) {
      rule.weights.emplace_back(candidate.name(), candidate.weight());
      total += candidate.weight();
    }
  } else if (action.has_bandit_weights()) {
    rule.floor = action.bandit_weights().floor();
    for (const auto& arm : action.bandit_weights().arms()) {
      rule.weights.emplace_back(arm.name(), arm.probability());
      total += arm.probability();
    }
  }
  if (!(total > 0)) {
    return base::DetailedError(
        absl::StatusCode::kFailedPrecondition,
        base::MakeErrorDetail(
            v1::ErrorDetail::REASON_WRONG_STATE, "policy",
            "a routing policy or bandit weights",
            "does not choose among routes; only route decisions are logged "
            "with what they chose among"));
  }
  Normalize(&rule);
  return rule;
}

absl::StatusOr<std::vector<RouteRule>> RulesOfPolicy(const v1::Policy& policy) {
  std::vector<const v1::Rule*> ordered;
  for (const v1::Rule& rule : policy.rules()) {
    if (rule.action().has_routing_policy() ||
        rule.action().has_bandit_weights()) {
      ordered.push_back(&rule);
    }
  }
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const v1::Rule* a, const v1::Rule* b) {
                     return a->priority() != b->priority()
                                ? a->priority() > b->priority()
                                : a->intervention_id() < b->intervention_id();
                   });
  if (ordered.empty()) {
    return base::DetailedError(
        absl::StatusCode::kFailedPrecondition,
        base::MakeErrorDetail(
            v1::ErrorDetail::REASON_WRONG_STATE, "policy_version",
            "a version with a routing rule",
            absl::StrCat("version ", policy.version(), " has none")));
  }
  std::vector<RouteRule> rules;
  for (const v1::Rule* rule : ordered) {
    FAULTLINE_ASSIGN_OR_RETURN(rules.emplace_back(),
                               RuleOfAction(rule->action(), rule->match()));
  }
  return rules;
}

absl::StatusOr<std::unique_ptr<OfflineEvaluator>> OfflineEvaluator::Create(
    const v1::EvaluatePolicyOfflineRequest& request,
    std::vector<RouteRule> rules) {
  std::unique_ptr<OfflineEvaluator> evaluator(
      new OfflineEvaluator(request, std::move(rules)));
  for (const RouteRule& rule : evaluator->rules_) {
    FAULTLINE_RETURN_IF_ERROR(evaluator->predicates_.Add(rule.match).status());
  }
  if (!request.has_scope()) return evaluator;
  const absl::Status added =
      evaluator->predicates_.Add(request.scope()).status();
  if (const auto detail = base::GetErrorDetail(added); detail.has_value()) {
    v1::ErrorDetail placed = *detail;
    placed.set_field(absl::StrCat("scope.", detail->field()));
    return base::DetailedError(added.code(), placed);
  }
  FAULTLINE_RETURN_IF_ERROR(added);
  return evaluator;
}

void OfflineEvaluator::Add(size_t row_number, const v1::Trace& trace) {
  if (rows_.size() <= row_number) rows_.resize(row_number + 1);
  Row& row = rows_[row_number];
  row = Row();
  row.wanted = (!request_.has_start_time() ||
                !Earlier(trace.start_time(), request_.start_time())) &&
               (!request_.has_end_time() ||
                Earlier(trace.start_time(), request_.end_time()));
  if (!row.wanted) return;
  policy::PredicateSet::Reader reader(predicates_, trace);
  const int rules = static_cast<int>(rules_.size());
  if (request_.has_scope() && !reader.Matches(rules)) return;
  for (int rule = 0; rule < rules && row.rule < 0; ++rule) {
    if (reader.Matches(rule)) row.rule = rule;
  }
  if (row.rule < 0) return;
  row.order = base::Hash64(trace.trace_id());
  // What the choices are read from, and nothing else of the run.
  v1::Trace choice;
  choice.mutable_task()->set_type(trace.task().type());
  for (const v1::Decision& decision : trace.decisions()) {
    if (decision.kind() == v1::Decision::KIND_ROUTE) {
      *choice.add_decisions() = decision;
    }
  }
  row.run = embedding::ExtractRun(choice, &names_);
  row.run.tokens = {};
}

void OfflineEvaluator::Describe(EvaluatePolicyOfflineResponse* response) const {
  for (const RouteRule& rule : rules_) {
    const std::string match = policy::PredicateText(rule.match);
    absl::StrAppend(response->mutable_policy_text(),
                    response->policy_text().empty() ? "" : "; ",
                    rules_.size() > 1 ? absl::StrCat("on ", match, ": ") : "",
                    RuleText(rule));
  }
  v1::Predicate& scope = *response->mutable_scope();
  if (request_.has_scope()) {
    scope = request_.scope();
  } else if (rules_.size() == 1) {
    scope = rules_.front().match;
  } else {
    for (const RouteRule& rule : rules_) {
      *scope.mutable_any()->add_predicates() = rule.match;
    }
  }
}

EvaluatePolicyOfflineResponse OfflineEvaluator::Evaluate(
    absl::Span<const v1::Outcome> outcomes) {
  EvaluatePolicyOfflineResponse response;
  Describe(&response);
  diagnose::Window window;
  window.names = &names_;
  std::vector<int32_t> rule_of;  // by run of the window
  uint64_t known = 0, pending = 0;
  std::vector<Row*> used;
  for (size_t r = 0; r < rows_.size(); ++r) {
    Row& row = rows_[r];
    if (!row.wanted) continue;
    ++(outcomes[r] == v1::OUTCOME_UNSPECIFIED ? pending : known);
    if (outcomes[r] == v1::OUTCOME_UNSPECIFIED || row.rule < 0) continue;
    row.run.outcome = outcomes[r];
    used.push_back(&row);
  }
  // The doubly robust estimate learns from every other choice what it applies
  // to the rest. A router that takes turns would have it learn of one arm only.
  std::stable_sort(used.begin(), used.end(), [](const Row* a, const Row* b) {
    return a->order < b->order;
  });
  for (const Row* row : used) {
    window.runs.push_back(&row->run);
    rule_of.push_back(row->rule);
  }
  response.mutable_stretch()->set_runs(known);
  response.mutable_stretch()->set_pending(pending);

  // A cell for each rule and task type.
  diagnose::ChoiceCells cells = diagnose::CellsOfField(
      window, diagnose::RunSet::All(window.runs.size()), "task.type");
  const auto types = static_cast<int32_t>(cells.names.size());
  for (size_t run = 0; run < rule_of.size(); ++run) {
    cells.cell_of[run] += rule_of[run] * types;
  }
  const Gathered gathered = GatherChoices(rules_, window, rule_of, cells);
  CountLeftOut(gathered, window.runs.size(), response.mutable_overlap());
  const std::string obstacle = WhyNotIdentified(gathered, window.runs.size());
  if (!obstacle.empty()) {
    response.set_verdict(EvaluatePolicyOfflineResponse::VERDICT_NOT_IDENTIFIED);
    response.set_reason(obstacle);
    return response;
  }

  stats::ChoicePolicy policy;
  policy.arms = static_cast<int32_t>(gathered.arms.size());
  for (const std::vector<double>& of_rule : gathered.probabilities) {
    for (int32_t type = 0; type < types; ++type) {
      policy.probability.insert(policy.probability.end(), of_rule.begin(),
                                of_rule.end());
    }
  }
  const stats::OffPolicyReport report =
      stats::EvaluateOffPolicy(gathered.choices, policy);
  DescribeOverlap(gathered, report, response.mutable_overlap());
  if (gathered.choices.size() >= 2) DescribeEstimates(report, &response);
  Judge(report, &response);
  return response;
}

}  // namespace faultline::evaluate
