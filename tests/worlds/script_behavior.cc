#include <algorithm>
#include <string>
#include <vector>

#include "tests/worlds/behavior.h"

namespace faultline::worlds {
namespace {

constexpr int kTaskTypes = 4, kModels = 4, kPrompts = 3, kMemories = 3;
constexpr int kVersions = 3, kToolsets = 4;
constexpr int kStages = 6;  // tool calls of a script
constexpr int kServices = 5, kMethods = 5, kMessages = 8;

constexpr const char* kServiceNames[kServices] = {"crm", "billing", "inventory",
                                                  "mail", "search"};
constexpr const char* kMethodNames[kMethods] = {"get", "find", "put", "remove",
                                                "check"};
// Numbers are put in the place of `%`.
constexpr const char* kMessageTexts[kMessages] = {
    "HTTP 503 from upstream node %, try later",
    "column % does not exist in relation",
    "expected string but got number at offset %",
    "token % has expired, sign in again",
    "lock is held by session %",
    "no record with key %",
    "payload of % bytes is over the limit",
    "assertion failed in worker %"};
constexpr const char* kTypeNames[kTaskTypes] = {"dispute", "renewal", "audit",
                                                "migration"};
constexpr const char* kModelNames[kModels] = {"north", "south", "east",
                                              "north-turbo"};
constexpr const char* kPromptNames[kPrompts] = {"v1-short", "v2-long",
                                                "v3-policy"};

enum class Mark : uint8_t {
  kNoCritic,    // nobody checks
  kHandoffs,    // planner and worker pass the task to and fro
  kComplaints,  // the user repeats himself
  kMessage,     // a tool fails with a text
  kOutOfOrder,  // the script is run backwards
  kTwice,       // one call with an effect is made twice
  kAbort,       // the run stops early
  kRambling,    // turns of the model in a row
  kManyWrites,  // memory is written much
  kWrongTool,   // a tool of another task
};

struct Sign {
  Mark mark;
  int tool = 0;
  int message = 0;
};

struct Plan {
  std::vector<int> tools;
  std::vector<int> message;  // by call; -1: it works
  int handoffs = 1;
  int user_turns = 1;
  int model_turns = 1;
  int writes = 0;
  bool critic = true;
  bool aborted = false;
};

class ScriptBehavior final : public Behavior {
 public:
  ScriptBehavior(uint64_t seed, int modes);

  void Describe(const Context& context, Dice* dice,
                v1::Trace* trace) const override;
  void Act(const Context& context, const Course& course, Dice* dice,
           v1::Trace* trace) const override;
  int ModelNamed(const std::string& name) const override {
    return IndexOf(kModelNames, name);
  }
  int PromptNamed(const std::string& name) const override {
    return IndexOf(kPromptNames, name);
  }
  // Nothing marks these modes that a guard could count.
  bool Stops(const v1::Action&, int) const override { return false; }
  bool Stoppable(int) const override { return false; }

 private:
  Plan MakePlan(const Context& context, Dice* dice) const;
  static void Apply(const Sign& sign, Dice* dice, Plan* plan);
  static void Write(const Plan& plan, Dice* dice, v1::Trace* trace);

