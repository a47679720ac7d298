#include "client/lab/agent_runtime.h"

#include <re2/re2.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/lab/arithmetic_agent.h"
#include "client/lab/arithmetic_world.h"
#include "client/lab/calculator.h"
#include "client/lab/question_parser.h"
#include "client/lab/reasoning_world.h"
#include "client/lab/text_classifier.h"
#include "client/sdk/route_choice.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace faultline::lab {
namespace {

constexpr char kBagOfWords[] = "bag_of_words";
constexpr char kBigram[] = "bigram";
constexpr char kParser[] = "parser";
// Decides by length alone, learned mostly from short questions, and takes the
// calculator where it is likely to be needed.
constexpr char kShortSighted[] = "calc_a";
constexpr double kShortSightedNeed = .45;
// Decides by the numbers, learned from all sorts, and takes the calculator
// where it may be needed.
constexpr char kNumberAware[] = "calc_b";
constexpr double kNumberAwareNeed = .1;
constexpr char kCalculator[] = "calculator";
constexpr char kNormalizer[] = "normalizer";
constexpr char kMental[] = "mental";

constexpr int kTaughtQuestions = 12000;
constexpr int kTaughtSums = 2000;
// Share of long questions among those that kShortSighted learned from.
constexpr double kLongShare = .4;

// The arguments that the calculator takes.
constexpr char kCalculatorPattern[] = "[0-9 .()+*/-]+";

// What a step takes: median time and price in US dollars.
struct Price {
  double milliseconds;
  double dollars;
};
constexpr Price kWeakModel = {10, .0001};
constexpr Price kStrongModel = {100, .001};
constexpr Price kAgentModel = {25, .0002};
constexpr Price kToolCall = {30, .00005};
constexpr Price kRepair = {60, .0002};
constexpr Price kCheck = {1, 0};

constexpr char kStepRequiredTool[] = "tool";

v1::Action RouteTo(const std::string& route) {
  v1::Action action;
  v1::RoutingPolicy::Candidate* candidate =
      action.mutable_routing_policy()->add_candidates();
  candidate->set_name(route);
  candidate->set_weight(1);
  return action;
}

std::vector<std::vector<v1::Action>> MakeOptions(Family family) {
  v1::Action constraint;
  constraint.mutable_tool_constraint()->set_tool(kCalculator);
  constraint.mutable_tool_constraint()->mutable_argument()->set_pattern(
      kCalculatorPattern);
  v1::Action guardrail;
  guardrail.mutable_guardrail()->set_check(v1::Guardrail::CHECK_STEP_REQUIRED);
  guardrail.mutable_guardrail()->set_required_step(kStepRequiredTool);
  guardrail.mutable_guardrail()->set_required_name(kCalculator);
  guardrail.mutable_guardrail()->set_fallback(
      v1::Guardrail::FALLBACK_REQUIRE_STEP);

  std::vector<std::vector<v1::Action>> options;
  for (const Route& route : AgentRuntime::RoutesOf(family)) {
    const v1::Action routing = RouteTo(route.name);
    options.push_back({routing});
    if (family != Family::kArithmetic) continue;
    options.push_back({routing, constraint});
    options.push_back({routing, guardrail});
    options.push_back({routing, constraint, guardrail});
  }
  return options;
}

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void SetDuration(absl::Duration time, google::protobuf::Duration* duration) {
  const int64_t nanos = absl::ToInt64Nanoseconds(time);
  duration->set_seconds(nanos / 1000000000);
  duration->set_nanos(static_cast<int32_t>(nanos % 1000000000));
}

const char* StepKindText(v1::Step::Kind kind) {
  if (kind == v1::Step::KIND_TOOL) return kStepRequiredTool;
  if (kind == v1::Step::KIND_RETRIEVAL) return "retrieval";
  if (kind == v1::Step::KIND_MEMORY) return "memory";
  return "";
}

std::string CheckName(v1::Guardrail::Check check) {
  return absl::AsciiStrToLower(
      absl::StripPrefix(v1::Guardrail::Check_Name(check), "CHECK_"));
}

}  // namespace

