#include "client/lab/agent_runtime.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/lab/arithmetic_world.h"
#include "client/lab/family_run.h"
#include "client/lab/memory_world.h"
#include "client/lab/models.h"
#include "client/lab/reasoning_world.h"
#include "client/lab/run_recorder.h"
#include "client/lab/text_classifier.h"
#include "client/sdk/route_choice.h"

namespace faultline::lab {
namespace {

// The arguments that the calculator takes.
constexpr char kCalculatorPattern[] = "[0-9 .()+*/-]+";
constexpr int kMaxRecordDays = 1;
// Runs of one namespace.
constexpr int kSessionRuns = 2;

// Words that World::kHarmful's router takes for a sign of a hard question.
constexpr const char* kHardWords[] = {"not",  "never", "false", "fail",
                                      "than", "and",   "or"};

v1::Action RouteTo(const std::string& route) {
  v1::Action action;
  v1::RoutingPolicy::Candidate* candidate =
      action.mutable_routing_policy()->add_candidates();
  candidate->set_name(route);
  candidate->set_weight(1);
  return action;
}

v1::Action Strategy(const std::string& name) {
  v1::Action action;
  action.mutable_prompt_strategy()->set_strategy(name);
  return action;
}

v1::Action StrictArgument() {
  v1::Action action;
  action.mutable_tool_constraint()->set_tool(kCalculator);
  action.mutable_tool_constraint()->mutable_argument()->set_pattern(
      kCalculatorPattern);
  return action;
}

v1::Action RequireStep(const std::string& kind, const std::string& name) {
  v1::Action action;
  v1::Guardrail* guardrail = action.mutable_guardrail();
  guardrail->set_check(v1::Guardrail::CHECK_STEP_REQUIRED);
  guardrail->set_required_step(kind);
  guardrail->set_required_name(name);
  guardrail->set_fallback(v1::Guardrail::FALLBACK_REQUIRE_STEP);
  return action;
}

v1::Action MaxAge() {
  v1::Action action;
  action.mutable_memory_schema()->mutable_max_age()->set_seconds(
      86400 * kMaxRecordDays);
  return action;
}

v1::Action RefuseConflicts() {
  v1::Action action;
  action.mutable_memory_schema()->set_refuse_conflicting_writes(true);
  return action;
}

v1::Action RequireSource() {
  v1::Action action;
  action.mutable_memory_schema()->set_required_field("source");
  return action;
}

std::vector<v1::Action> MakeActions(Family family) {
  std::vector<v1::Action> actions;
  const std::vector<Choice>& routes = AgentRuntime::RoutesOf(family);
  for (const Choice& route : routes) {
    if (routes.size() > 1) actions.push_back(RouteTo(route.name));
  }
  const std::vector<Choice>& strategies = AgentRuntime::StrategiesOf(family);
  for (const Choice& strategy : strategies) {
    if (strategies.size() > 1) actions.push_back(Strategy(strategy.name));
  }
  switch (family) {
    case Family::kReasoning:
      break;
    case Family::kArithmetic:
      actions.push_back(StrictArgument());
      actions.push_back(RequireStep("tool", kCalculator));
      break;
    case Family::kCorpus:
      actions.push_back(RequireStep("retrieval", kCorpusSearch));
      break;
    case Family::kMemory:
      actions.push_back(MaxAge());
      actions.push_back(RefuseConflicts());
      actions.push_back(RequireSource());
      break;
  }
  return actions;
}

// Every choice of at most one route, at most one strategy, and any of the rest.
std::vector<std::vector<v1::Action>> MakeOptions(Family family) {
  std::vector<std::vector<v1::Action>> options = {{}};
  std::vector<std::vector<v1::Action>> routed;
  std::vector<std::vector<v1::Action>> prompted;
  const auto extend = [&options](const v1::Action& action,
                                 std::vector<std::vector<v1::Action>>* to) {
    for (std::vector<v1::Action> option : options) {
      option.push_back(action);
      to->push_back(std::move(option));
    }
  };
  const std::vector<v1::Action>& actions = AgentRuntime::ActionsOf(family);
  for (const v1::Action& action : actions) {
    if (action.has_routing_policy()) extend(action, &routed);
  }
  if (!routed.empty()) options = std::move(routed);
  for (const v1::Action& action : actions) {
    if (action.has_prompt_strategy()) extend(action, &prompted);
  }
  if (!prompted.empty()) options = std::move(prompted);
  for (const v1::Action& action : actions) {
    if (action.has_routing_policy() || action.has_prompt_strategy()) continue;
    std::vector<std::vector<v1::Action>> with;
    extend(action, &with);
    std::move(with.begin(), with.end(), std::back_inserter(options));
  }
  return options;
}

// What `make` gives for each family, by Family. Never freed.
template <typename Make>
const auto& ForFamilies(const Make& make) {
  auto* made = new std::vector<decltype(make(Family::kReasoning))>;
  for (const Family family : kFamilies) made->push_back(make(family));
  return *made;
}

std::vector<double> RouteProbabilities(const std::vector<Choice>& routes,
                                       const v1::Action& action) {
  std::vector<std::string> names;
  names.reserve(routes.size());
  for (const Choice& route : routes) names.push_back(route.name);
  return sdk::RouteProbabilities(names, action);
}

std::vector<double> StrategyProbabilities(const std::vector<Choice>& strategies,
                                          const v1::Action& action) {
  std::vector<double> weights;
  for (const Choice& strategy : strategies) {
    weights.push_back(strategy.name == action.prompt_strategy().strategy() ? 1
                                                                           : 0);
  }
  const bool known = std::count(weights.begin(), weights.end(), 1) > 0;
  return known ? weights : std::vector<double>();
}

// When in a run an action is taken over.
enum class Moment { kRoute, kStrategy, kMemory, kRest };

Moment MomentOf(const v1::Action& action) {
  if (sdk::IsRouting(action)) return Moment::kRoute;
  if (action.has_prompt_strategy()) return Moment::kStrategy;
  return action.has_memory_schema() ? Moment::kMemory : Moment::kRest;
}

v1::Step::Kind RequiredKind(const v1::Guardrail& guardrail) {
  const std::string& kind = guardrail.required_step();
  if (kind == "tool") return v1::Step::KIND_TOOL;
  if (kind == "retrieval") return v1::Step::KIND_RETRIEVAL;
  return kind == "memory" ? v1::Step::KIND_MEMORY : v1::Step::KIND_UNSPECIFIED;
}

std::string CheckName(v1::Guardrail::Check check) {
  return absl::AsciiStrToLower(
      absl::StripPrefix(v1::Guardrail::Check_Name(check), "CHECK_"));
}

}  // namespace

struct AgentRuntime::Parts {
  Models models;
};

// One run, from the question to the judged trace.
class AgentRuntime::Session {
 public:
  Session(const Models& models, const Problem& problem,
          const PolicySource& policy, absl::Time start)
      : models_(models),
        problem_(problem),
        policy_(policy),
        run_(problem, start),
        family_run_(MakeFamilyRun()) {
    run_.trace().mutable_system()->set_prompt_strategy(kDirect);
  }

