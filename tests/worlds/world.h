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
  kPlacebo,          // no fix helps
  kHarmful,          // every fix that is not the mode's own does harm
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

// A change that somebody could propose against a mode.
struct Fix {
  int mode;
  v1::InterventionKind kind;
  Condition scope;
  // Factor on the probability of the mode's event in scope: .35 for the one
  // true fix of each mode, 1 for wrong ones, 2 for harmful ones.
  double relative_risk;
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
// and the fixes in force, the same on every machine; a fix changes no run but
// those whose mode it prevents or brings about. Immutable, so thread-safe.
class World {
 public:
  explicit World(const WorldOptions& options);

  // `fixes`: indices of fixes() that are applied to the run.
  SimulatedRun Draw(uint64_t index, const std::vector<int>& fixes = {}) const;

  const std::vector<PlantedMode>& modes() const { return modes_; }
  const std::vector<Fix>& fixes() const { return fixes_; }
  const ContextSizes& sizes() const { return sizes_; }

 private:
  void PlantModes();
  void ListFixes();
  Context DrawContext(uint64_t tick, Dice* dice) const;
  int DrawEvent(const Context& context, uint64_t tick,
                const std::vector<int>& fixes, Dice* dice) const;
  double BaseRate(const Context& context, uint64_t tick) const;

  const WorldOptions options_;
  ContextSizes sizes_;
  std::unique_ptr<const Behavior> behavior_;
  std::vector<PlantedMode> modes_;
  std::vector<Fix> fixes_;
  std::vector<double> base_rate_;           // by task type
  std::vector<bool> failing_;               // datasets of the null worlds
  std::vector<uint32_t> task_type_weight_;  // how common each is
};

// Value of a variable in a context.
int ValueOf(const Context& context, Variable variable);

}  // namespace faultline::worlds

#endif  // FAULTLINE_TESTS_WORLDS_WORLD_H_