struct AgentRuntime::Models {
  TextClassifier bag_of_words;
  TextClassifier bigram;
  QuestionParser parser;
  ToolChooser short_sighted;
  ToolChooser number_aware;
};

// One run, from the question to the judged trace.
class AgentRuntime::Session {
 public:
  Session(const Models& models, const Problem& problem,
          const PolicySource& policy, absl::Time start)
      : models_(models),
        problem_(problem),
        policy_(policy),
        random_(problem.seed) {
    trace_.set_trace_id(problem.id);
    SetTime(start, trace_.mutable_start_time());
    v1::Task* task = trace_.mutable_task();
    task->set_id(problem.id);
    task->set_type(FamilyName(problem.family));
    task->set_dataset("lab");
    task->set_input(problem.question);
    (*task->mutable_labels())["numbers"] =
        absl::StrCat(std::min(CountNumbers(problem.question), 5));
    v1::System* system = trace_.mutable_system();
    system->set_agent("lab");
    system->set_agent_version("1");
    system->set_prompt_strategy("direct");
    if (problem.family == Family::kArithmetic) system->set_toolset(kCalculator);
  }

  v1::Trace Run(absl::Time start) && {
    const std::string route = ChooseRoute();
    Adopt(policy_.Decide(trace_, problem_.id), /*routing=*/false);
    double confidence = 0;
    std::string answer = Answer(route, &confidence);
    (*trace_.mutable_evaluation()->mutable_signals())["confidence"] =
        confidence;
    // A rule may have waited for the signal.
    Adopt(policy_.Decide(trace_, problem_.id), /*routing=*/false);
    for (size_t i = 0; i < guardrails_.size(); ++i) {
      CheckGuardrail(v1::Guardrail(guardrails_[i]), &answer);
    }

    v1::Evaluation* evaluation = trace_.mutable_evaluation();
    const bool passed = answer == problem_.answer;
    evaluation->set_outcome(passed ? v1::OUTCOME_PASS : v1::OUTCOME_FAIL);
    evaluation->set_score(passed ? 1 : 0);
    evaluation->set_evaluator("lab/answer_key");
    evaluation->set_cost(cost_);
    SetDuration(elapsed_, evaluation->mutable_latency());
    SetTime(start + elapsed_, trace_.mutable_end_time());
    return std::move(trace_);
  }

 private:
  // Takes over the matches of one sort, each intervention once.
  void Adopt(const Advice& advice, bool routing) {
    if (advice.exposure.policy_version() != 0) {
      trace_.mutable_exposure()->set_policy_version(
          advice.exposure.policy_version());
    }
    absl::flat_hash_set<std::string> fresh;
    for (const Advice::Match& match : advice.matches) {
      if (sdk::IsRouting(match.action) != routing ||
          !adopted_.insert(match.intervention_id).second) {
        continue;
      }
      fresh.insert(match.intervention_id);
      if (!match.applies) continue;
      if (match.action.has_tool_constraint()) {
        constraints_.push_back(match.action.tool_constraint());
      } else if (match.action.has_guardrail()) {
        guardrails_.push_back(match.action.guardrail());
      }
    }
    for (const auto& exposure : advice.exposure.interventions()) {
      if (fresh.contains(exposure.intervention_id())) {
        *trace_.mutable_exposure()->add_interventions() = exposure;
      }
    }
  }

  void SetRoute(const std::string& name) {
    trace_.mutable_system()->set_model(name);
    trace_.mutable_decisions(0)->set_chosen(name);
  }