  v1::Trace Run() && {
    family_run_->Prepare();
    const std::string route =
        Choose(Moment::kRoute, OwnRoutes(), RouteProbabilities);
    const std::string strategy =
        Choose(Moment::kStrategy, StrategiesOf(problem_.family),
               StrategyProbabilities);
    Adopt(Decide(), Moment::kMemory);
    if (!directives_.schemas.empty()) family_run_->Prepare();
    Adopt(Decide(), Moment::kRest);
    std::string answer = family_run_->Answer(route, strategy);
    // A rule may have waited for a signal.
    Adopt(Decide(), Moment::kRest);
    for (size_t i = 0; i < directives_.guardrails.size(); ++i) {
      CheckGuardrail(v1::Guardrail(directives_.guardrails[i]), strategy,
                     &answer);
    }
    return std::move(run_).Finish(answer == problem_.answer);
  }

 private:
  std::unique_ptr<FamilyRun> MakeFamilyRun() {
    switch (problem_.family) {
      case Family::kReasoning:
        return MakeReasoningRun(models_, problem_, &run_);
      case Family::kArithmetic:
        return MakeArithmeticRun(models_, problem_, directives_, &run_);
      case Family::kCorpus:
        return MakeCorpusRun(models_, problem_, &run_);
      case Family::kMemory:
        return MakeMemoryRun(models_, problem_, directives_, &run_);
    }
    return nullptr;
  }

  // The runs of a namespace share what is written, so they share an arm.
  Advice Decide() const {
    policy::AssignmentKeys keys = {problem_.id, {}};
    if (problem_.notebook != nullptr) keys.memory = problem_.notebook->name;
    return policy_.Decide(run_.trace(), keys);
  }

  // Routes with the router's own probabilities. World::kHarmful's router sends
  // the questions that it takes for easy to what is in truth the worst route.
  std::vector<Choice> OwnRoutes() const {
    std::vector<Choice> routes = RoutesOf(problem_.family);
    if (models_.world != World::kHarmful ||
        problem_.family != Family::kReasoning) {
      return routes;
    }
    const std::vector<std::string> words = Words(problem_.question);
    const bool easy =
        std::find_first_of(words.begin(), words.end(), std::begin(kHardWords),
                           std::end(kHardWords)) == words.end();
    for (Choice& route : routes) {
      route.probability =
          route.name == kParser ? (easy ? .6 : .04) : (easy ? .2 : .48);
    }
    return routes;
  }

