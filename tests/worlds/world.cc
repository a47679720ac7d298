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

// Factors on the rate of a mode: whose marks a guard comes upon, and, in the
// harmful world, that a change spares nothing.
constexpr double kStopped = 0.35;
constexpr double kHarm = 2;

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

bool Holds(const Condition& condition, const Context& context) {
  return ValueOf(context, condition.variable) == condition.value;
}

// The context that is left of one by changes. Memory that drops old records,
// or takes no conflicting ones, is as good as fresh.
Context Changed(const Context& drawn, const Changes& changes) {
  constexpr int kFresh = 1, kStale = 2, kContradictory = 3;
  Context context = drawn;
  if (changes.model >= 0) context.model = changes.model;
  if (changes.prompt >= 0) context.prompt = changes.prompt;
  if ((changes.drops_old_records && context.memory == kStale) ||
      (changes.refuses_conflicts && context.memory == kContradictory)) {
    context.memory = kFresh;
  }
  return context;
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
  for (int m = 0; m < options.modes; ++m) {
    stoppable_.push_back(behavior_->Stoppable(m));
  }
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

Context World::DrawContext(uint64_t tick, Dice* dice) const {
  Context context;
  context.task_type = dice->Weighted(task_type_weight_);
  context.dataset = 2 * context.task_type + static_cast<int>(dice->Below(2));
  context.model = dice->Weighted(ModelWeights(context.task_type));
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

std::vector<uint32_t> World::ModelWeights(int task_type) const {
  // Routers send more of a task to some models than to others.
  std::vector<uint32_t> weights(sizes_.models - 1, 2);
  weights[task_type % weights.size()] = 4;
  return weights;
}

double World::ModeRate(int mode, uint64_t tick, const Context& drawn,
                       const Changes& changes) const {
  const PlantedMode& planted = modes_[mode];
  if (tick < planted.first_tick) return 0;
  const auto rate_in = [&](const Context& context) {
    const bool triggered =
        std::all_of(planted.trigger.begin(), planted.trigger.end(),
                    [&](const Condition& c) { return Holds(c, context); });
    return triggered ? planted.trigger_rate : planted.rate;
  };
  const double usual = rate_in(drawn);
  if (options_.kind == WorldKind::kPlacebo) return usual;
  double rate = rate_in(Changed(drawn, changes));
  if (std::count(changes.stopped.begin(), changes.stopped.end(), mode) > 0) {
    rate *= kStopped;
  }
  const bool harms = options_.kind == WorldKind::kHarmful && changes.any();
  return harms && rate >= usual ? std::min(1.0, kHarm * rate) : rate;
}

int World::DrawEvent(const Context& drawn, uint64_t tick,
                     const Changes& changes, Dice* dice) const {
  int struck = -1;
  uint64_t first = UINT64_MAX;
  for (int m = 0; m < options_.modes; ++m) {
    // Both are drawn in any case, so that a change shifts no other draw.
    const bool hit = dice->Chance(ModeRate(m, tick, drawn, changes));
    const uint64_t turn = dice->Next();
    if (hit && turn < first) {
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

Context World::ContextOf(uint64_t index) const {
  Dice dice(options_.seed, kContext, index);
  return DrawContext(index / options_.runs_per_tick, &dice);
}

v1::Trace World::Begin(uint64_t index) const {
  return Describe(index, ContextOf(index));
}

v1::Trace World::Describe(uint64_t index, const Context& context) const {
  char id[32];
  std::snprintf(
      id, sizeof(id), "run-%016llx",
      static_cast<unsigned long long>(Dice(options_.seed, index).Next()));
  v1::Trace trace;
  trace.set_trace_id(id);
  trace.mutable_start_time()->set_seconds(
      kFirstRunSeconds + kSecondsBetweenRuns * static_cast<int64_t>(index));
  Dice dice(options_.seed, kScene, index);
  behavior_->Describe(context, &dice, &trace);
  const std::vector<uint32_t> weights = ModelWeights(context.task_type);
  for (v1::Decision& decision : *trace.mutable_decisions()) {
    // After an upgrade the model is one that no router drew.
    if (context.model >= static_cast<int>(weights.size())) break;
    uint32_t total = 0;
    for (const uint32_t weight : weights) total += weight;
    decision.set_propensity(static_cast<double>(weights[context.model]) /
                            total);
  }
  return trace;
}

SimulatedRun World::Draw(uint64_t index, const Changes& changes) const {
  SimulatedRun run;
  Truth& truth = run.truth;
  truth.tick = index / options_.runs_per_tick;
  const Context drawn = ContextOf(index);
  truth.context = Changed(drawn, changes);
  Dice event_dice(options_.seed, kEvent, index);
  const int event = DrawEvent(drawn, truth.tick, changes, &event_dice);
  Dice outcome_dice(options_.seed, kOutcome, index);
  const bool failed_anyhow = outcome_dice.Chance(BaseRate(drawn, truth.tick));
  const bool decoy = outcome_dice.Chance(kDecoyRate);
  const int decoy_mode =
      static_cast<int>(outcome_dice.Below(std::max(1, options_.modes)));

  const bool causal = !Null(options_.kind);
  truth.mode = causal ? event : -1;
  truth.failed = failed_anyhow || truth.mode >= 0;
  truth.signature =
      event >= 0 || !decoy || options_.modes == 0 ? event : decoy_mode;

  run.trace = Describe(index, truth.context);
  truth.trace_id = run.trace.trace_id();
  Course course;
  course.mode = truth.signature;
  Dice action_dice(options_.seed, kAction, index);
  behavior_->Act(truth.context, course, &action_dice, &run.trace);
  run.trace.mutable_evaluation()->set_outcome(truth.failed ? v1::OUTCOME_FAIL
                                                           : v1::OUTCOME_PASS);
  return run;
}

double World::FailureRate(uint64_t index, const Changes& changes) const {
  const uint64_t tick = index / options_.runs_per_tick;
  const Context drawn = ContextOf(index);
  double passes = 1 - BaseRate(drawn, tick);
  if (!Null(options_.kind)) {
    for (int m = 0; m < options_.modes; ++m) {
      passes *= 1 - ModeRate(m, tick, drawn, changes);
    }
  }
  return 1 - passes;
}

Changes World::BestChanges(uint64_t index) const {
  Changes best;
  double least = FailureRate(index);
  Changes changes;
  for (int m = 0; m < options_.modes; ++m) {
    if (stoppable_[m]) changes.stopped.push_back(m);
  }
  for (const std::vector<int>& stopped :
       {std::vector<int>(), changes.stopped}) {
    changes.stopped = stopped;
    for (int model = -1; model + 1 < sizes_.models; ++model) {
      for (int prompt = -1; prompt < sizes_.prompts; ++prompt) {
        for (const bool tended : {false, true}) {
          changes.model = model;
          changes.prompt = prompt;
          changes.drops_old_records = changes.refuses_conflicts = tended;
          const double rate = FailureRate(index, changes);
          if (rate >= least) continue;
          least = rate;
          best = changes;
        }
      }
    }
  }
  return best;
}

void World::Carry(const v1::Action& action, Dice* dice, Changes* changes,
                  double* propensity) const {
  // Millionths, so that the draw is the same everywhere.
  constexpr double kUnit = 1e6;
  std::vector<double> share(sizes_.models - 1);
  double floor = 0;
  const auto add = [&](const std::string& name, double weight) {
    const int model = behavior_->ModelNamed(name);
    if (model >= 0 && model < sizes_.models - 1) share[model] += weight;
  };
  if (action.has_routing_policy()) {
    for (const auto& candidate : action.routing_policy().candidates()) {
      add(candidate.name(), candidate.weight());
    }
    floor = action.routing_policy().exploration_floor();
  } else if (action.has_bandit_weights()) {
    for (const auto& arm : action.bandit_weights().arms()) {
      add(arm.name(), arm.probability());
    }
    floor = action.bandit_weights().floor();
  } else if (action.has_prompt_strategy()) {
    changes->prompt =
        behavior_->PromptNamed(action.prompt_strategy().strategy());
  } else if (action.has_memory_schema()) {
    constexpr int64_t kMonth =
        30 * 86'400;  // what stale records are older than
    const v1::MemorySchema& schema = action.memory_schema();
    changes->drops_old_records =
        changes->drops_old_records ||
        (schema.has_max_age() && schema.max_age().seconds() <= kMonth);
    changes->refuses_conflicts =
        changes->refuses_conflicts || schema.refuse_conflicting_writes();
  } else {
    for (int m = 0; m < options_.modes; ++m) {
      if (behavior_->Stops(action, m)) changes->stopped.push_back(m);
    }
  }
  std::vector<uint32_t> weights;
  uint64_t total = 0;
  double sum = 0;
  for (const double s : share) sum += s;
  if (sum <= 0) return;
  for (const double s : share) {
    weights.push_back(static_cast<uint32_t>(std::max(s, floor) * kUnit));
    total += weights.back();
  }
  changes->model = dice->Weighted(weights);
  *propensity =
      static_cast<double>(weights[changes->model]) / static_cast<double>(total);
}

}  // namespace faultline::worlds