  // Draws the router's own choice, lets the policy see it, and draws again
  // where a routing rule applies. The logged propensity is over both draws.
  std::string ChooseRoute() {
    const std::vector<Route>& routes = RoutesOf(problem_.family);
    std::vector<std::string> names;
    std::vector<double> own;
    v1::Decision* decision = trace_.add_decisions();
    decision->set_kind(v1::Decision::KIND_ROUTE);
    for (const Route& route : routes) {
      names.push_back(route.name);
      own.push_back(route.probability);
      decision->add_candidates()->set_name(route.name);
    }
    const size_t drawn = sdk::DrawIndex(own, random_.Uniform());
    const double again = random_.Uniform();

    std::vector<double> total(routes.size(), 0);
    size_t chosen = drawn;
    bool by_policy = false;
    for (size_t i = 0; i < routes.size(); ++i) {
      SetRoute(routes[i].name);
      const Advice advice = policy_.Decide(trace_, problem_.id);
      std::vector<double> weights;
      for (const Advice::Match& match : advice.matches) {
        if (!match.applies || !sdk::IsRouting(match.action)) continue;
        weights = sdk::RouteProbabilities(names, match.action);
        if (!weights.empty()) break;
      }
      if (i == drawn) {
        Adopt(advice, /*routing=*/true);
        by_policy = !weights.empty();
        if (by_policy) chosen = sdk::DrawIndex(weights, again);
      }
      if (weights.empty()) {
        total[i] += own[i];
        continue;
      }
      for (size_t j = 0; j < routes.size(); ++j)
        total[j] += own[i] * weights[j];
    }
    SetRoute(routes[chosen].name);
    decision->set_propensity(std::min(total[chosen], 1.));
    decision->set_reason(by_policy ? "policy" : "router's own weights");
    if (by_policy) {
      decision->set_policy_version(trace_.exposure().policy_version());
    }
    return routes[chosen].name;
  }

  v1::Step* AddStep(v1::Step::Kind kind, absl::string_view name, Price price,
                    absl::string_view input, absl::string_view output) {
    v1::Step* step = trace_.add_steps();
    step->set_kind(kind);
    step->set_name(name.data(), name.size());
    step->set_actor(trace_.system().model());
    step->set_status(v1::Step::STATUS_OK);
    step->set_input(input.data(), input.size());
    step->set_output(output.data(), output.size());
    step->set_cost(price.dollars);
    const absl::Duration time =
        absl::Milliseconds(price.milliseconds * (.8 + .4 * random_.Uniform()));
    SetDuration(elapsed_, step->mutable_start_offset());
    SetDuration(time, step->mutable_duration());
    elapsed_ += time;
    cost_ += price.dollars;
    own_steps_ += for_policy_ ? 0 : 1;
    return step;
  }

  static void SetError(absl::string_view type, absl::string_view message,
                       v1::Step* step) {
    step->set_status(v1::Step::STATUS_ERROR);
    step->set_error_type(type.data(), type.size());
    step->set_error_message(message.data(), message.size());
  }

  std::string Answer(const std::string& route, double* confidence) {
    switch (problem_.family) {
      case Family::kReasoning:
        return Reason(route, confidence);
      case Family::kArithmetic:
        return Reckon(route, confidence);
    }
    return "";
  }

  std::string Reason(const std::string& route, double* confidence) {
    if (route == kParser) {
      const QuestionParser::Answer answer =
          models_.parser.Solve(problem_.question);
      v1::Step* parse = AddStep(v1::Step::KIND_LLM, "parse", kStrongModel,
                                problem_.question, answer.frame);
      (*parse->mutable_attributes())["unknown_sentences"] =
          absl::StrCat(answer.unknown_sentences);
      *confidence = answer.confidence;
      std::string text = answer.yes ? "yes" : "no";
      AddStep(v1::Step::KIND_LLM, "answer", kWeakModel, answer.frame, text);
      return text;
    }
    const TextClassifier& model =
        route == kBigram ? models_.bigram : models_.bag_of_words;
    const double yes = model.ProbabilityOfYes(problem_.question);
    *confidence = std::max(yes, 1 - yes);
    std::string text = yes > .5 ? "yes" : "no";
    AddStep(v1::Step::KIND_LLM, "answer", kWeakModel, problem_.question, text);
    return text;
  }