  // Takes over the matches of one moment, each intervention once.
  void Adopt(const Advice& advice, Moment moment) {
    if (advice.exposure.policy_version() != 0) {
      run_.trace().mutable_exposure()->set_policy_version(
          advice.exposure.policy_version());
    }
    absl::flat_hash_set<std::string> fresh;
    for (const Advice::Match& match : advice.matches) {
      if (MomentOf(match.action) != moment ||
          !adopted_.insert(match.intervention_id).second) {
        continue;
      }
      fresh.insert(match.intervention_id);
      if (!match.applies) continue;
      if (match.action.has_tool_constraint()) {
        directives_.constraints.push_back(match.action.tool_constraint());
      } else if (match.action.has_guardrail()) {
        directives_.guardrails.push_back(match.action.guardrail());
      } else if (match.action.has_memory_schema()) {
        directives_.schemas.push_back(match.action.memory_schema());
      }
    }
    for (const auto& it : advice.exposure.interventions()) {
      if (fresh.contains(it.intervention_id())) {
        *run_.trace().mutable_exposure()->add_interventions() = it;
      }
    }
  }

  void SetChoice(Moment moment, int decision, const std::string& name) {
    v1::System* system = run_.trace().mutable_system();
    if (moment == Moment::kRoute) {
      system->set_model(name);
    } else {
      system->set_prompt_strategy(name);
    }
    if (decision >= 0) {
      run_.trace().mutable_decisions(decision)->set_chosen(name);
    }
  }

  // Draws the router's own choice, lets the policy see it, and draws again
  // where a rule about such choices applies. The logged propensity is over both
  // draws. A choice of one is none, and is not logged but for routes.
  std::string Choose(
      Moment moment, const std::vector<Choice>& choices,
      const std::function<std::vector<double>(
          const std::vector<Choice>&, const v1::Action&)>& probabilities) {
    std::vector<double> own;
    for (const Choice& choice : choices) own.push_back(choice.probability);
    int index = -1;
    if (moment == Moment::kRoute || choices.size() > 1) {
      index = run_.trace().decisions_size();
      v1::Decision* decision = run_.trace().add_decisions();
      decision->set_kind(moment == Moment::kRoute
                             ? v1::Decision::KIND_ROUTE
                             : v1::Decision::KIND_PROMPT_STRATEGY);
      for (const Choice& choice : choices) {
        decision->add_candidates()->set_name(choice.name);
      }
    }
    const size_t drawn = sdk::DrawIndex(own, run_.random().Uniform());
    const double again = run_.random().Uniform();

    std::vector<double> total(choices.size(), 0);
    size_t chosen = drawn;
    bool by_policy = false;
    for (size_t i = 0; i < choices.size(); ++i) {
      SetChoice(moment, index, choices[i].name);
      const Advice advice = Decide();
      std::vector<double> weights;
      for (const Advice::Match& match : advice.matches) {
        if (!match.applies || MomentOf(match.action) != moment) continue;
        weights = probabilities(choices, match.action);
        if (!weights.empty()) break;
      }
      if (i == drawn) {
        Adopt(advice, moment);
        by_policy = !weights.empty();
        if (by_policy) chosen = sdk::DrawIndex(weights, again);
      }
      if (weights.empty()) {
        total[i] += own[i];
        continue;
      }
      for (size_t j = 0; j < choices.size(); ++j) {
        total[j] += own[i] * weights[j];
      }
    }
    SetChoice(moment, index, choices[chosen].name);
    if (index < 0) return choices[chosen].name;
    v1::Decision* decision = run_.trace().mutable_decisions(index);
    decision->set_propensity(std::min(total[chosen], 1.));
    decision->set_reason(by_policy ? "policy" : "router's own weights");
    if (by_policy) {
      decision->set_policy_version(run_.trace().exposure().policy_version());
    }
    return choices[chosen].name;
  }

  bool Holds(const v1::Guardrail& guardrail) const {
    switch (guardrail.check()) {
      case v1::Guardrail::CHECK_SIGNAL_AT_LEAST: {
        const auto& signals = run_.trace().evaluation().signals();
        const auto signal = signals.find(guardrail.signal());
        return signal == signals.end() ||
               signal->second >= guardrail.threshold();
      }
      case v1::Guardrail::CHECK_STEP_REQUIRED: {
        const v1::Step::Kind kind = RequiredKind(guardrail);
        return kind == v1::Step::KIND_UNSPECIFIED ||
               run_.Succeeded(kind, guardrail.required_name());
      }
      case v1::Guardrail::CHECK_MAX_REPEATS:
        return run_.LongestRepetition() <= guardrail.threshold();
      case v1::Guardrail::CHECK_MAX_STEPS:
        return run_.own_steps() <= guardrail.threshold();
      default:
        return true;
    }
  }

