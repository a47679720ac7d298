#include "tests/worlds/world.h"

#include <algorithm>
#include <cstdio>

namespace faultline::worlds {
namespace {

// Labels of independent dice.
enum Label : uint64_t { kPlan, kContext, kEvent, kOutcome, kScene, kAction };

constexpr int64_t kFirstRunSeconds = 1'767'225'600;  // 2026-01-01
constexpr int64_t kSecondsBetweenRuns = 30;

// Share of runs that fail without any pattern, by task type before shuffling.
constexpr double kBaseRate[] = {0.06, 0.32, 0.10, 0.24, 0.14, 0.18};
constexpr double kNullRate = 0.4;
constexpr double kFailingSliceRate = 0.85;
constexpr double kOtherSliceRate = 0.3;
// Runs that bear a signature without its event, and without harm.
constexpr double kDecoyRate = 0.02;

constexpr double kTrueFix = 0.35;
constexpr double kWrongFix = 1;
constexpr double kHarmfulFix = 2;
constexpr double kHarmfulShare = 0.1;

// Share of the runs in its trigger that a mode strikes, in chains.
constexpr double kChainRate = 0.17;
// Share of all runs that a mode strikes, in scripts: modes differ in size.
constexpr double kScriptShare[] = {0.06, 0.05, 0.05, 0.04,
                                   0.04, 0.03, 0.03, 0.025};
constexpr double kRareShare = 0.003;

constexpr Variable kVariables[] = {Variable::kTaskType, Variable::kModel,
                                   Variable::kPrompt,   Variable::kMemory,
                                   Variable::kVersion,  Variable::kToolset};

bool Null(WorldKind kind) {
  return kind == WorldKind::kOutcomeNull || kind == WorldKind::kSliceNull ||
         kind == WorldKind::kHiddenSliceNull;
}

int CountOf(const ContextSizes& sizes, Variable variable) {
  switch (variable) {
    case Variable::kTaskType:
      return sizes.task_types;
    case Variable::kModel:
      return sizes.models - 1;  // before an upgrade
    case Variable::kPrompt:
      return sizes.prompts;
    case Variable::kMemory:
      return sizes.memories;
    case Variable::kVersion:
      return sizes.versions;
    case Variable::kToolset:
      return sizes.toolsets;
  }
  return 0;
}

v1::InterventionKind FixFor(Variable cause) {
  switch (cause) {
    case Variable::kTaskType:
      return v1::INTERVENTION_KIND_GUARDRAIL;
    case Variable::kModel:
      return v1::INTERVENTION_KIND_ROUTING_POLICY;
    case Variable::kPrompt:
      return v1::INTERVENTION_KIND_PROMPT_STRATEGY;
    case Variable::kMemory:
      return v1::INTERVENTION_KIND_MEMORY_SCHEMA;
    case Variable::kVersion:
      return v1::INTERVENTION_KIND_BANDIT_WEIGHTS;
    case Variable::kToolset:
      return v1::INTERVENTION_KIND_TOOL_CONSTRAINT;
  }
  return v1::INTERVENTION_KIND_UNSPECIFIED;
}

bool Holds(const Condition& condition, const Context& context) {
  return ValueOf(context, condition.variable) == condition.value;
}

}  // namespace

int ValueOf(const Context& context, Variable variable) {
  switch (variable) {
    case Variable::kTaskType:
      return context.task_type;
    case Variable::kModel:
      return context.model;
    case Variable::kPrompt:
      return context.prompt;
    case Variable::kMemory:
      return context.memory;
    case Variable::kVersion:
      return context.version;
    case Variable::kToolset:
      return context.toolset;
  }
  return -1;
}

World::World(const WorldOptions& options)
    : options_(options),
      sizes_(options.style == WorldStyle::kChains ? ChainContext()
                                                  : ScriptContext()),
      behavior_(options.style == WorldStyle::kChains
                    ? MakeChainBehavior(options.seed, options.modes)
                    : MakeScriptBehavior(options.seed, options.modes)),
      base_rate_(kBaseRate, kBaseRate + sizes_.task_types),
      failing_(2 * sizes_.task_types) {
  Dice dice(options.seed, kPlan);
  dice.Shuffle(&base_rate_);
  for (int t = 0; t < sizes_.task_types; ++t) {
    task_type_weight_.push_back(dice.Between(2, 4));
  }
  std::vector<int> types(sizes_.task_types);
  for (int t = 0; t < sizes_.task_types; ++t) types[t] = t;
  dice.Shuffle(&types);
  for (const int type : {types[0], types[1]}) {
    failing_[2 * type] = true;
    failing_[2 * type + 1] = options.kind == WorldKind::kSliceNull;
  }
  PlantModes();
  ListFixes();
}

void World::PlantModes() {
  Dice dice(options_.seed, kPlan, 1);
  // Modes take turns over the variables, so that none explains many.
  std::vector<Variable> variables(std::begin(kVariables), std::end(kVariables));
  dice.Shuffle(&variables);
  const auto cause = [&](size_t turn) {
    const Variable variable = variables[turn % variables.size()];
    const int count = CountOf(sizes_, variable);
    const auto round = static_cast<int>(turn / variables.size());
    return Condition{variable, (dice.Between(0, 1) + 2 * round) % count};
  };
  for (int m = 0; m < options_.modes; ++m) {
    PlantedMode& mode = modes_.emplace_back();
    mode.trigger = {cause(m)};
    // Share of all runs that the mode strikes.
    double share = options_.kind == WorldKind::kRare ? kRareShare : 0;
    if (options_.style == WorldStyle::kScripts) {
      // Every other mode needs two causes.
      if (m % 2 == 1) mode.trigger.push_back(cause(m + 1));
      if (share == 0) share = kScriptShare[m % 8];
    }
    if (share == 0) {
      mode.rate = 0.01;
      mode.trigger_rate = kChainRate;
      continue;
    }
    // Part of the events need no cause at all.
    mode.rate = 0.4 * share;
    mode.trigger_rate = 0.6 * share;
    for (const Condition& condition : mode.trigger) {
      mode.trigger_rate *= CountOf(sizes_, condition.variable);
    }
  }
  if (options_.kind == WorldKind::kNewMode && !modes_.empty()) {
    modes_.back().first_tick = options_.onset_tick;
  }
}

void World::ListFixes() {
  Dice dice(options_.seed, kPlan, 2);
  const bool placebo = options_.kind == WorldKind::kPlacebo;
  for (int m = 0; m < options_.modes; ++m) {
    const Condition cause = modes_[m].trigger[0];
    const v1::InterventionKind kind = FixFor(cause.variable);
    fixes_.push_back({m, kind, cause, placebo ? kWrongFix : kTrueFix});
    for (const Variable variable : kVariables) {
      if (variable == cause.variable) continue;
      const bool harmful =
          dice.Chance(options_.kind == WorldKind::kHarmful ? 1 : kHarmfulShare);
      const int value = dice.Between(0, CountOf(sizes_, variable) - 1);
      fixes_.push_back({m,
                        FixFor(variable),
                        {variable, value},
                        harmful && !placebo ? kHarmfulFix : kWrongFix});
    }
  }
}

Context World::DrawContext(uint64_t tick, Dice* dice) const {
  Context context;
  context.task_type = dice->Weighted(task_type_weight_);
  context.dataset = 2 * context.task_type + static_cast<int>(dice->Below(2));
  // Routers send more of a task to some models than to others.
  std::vector<uint32_t> models(sizes_.models - 1, 2);
  models[context.task_type % models.size()] = 4;
  context.model = dice->Weighted(models);
  context.prompt = dice->Between(0, sizes_.prompts - 1);
  context.memory = dice->Between(0, sizes_.memories - 1);
  context.version = dice->Between(0, sizes_.versions - 1);
  context.toolset = dice->Between(0, sizes_.toolsets - 1);
  if (options_.kind == WorldKind::kShift && tick >= options_.onset_tick &&
      context.model == 0) {
    context.model = sizes_.models - 1;
  }
  return context;
}

int World::DrawEvent(const Context& context, uint64_t tick,
                     const std::vector<int>& fixes, Dice* dice) const {
  int struck = -1;
  uint64_t first = UINT64_MAX;
  for (int m = 0; m < options_.modes; ++m) {
    const PlantedMode& mode = modes_[m];
    const bool triggered =
        std::all_of(mode.trigger.begin(), mode.trigger.end(),
                    [&](const Condition& c) { return Holds(c, context); });
    double rate = triggered ? mode.trigger_rate : mode.rate;
    for (const int f : fixes) {
      if (fixes_[f].mode == m && Holds(fixes_[f].scope, context)) {
        rate *= fixes_[f].relative_risk;
      }
    }
    // Both are drawn in any case, so that a fix shifts no other draw.
    const bool hit = dice->Chance(rate);
    const uint64_t turn = dice->Next();
    if (hit && tick >= mode.first_tick && turn < first) {
      first = turn;
      struck = m;
    }
  }
  return struck;
}

double World::BaseRate(const Context& context, uint64_t tick) const {
  switch (options_.kind) {
    case WorldKind::kOutcomeNull:
      return kNullRate;
    case WorldKind::kSliceNull:
    case WorldKind::kHiddenSliceNull:
      return failing_[context.dataset] ? kFailingSliceRate : kOtherSliceRate;
    case WorldKind::kShift:
      return base_rate_[context.task_type] *
             (tick >= options_.onset_tick ? 1.5 : 1);
    case WorldKind::kPlanted:
    case WorldKind::kRare:
    case WorldKind::kNewMode:
    case WorldKind::kPlacebo:
    case WorldKind::kHarmful:
      return base_rate_[context.task_type];
  }
  return 0;
}

SimulatedRun World::Draw(uint64_t index, const std::vector<int>& fixes) const {
  SimulatedRun run;
  Truth& truth = run.truth;
  truth.tick = index / options_.runs_per_tick;
  Dice context_dice(options_.seed, kContext, index);
  truth.context = DrawContext(truth.tick, &context_dice);
  Dice event_dice(options_.seed, kEvent, index);
  const int event = DrawEvent(truth.context, truth.tick, fixes, &event_dice);
  Dice outcome_dice(options_.seed, kOutcome, index);
  const bool failed_anyhow =
      outcome_dice.Chance(BaseRate(truth.context, truth.tick));
  const bool decoy = outcome_dice.Chance(kDecoyRate);
  const int decoy_mode =
      static_cast<int>(outcome_dice.Below(std::max(1, options_.modes)));

  const bool causal = !Null(options_.kind);
  truth.mode = causal ? event : -1;
  truth.failed = failed_anyhow || truth.mode >= 0;
  truth.signature =
      event >= 0 || !decoy || options_.modes == 0 ? event : decoy_mode;

  char id[32];
  std::snprintf(
      id, sizeof(id), "run-%016llx",
      static_cast<unsigned long long>(Dice(options_.seed, index).Next()));
  truth.trace_id = id;
  v1::Trace& trace = run.trace;
  trace.set_trace_id(id);
  trace.mutable_start_time()->set_seconds(
      kFirstRunSeconds + kSecondsBetweenRuns * static_cast<int64_t>(index));
  Dice scene_dice(options_.seed, kScene, index);
  behavior_->Describe(truth.context, &scene_dice, &trace);
  Course course;
  course.mode = truth.signature;
  Dice action_dice(options_.seed, kAction, index);
  behavior_->Act(truth.context, course, &action_dice, &trace);
  trace.mutable_evaluation()->set_outcome(truth.failed ? v1::OUTCOME_FAIL
                                                       : v1::OUTCOME_PASS);
  return run;
}

}  // namespace faultline::worlds