  std::string Reckon(const std::string& route, double* confidence) {
    expression_ = ExtractExpression(problem_.question);
    AddStep(v1::Step::KIND_LLM, "extract", kAgentModel, problem_.question,
            expression_);
    const bool aware = route == kNumberAware;
    const double need = (aware ? models_.number_aware : models_.short_sighted)
                            .ProbabilityOfNeed(problem_.question);
    *confidence = std::max(need, 1 - need);
    const bool use_tool = need > (aware ? kNumberAwareNeed : kShortSightedNeed);
    v1::Decision* decision = trace_.add_decisions();
    decision->set_kind(v1::Decision::KIND_TOOL);
    v1::Decision::Candidate* tool = decision->add_candidates();
    tool->set_name(kCalculator);
    tool->set_score(need);
    v1::Decision::Candidate* mental = decision->add_candidates();
    mental->set_name(kMental);
    mental->set_score(1 - need);
    decision->set_chosen(use_tool ? kCalculator : kMental);
    decision->set_propensity(1);
    decision->set_step(trace_.steps_size());

    std::string result;
    if (!use_tool || !CallCalculator(&result)) {
      result = NumberText(CalculateMentally(expression_));
      AddStep(v1::Step::KIND_LLM, kMental, kAgentModel, expression_, result);
    }
    AddStep(v1::Step::KIND_LLM, "answer", kAgentModel, result, result);
    return result;
  }

  // Calls the calculator with the expression as it stands in the text, within
  // the constraints in force. False where there is no result.
  bool CallCalculator(std::string* result) {
    std::string argument = expression_;
    for (const v1::ToolConstraint& constraint : constraints_) {
      if (constraint.tool() == kCalculator && !Permit(constraint, &argument)) {
        return false;
      }
    }
    const absl::StatusOr<double> value = Calculate(argument);
    v1::Step* step = AddStep(v1::Step::KIND_TOOL, kCalculator, kToolCall,
                             argument, value.ok() ? NumberText(*value) : "");
    if (!value.ok()) {
      SetError(absl::IsInvalidArgument(value.status()) ? "bad_argument"
                                                       : "arithmetic_error",
               value.status().message(), step);
      return false;
    }
    *result = NumberText(*value);
    return true;
  }

  // Whether the calculator may be called; repairs the argument where the rule
  // asks for another form.
  bool Permit(const v1::ToolConstraint& constraint, std::string* argument) {
    switch (constraint.rule_case()) {
      case v1::ToolConstraint::kArgument: {
        const RE2 pattern(constraint.argument().pattern(), RE2::Quiet);
        // The input is one plain text: a rule about a named part of it, or one
        // that cannot be read, says nothing.
        if (!constraint.argument().argument().empty() || !pattern.ok() ||
            RE2::FullMatch(*argument, pattern)) {
          return true;
        }
        return (Normalize(argument) && RE2::FullMatch(*argument, pattern)) ||
               Refuse("the argument does not have the required form");
      }
      case v1::ToolConstraint::kCallLimit: {
        const int calls = static_cast<int>(std::count_if(
            trace_.steps().begin(), trace_.steps().end(),
            [](const v1::Step& step) { return step.name() == kCalculator; }));
        return calls < constraint.call_limit().max_calls() ||
               Refuse("the limit of calls is reached");
      }
      case v1::ToolConstraint::kOrder: {
        const std::string& first = constraint.order().after_tool();
        return Succeeded(v1::Step::KIND_TOOL, first) ||
               (first == kNormalizer && Normalize(argument)) ||
               Refuse("another tool must come first");
      }
      case v1::ToolConstraint::kDisable:
        return Refuse("the tool is disabled");
      case v1::ToolConstraint::RULE_NOT_SET:
        return true;
    }
    return true;
  }

