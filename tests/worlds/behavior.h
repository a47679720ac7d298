#ifndef FAULTLINE_TESTS_WORLDS_BEHAVIOR_H_
#define FAULTLINE_TESTS_WORLDS_BEHAVIOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/trace.pb.h"
#include "tests/worlds/dice.h"

namespace faultline::worlds {

// The situation of one run: indices, below those of ContextSizes.
struct Context {
  int task_type = 0;
  int dataset = 0;  // half of a task type: 2 * task_type or one more
  int model = 0;
  int prompt = 0;
  int memory = 0;
  int version = 0;
  int toolset = 0;
};

struct ContextSizes {
  int task_types = 0;
  int models = 0;  // the last is what replaces model 0 after an upgrade
  int prompts = 0;
  int memories = 0;
  int versions = 0;
  int toolsets = 0;
};

// What happens in a run besides its ordinary course.
struct Course {
  int mode = -1;           // whose signature it bears; -1: none
  double signature = 0.9;  // probability of each mark of the signature
};

// How agents of one world act. Immutable, so thread-safe.
class Behavior {
 public:
  virtual ~Behavior() = default;

  // Names of models, prompts and task types, and what memory holds.
  virtual void Describe(const Context& context, Dice* dice,
                        v1::Trace* trace) const = 0;

  // Steps, memory accesses and signals of a run that started at start_time.
  virtual void Act(const Context& context, const Course& course, Dice* dice,
                   v1::Trace* trace) const = 0;

  // Index of a model or a prompt; -1: there is none of that name.
  virtual int ModelNamed(const std::string& name) const = 0;
  virtual int PromptNamed(const std::string& name) const = 0;
  // Whether a runtime that carries out `action`, a guardrail or a constraint of
  // a tool, comes upon what marks the mode.
  virtual bool Stops(const v1::Action& action, int mode) const = 0;
  // Whether some action does.
  virtual bool Stoppable(int mode) const = 0;
};

// Index of a name in a list; -1: it is not there.
template <size_t n>
int IndexOf(const char* const (&names)[n], const std::string& name) {
  for (size_t i = 0; i < n; ++i) {
    if (name == names[i]) return static_cast<int>(i);
  }
  return -1;
}

// Markov chains of tool calls, one for each task type, tilted by model and
// prompt. Modes mark a run by loops, bursts of errors, foreign tools, calls
// back and forth, empty searches, unread memory, odd ends, overconfidence.
ContextSizes ChainContext();
std::unique_ptr<const Behavior> MakeChainBehavior(uint64_t seed, int modes);

// Several agents that follow a script with variations: turns of a user, plans,
// tools in order, a critic. Modes mark a run by what is left out, done twice or
// out of order, passed to and fro, complained of, and by texts of errors.
ContextSizes ScriptContext();
std::unique_ptr<const Behavior> MakeScriptBehavior(uint64_t seed, int modes);

}  // namespace faultline::worlds

#endif  // FAULTLINE_TESTS_WORLDS_BEHAVIOR_H_