  std::vector<std::vector<int>> scripts_;      // tools, by dataset
  std::vector<std::vector<double>> skips_;     // by model and stage
  std::vector<std::vector<Sign>> signatures_;  // by mode
};

std::string ToolName(int tool, Dice* dice) {
  // Names carry ids, as generated tools do.
  return std::string(kServiceNames[tool / kMethods]) + "." +
         kMethodNames[tool % kMethods] + "_" +
         std::to_string(dice->Between(10, 99));
}

std::string MessageText(int message, Dice* dice) {
  std::string text = kMessageTexts[message];
  return text.replace(text.find('%'), 1, std::to_string(dice->Below(10'000)));
}

ScriptBehavior::ScriptBehavior(uint64_t seed, int modes) {
  Dice dice(seed, 2000);
  for (int type = 0; type < kTaskTypes; ++type) {
    std::vector<int> script;
    script.reserve(kStages);
    for (int s = 0; s < kStages; ++s) {
      script.push_back(dice.Between(0, kServices * kMethods - 1));
    }
    scripts_.push_back(script);
    // The other dataset of the type takes another way at two stages.
    for (int i = 0; i < 2; ++i) {
      script[dice.Below(kStages)] = dice.Between(0, kServices * kMethods - 1);
    }
    scripts_.push_back(script);
  }
  constexpr double kSkips[] = {0.05, 0.1, 0.2, 0.3};
  for (int m = 0; m < kModels; ++m) {
    std::vector<double>& skips = skips_.emplace_back();
    for (int s = 0; s < kStages; ++s) skips.push_back(kSkips[dice.Below(4)]);
  }
  constexpr Mark kFirst[] = {
      Mark::kMessage,   Mark::kHandoffs, Mark::kOutOfOrder, Mark::kMessage,
      Mark::kWrongTool, Mark::kRambling, Mark::kMessage,    Mark::kTwice};
  for (int mode = 0; mode < modes; ++mode) {
    const Mark first = kFirst[mode % 8];
    std::vector<Mark> rest;
    for (const Mark mark :
         {Mark::kNoCritic, Mark::kComplaints, Mark::kMessage, Mark::kAbort,
          Mark::kManyWrites, Mark::kWrongTool, Mark::kRambling, Mark::kTwice}) {
      if (mark != first) rest.push_back(mark);
    }
    dice.Shuffle(&rest);
    std::vector<Sign>& signature = signatures_.emplace_back();
    for (const Mark mark : {first, rest[0], rest[1]}) {
      Sign sign{mark};
      sign.tool = dice.Between(0, kServices * kMethods - 1);
      sign.message = dice.Between(0, kMessages - 1);
      signature.push_back(sign);
    }
  }
}

Plan ScriptBehavior::MakePlan(const Context& context, Dice* dice) const {
  Plan plan;
  const std::vector<int>& script = scripts_[context.dataset];
  for (int s = 0; s < kStages; ++s) {
    if (dice->Chance(skips_[context.model][s])) continue;
    plan.tools.push_back(script[s]);
    plan.message.push_back(-1);
    if (dice->Chance(0.05)) {
      plan.message.back() = dice->Between(0, kMessages - 1);
      plan.tools.push_back(script[s]);
      plan.message.push_back(-1);
    }
  }
  if (plan.tools.empty()) {
    plan.tools.push_back(script[0]);
    plan.message.push_back(-1);
  }
  plan.handoffs = dice->Between(1, 2);
  plan.user_turns = dice->Between(1, 3);
  plan.model_turns = context.prompt == 1 ? 2 : 1;
  plan.writes = dice->Between(0, 1);
  plan.critic = dice->Chance(0.85);
  return plan;
}

void ScriptBehavior::Apply(const Sign& sign, Dice* dice, Plan* plan) {
  const auto insert = [&](int tool, int message) {
    const auto place =
        static_cast<int64_t>(dice->Below(plan->tools.size() + 1));
    plan->tools.insert(plan->tools.begin() + place, tool);
    plan->message.insert(plan->message.begin() + place, message);
  };
  switch (sign.mark) {
    case Mark::kNoCritic:
      plan->critic = false;
      return;
    case Mark::kHandoffs:
      plan->handoffs += dice->Between(3, 5);
      return;
    case Mark::kComplaints:
      plan->user_turns += dice->Between(3, 6);
      return;
    case Mark::kMessage:
      for (int i = dice->Between(1, 2); i > 0; --i) {
        insert(sign.tool, sign.message);
      }
      return;
    case Mark::kOutOfOrder:
      std::reverse(plan->tools.begin(), plan->tools.end());
      std::reverse(plan->message.begin(), plan->message.end());
      return;
    case Mark::kTwice:
      insert(sign.tool, -1);
      insert(sign.tool, -1);
      return;
    case Mark::kAbort:
      plan->aborted = true;
      plan->tools.resize((plan->tools.size() + 1) / 2);
      plan->message.resize(plan->tools.size());
      return;
    case Mark::kRambling:
      plan->model_turns += 3;
      return;
    case Mark::kManyWrites:
      plan->writes += dice->Between(4, 8);
      return;
    case Mark::kWrongTool:
      insert(sign.tool, -1);
      return;
  }
}

void ScriptBehavior::Write(const Plan& plan, Dice* dice, v1::Trace* trace) {
  int64_t seconds = 0;
  const auto begin = [&](v1::Step::Kind kind, const char* actor) {
    v1::Step* step = trace->add_steps();
    step->set_kind(kind);
    step->set_actor(actor);
    step->mutable_start_offset()->set_seconds(seconds);
    seconds += dice->Between(1, 5);
    return step;
  };
  const auto speak = [&](const char* actor, int turns) {
    for (int i = 0; i < turns; ++i) {
      v1::Step* step = begin(v1::Step::KIND_LLM, actor);
      step->set_name("chat");
      step->set_input_tokens(dice->Between(1000, 4000));
      step->set_output_tokens(dice->Between(100, 500));
    }
  };
  int complaints = plan.user_turns;
  begin(v1::Step::KIND_USER, "user")->set_input("I need help");
  --complaints;
  for (int i = 0; i < plan.handoffs; ++i) {
    speak("planner", 1);
    begin(v1::Step::KIND_HANDOFF, "planner")->set_name("worker");
    if (i + 1 < plan.handoffs) {
      begin(v1::Step::KIND_HANDOFF, "worker")->set_name("planner");
    }
  }
  for (size_t i = 0; i < plan.tools.size(); ++i) {
    speak("worker", plan.model_turns);
    const bool search = plan.tools[i] / kMethods == kServices - 1;
    v1::Step* step = begin(
        search ? v1::Step::KIND_RETRIEVAL : v1::Step::KIND_TOOL, "worker");
    step->set_name(ToolName(plan.tools[i], dice));
    step->set_input("{\"key\":" + std::to_string(dice->Below(10'000)) + "}");
    if (plan.message[i] >= 0) {
      step->set_status(v1::Step::STATUS_ERROR);
      step->set_error_message(MessageText(plan.message[i], dice));
    } else {
      step->set_output("{\"ok\":true}");
    }
    if (complaints > 0 && dice->Chance(0.5)) {
      begin(v1::Step::KIND_USER, "user")->set_input("that is not it");
      --complaints;
    }
  }
  for (; complaints > 0; --complaints) {
    begin(v1::Step::KIND_USER, "user")->set_input("still not");
  }
  for (int i = 0; i < plan.writes; ++i) {
    v1::MemoryState::Write& write = *trace->mutable_memory()->add_writes();
    write.set_record_id("note-" + std::to_string(dice->Below(1000)));
    begin(v1::Step::KIND_MEMORY, "worker")->set_name("note");
  }
  if (plan.critic) speak("critic", 1);
  if (!plan.aborted) speak("worker", 1);
  trace->mutable_end_time()->set_seconds(trace->start_time().seconds() +
                                         seconds);
  auto& signals = *trace->mutable_evaluation()->mutable_signals();
  signals["confidence"] = dice->Between(300, 950) / 1000.0;
  signals["judge.length"] = static_cast<double>(trace->steps_size());
}

void ScriptBehavior::Describe(const Context& context, Dice* dice,
                              v1::Trace* trace) const {
  v1::Task& task = *trace->mutable_task();
  const std::string type = kTypeNames[context.task_type];
  task.set_id(type + "/" + std::to_string(dice->Below(100'000)));
  task.set_type(type);
  task.set_dataset(context.dataset % 2 == 0 ? "web" : "phone");
  (*task.mutable_labels())["difficulty"] = std::to_string(dice->Below(3));
  task.set_input("A " + type + " of customer " +
                 std::to_string(dice->Below(10'000)) + " from region " +
                 std::to_string(dice->Below(12)));
  v1::System& system = *trace->mutable_system();
  system.set_agent("team");
  system.set_agent_version("2026." + std::to_string(context.version + 1));
  system.set_toolset("bundle-" +
                     std::string(1, static_cast<char>('a' + context.toolset)));
  system.set_model(kModelNames[context.model]);
  system.set_prompt_strategy(kPromptNames[context.prompt]);
  (*system.mutable_config())["temperature"] = "0.2";

  // States: empty, current, outdated.
  v1::MemoryState& memory = *trace->mutable_memory();
  memory.set_size(context.memory == 0 ? 0 : dice->Between(50, 80));
  for (int i = context.memory == 0 ? 0 : dice->Between(1, 4); i > 0; --i) {
    v1::MemoryState::Read& read = *memory.add_reads();
    read.set_record_id("note-" + std::to_string(dice->Below(1000)));
    read.set_record_class("note");
    read.set_used(dice->Chance(0.5));
    read.mutable_age()->set_seconds(context.memory == 2
                                        ? dice->Between(40, 90) * 86'400
                                        : dice->Between(60, 80'000));
  }
}

void ScriptBehavior::Act(const Context& context, const Course& course,
                         Dice* dice, v1::Trace* trace) const {
  Plan plan = MakePlan(context, dice);
  if (course.mode >= 0) {
    for (const Sign& sign : signatures_[course.mode]) {
      if (dice->Chance(course.signature)) Apply(sign, dice, &plan);
    }
  }
  Write(plan, dice, trace);
}

}  // namespace

ContextSizes ScriptContext() {
  return {kTaskTypes, kModels, kPrompts, kMemories, kVersions, kToolsets};
}

std::unique_ptr<const Behavior> MakeScriptBehavior(uint64_t seed, int modes) {
  return std::make_unique<ScriptBehavior>(seed, modes);
}

}  // namespace faultline::worlds