  // Until the result dies, steps are the policy's and not the agent's own.
  auto BeginPolicyWork() {
    const bool before = for_policy_;
    for_policy_ = true;
    return absl::MakeCleanup([this, before] { for_policy_ = before; });
  }

  bool Refuse(absl::string_view reason) {
    const auto restore = BeginPolicyWork();
    SetError("call_refused", reason,
             AddStep(v1::Step::KIND_GUARDRAIL, "tool_constraint", kCheck,
                     kCalculator, ""));
    return false;
  }

  bool Normalize(std::string* argument) {
    const auto restore = BeginPolicyWork();
    const absl::StatusOr<std::string> normal = NormalizeExpression(*argument);
    v1::Step* step = AddStep(v1::Step::KIND_TOOL, kNormalizer, kRepair,
                             *argument, normal.value_or(""));
    if (!normal.ok()) {
      SetError("unknown_word", normal.status().message(), step);
      return false;
    }
    *argument = *normal;
    return true;
  }

  bool Succeeded(v1::Step::Kind kind, absl::string_view name) const {
    return std::any_of(trace_.steps().begin(), trace_.steps().end(),
                       [&](const v1::Step& step) {
                         return step.kind() == kind &&
                                step.status() == v1::Step::STATUS_OK &&
                                (name.empty() || step.name() == name);
                       });
  }

  int LongestRepetition() const {
    int longest = 0;
    int run = 0;
    for (int i = 0; i < trace_.steps_size(); ++i) {
      const v1::Step& step = trace_.steps(i);
      const bool same = i > 0 && step.name() == trace_.steps(i - 1).name() &&
                        step.input() == trace_.steps(i - 1).input();
      run = same ? run + 1 : 1;
      longest = std::max(longest, run);
    }
    return longest;
  }

  bool Holds(const v1::Guardrail& guardrail) const {
    switch (guardrail.check()) {
      case v1::Guardrail::CHECK_SIGNAL_AT_LEAST: {
        const auto& signals = trace_.evaluation().signals();
        const auto signal = signals.find(guardrail.signal());
        return signal == signals.end() ||
               signal->second >= guardrail.threshold();
      }
      case v1::Guardrail::CHECK_STEP_REQUIRED:
        for (const v1::Step::Kind kind :
             {v1::Step::KIND_TOOL, v1::Step::KIND_RETRIEVAL,
              v1::Step::KIND_MEMORY}) {
          if (guardrail.required_step() == StepKindText(kind)) {
            return Succeeded(kind, guardrail.required_name());
          }
        }
        return true;
      case v1::Guardrail::CHECK_MAX_REPEATS:
        return LongestRepetition() <= guardrail.threshold();
      case v1::Guardrail::CHECK_MAX_STEPS:
        return own_steps_ <= guardrail.threshold();
      default:
        return true;
    }
  }

  void CheckGuardrail(const v1::Guardrail& guardrail, std::string* answer) {
    if (Holds(guardrail)) return;
    const auto restore = BeginPolicyWork();
    SetError("check_failed", "the answer may not leave as it is",
             AddStep(v1::Step::KIND_GUARDRAIL, CheckName(guardrail.check()),
                     kCheck, *answer, ""));
    if (guardrail.fallback() == v1::Guardrail::FALLBACK_ABSTAIN) {
      answer->clear();
    } else if (guardrail.fallback() == v1::Guardrail::FALLBACK_ROUTE) {
      for (const Route& route : RoutesOf(problem_.family)) {
        // The signal stays that of the first answer: the check has read it.
        double confidence = 0;
        if (route.name == guardrail.fallback_route()) {
          *answer = Answer(route.name, &confidence);
        }
      }
    } else if (guardrail.fallback() == v1::Guardrail::FALLBACK_REQUIRE_STEP) {
      const bool can_call = problem_.family == Family::kArithmetic &&
                            guardrail.required_step() == kStepRequiredTool &&
                            (guardrail.required_name().empty() ||
                             guardrail.required_name() == kCalculator);
      std::string result;
      if (can_call && CallCalculator(&result)) {
        AddStep(v1::Step::KIND_LLM, "answer", kAgentModel, result, result);
        *answer = result;
      }
    }
  }