  void CheckGuardrail(const v1::Guardrail& guardrail,
                      const std::string& strategy, std::string* answer) {
    if (Holds(guardrail)) return;
    const auto restore = run_.BeginPolicyWork();
    RunRecorder::SetError(
        "check_failed", "the answer may not leave as it is",
        run_.AddStep(v1::Step::KIND_GUARDRAIL, CheckName(guardrail.check()),
                     kCheckPrice, *answer, ""));
    if (guardrail.fallback() == v1::Guardrail::FALLBACK_ABSTAIN) {
      // In World::kNull an answer cannot be withheld.
      if (models_.world != World::kNull) *answer = family_run_->Abstention();
    } else if (guardrail.fallback() == v1::Guardrail::FALLBACK_ROUTE) {
      for (const Choice& route : RoutesOf(problem_.family)) {
        if (route.name == guardrail.fallback_route()) {
          *answer = family_run_->Answer(route.name, strategy);
        }
      }
    } else if (guardrail.fallback() == v1::Guardrail::FALLBACK_REQUIRE_STEP) {
      family_run_->Require(RequiredKind(guardrail), guardrail.required_name(),
                           answer);
    }
  }

  const Models& models_;
  const Problem& problem_;
  const PolicySource& policy_;
  RunRecorder run_;
  Directives directives_;
  std::unique_ptr<FamilyRun> family_run_;
  absl::flat_hash_set<std::string> adopted_;  // intervention ids
};

AgentRuntime::AgentRuntime(std::unique_ptr<const Parts> parts)
    : parts_(std::move(parts)) {}
AgentRuntime::~AgentRuntime() = default;

std::unique_ptr<const AgentRuntime> AgentRuntime::Create(
    const Options& options) {
  return std::unique_ptr<const AgentRuntime>(
      new AgentRuntime(std::make_unique<const Parts>(
          Parts{Models::Train(options.seed, options.world, options.drifted)})));
}

const std::vector<Choice>& AgentRuntime::RoutesOf(Family family) {
  static const auto& routes = ForFamilies([](Family it) {
    switch (it) {
      case Family::kReasoning:
        return std::vector<Choice>{
            {kBagOfWords, .45}, {kBigram, .45}, {kParser, .1}};
      case Family::kArithmetic:
        return std::vector<Choice>{{kShortSighted, .5}, {kNumberAware, .5}};
      case Family::kCorpus:
        return std::vector<Choice>{
            {kBm25, .8}, {kBm25Wide, .1}, {kBm25Tuned, .1}};
      case Family::kMemory:
        return std::vector<Choice>{{kNotebookAgent, 1}};
    }
    return std::vector<Choice>();
  });
  return routes[static_cast<size_t>(family)];
}

const std::vector<Choice>& AgentRuntime::StrategiesOf(Family family) {
  static const auto& corpus = *new std::vector<Choice>{
      {kDirect, .7}, {kDecompose, .15}, {kCiteFirst, .15}};
  static const auto& others = *new std::vector<Choice>{{kDirect, 1}};
  return family == Family::kCorpus ? corpus : others;
}

const std::vector<v1::Action>& AgentRuntime::ActionsOf(Family family) {
  static const auto& actions = ForFamilies(MakeActions);
  return actions[static_cast<size_t>(family)];
}

const std::vector<std::vector<v1::Action>>& AgentRuntime::OptionsOf(
    Family family) {
  static const auto& options = ForFamilies(MakeOptions);
  return options[static_cast<size_t>(family)];
}

std::vector<Problem> AgentRuntime::MakeProblems(Family family,
                                                base::Random* random) const {
  switch (family) {
    case Family::kReasoning:
      return {MakeReasoningProblem(Phrasing::kAsked, random)};
    case Family::kArithmetic:
      return {MakeArithmeticProblem(random)};
    case Family::kCorpus:
      return {parts_->models.corpus.MakeProblem(random)};
    case Family::kMemory:
      return MakeMemorySession(parts_->models.world, kSessionRuns, random);
  }
  return {};
}

v1::Trace AgentRuntime::Run(const Problem& problem, const PolicySource& policy,
                            absl::Time start) const {
  return Session(parts_->models, problem, policy, start).Run();
}

}  // namespace faultline::lab
