#ifndef FAULTLINE_TESTS_WORLDS_WORLD_H_
#define FAULTLINE_TESTS_WORLDS_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/trace.pb.h"
#include "tests/worlds/behavior.h"

namespace faultline::worlds {

// Simulated worlds for measuring the product (METHODS 7). In all of them runs
// bear the signatures of modes; they differ in what makes runs fail.
enum class WorldKind : uint8_t {
  kPlanted,          // modes make runs fail; so does the task, without pattern
  kOutcomeNull,      // every run fails with the same probability
  kSliceNull,        // two task types fail often, the others seldom
  kHiddenSliceNull,  // as kSliceNull, by dataset inside the task types
  kRare,             // each mode strikes .3 % of the runs
  kNewMode,          // the last mode begins at onset_tick
  kShift,            // at onset_tick failures rise and a model is replaced
  kPlacebo,          // no change does anything
  kHarmful,          // a change that spares a mode nothing makes it worse
};

// Two ways to write traces, so that nothing is tuned on one of them.
enum class WorldStyle : uint8_t { kChains, kScripts };

struct WorldOptions {
  WorldKind kind = WorldKind::kPlanted;
  WorldStyle style = WorldStyle::kChains;
  uint64_t seed = 1;
  int modes = 8;
  uint64_t runs_per_tick = 1000;
  uint64_t onset_tick = 5;
};

enum class Variable : uint8_t {
  kTaskType,
  kModel,
  kPrompt,
  kMemory,
  kVersion,
  kToolset,
};

// A value that a variable of the context must have.
struct Condition {
  Variable variable;
  int value;
};

struct PlantedMode {
  std::vector<Condition> trigger;  // all of them
  double rate = 0;                 // of its event, outside the trigger
  double trigger_rate = 0;         // inside
  uint64_t first_tick = 0;
};

// What a runtime does otherwise in one run. Models, prompts and memory are
// causes, so that a change of them takes a run out of one trigger and may take
// it into another.
struct Changes {
  int model = -1;   // that runs instead; -1: the one that was drawn
  int prompt = -1;  // as model
  bool drops_old_records = false;
  bool refuses_conflicts = false;
  std::vector<int> stopped;  // modes whose marks a guard comes upon
  bool any() const {
    return model >= 0 || prompt >= 0 || drops_old_records ||
           refuses_conflicts || !stopped.empty();
  }
};

// What is known of a run and must not be in its trace.
struct Truth {
  std::string trace_id;
  uint64_t tick = 0;
  Context context;
  int signature = -1;  // the mode whose signature the run bears, or -1
  int mode = -1;       // the mode that made it fail, or -1
  bool failed = false;
};

struct SimulatedRun {
  v1::Trace trace;
  Truth truth;
};

// An endless stream of runs. Every run is a function of the options, its index
// and the changes made in it, the same on every machine. Immutable, so
// thread-safe.
class World {
 public:
  explicit World(const WorldOptions& options);

  SimulatedRun Draw(uint64_t index, const Changes& changes = {}) const;

  // The run before it has done anything: what a router sees.
  v1::Trace Begin(uint64_t index) const;
  // Probability that it fails.
  double FailureRate(uint64_t index, const Changes& changes = {}) const;
  // The changes under which it fails least, of all there are.
  Changes BestChanges(uint64_t index) const;
  // What a runtime that carries out `action` does otherwise, model and prompt
  // by name; of a route, the model is drawn by `dice`, and its probability set.
  void Carry(const v1::Action& action, Dice* dice, Changes* changes,
             double* propensity) const;

  const std::vector<PlantedMode>& modes() const { return modes_; }
  const ContextSizes& sizes() const { return sizes_; }

 private:
  void PlantModes();
  Context ContextOf(uint64_t index) const;
  v1::Trace Describe(uint64_t index, const Context& context) const;
  Context DrawContext(uint64_t tick, Dice* dice) const;
  // How often each model is drawn for a task type.
  std::vector<uint32_t> ModelWeights(int task_type) const;
  double ModeRate(int mode, uint64_t tick, const Context& drawn,
                  const Changes& changes) const;
  int DrawEvent(const Context& drawn, uint64_t tick, const Changes& changes,
                Dice* dice) const;
  double BaseRate(const Context& context, uint64_t tick) const;

  const WorldOptions options_;
  ContextSizes sizes_;
  std::unique_ptr<const Behavior> behavior_;
  std::vector<PlantedMode> modes_;
  std::vector<bool> stoppable_;    // by mode: some guard comes upon its marks
  std::vector<double> base_rate_;  // by task type
  std::vector<bool> failing_;      // datasets of the null worlds
  std::vector<uint32_t> task_type_weight_;  // how common each is
};

// Value of a variable in a context.
int ValueOf(const Context& context, Variable variable);

}  // namespace faultline::worlds

#endif  // FAULTLINE_TESTS_WORLDS_WORLD_H_