  const Models& models_;
  const Problem& problem_;
  const PolicySource& policy_;
  base::Random random_;
  v1::Trace trace_;
  absl::Duration elapsed_;
  double cost_ = 0;
  std::string expression_;
  // Steps of the agent's own: what a policy adds must not trip a limit.
  int own_steps_ = 0;
  bool for_policy_ = false;
  std::vector<v1::ToolConstraint> constraints_;
  std::vector<v1::Guardrail> guardrails_;
  absl::flat_hash_set<std::string> adopted_;  // intervention ids
};

AgentRuntime::AgentRuntime(std::unique_ptr<const Models> models)
    : models_(std::move(models)) {}
AgentRuntime::~AgentRuntime() = default;

std::unique_ptr<const AgentRuntime> AgentRuntime::Create(uint64_t seed) {
  base::Random random(base::Mix64(seed));
  std::vector<Problem> questions;
  questions.reserve(kTaughtQuestions);
  for (int i = 0; i < kTaughtQuestions; ++i) {
    questions.push_back(MakeReasoningProblem(Phrasing::kTaught, &random));
  }
  std::vector<Problem> short_sums;
  std::vector<Problem> sums;
  while (sums.size() < kTaughtSums) {
    Problem sum = MakeArithmeticProblem(&random);
    if (sum.kind != "plain" && sum.kind != "long") continue;
    if (sum.kind == "plain" || random.Bernoulli(kLongShare)) {
      short_sums.push_back(sum);
    }
    sums.push_back(std::move(sum));
  }
  auto models = std::make_unique<const Models>(Models{
      TextClassifier::Train(questions, 1, &random),
      TextClassifier::Train(questions, 2, &random),
      QuestionParser::Train(questions),
      ToolChooser::Train(short_sums, ToolChooser::Sight::kLength, &random),
      ToolChooser::Train(sums, ToolChooser::Sight::kNumbers, &random)});
  return std::unique_ptr<const AgentRuntime>(
      new AgentRuntime(std::move(models)));
}

const std::vector<Route>& AgentRuntime::RoutesOf(Family family) {
  static const auto& reasoning = *new std::vector<Route>{
      {kBagOfWords, .45}, {kBigram, .45}, {kParser, .1}};
  static const auto& arithmetic =
      *new std::vector<Route>{{kShortSighted, .5}, {kNumberAware, .5}};
  return family == Family::kReasoning ? reasoning : arithmetic;
}

const std::vector<std::vector<v1::Action>>& AgentRuntime::OptionsOf(
    Family family) {
  using Options = std::vector<std::vector<v1::Action>>;
  static const auto& reasoning = *new Options(MakeOptions(Family::kReasoning));
  static const auto& arithmetic =
      *new Options(MakeOptions(Family::kArithmetic));
  return family == Family::kReasoning ? reasoning : arithmetic;
}

v1::Trace AgentRuntime::Run(const Problem& problem, const PolicySource& policy,
                            absl::Time start) const {
  return Session(*models_, problem, policy, start).Run(start);
}

bool AgentRuntime::OraclePasses(const Problem& problem) const {
  for (const std::vector<v1::Action>& actions : OptionsOf(problem.family)) {
    const v1::Trace trace =
        Run(problem, ForcedActions(actions), absl::UnixEpoch());
    if (trace.evaluation().outcome() == v1::OUTCOME_PASS) return true;
  }
  return false;
}

}  // namespace faultline::lab
