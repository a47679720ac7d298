#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tests/worlds/behavior.h"

namespace faultline::worlds {
namespace {

constexpr int kTaskTypes = 6, kModels = 6, kPrompts = 4, kMemories = 4;
constexpr int kVersions = 4, kToolsets = 3;
constexpr int kTools = 24, kToolsOfType = 7, kErrors = 10;
constexpr int kMinCalls = 4, kMaxCalls = 24;
constexpr double kErrorRate = 0.04, kRetryRate = 0.6, kOddityRate = 0.1;

constexpr const char* kVerbs[] = {"lookup", "list",   "open",   "create",
                                  "update", "cancel", "submit", "compare"};
constexpr const char* kNouns[] = {"order", "invoice", "calendar", "page",
                                  "user",  "branch",  "shipment", "quote"};
constexpr const char* kErrorNames[kErrors] = {
    "timeout",     "bad_argument", "permission", "missing",  "quota",
    "parse_error", "conflict",     "connection", "too_long", "unsupported"};
constexpr const char* kTypeNames[kTaskTypes] = {
    "refund", "booking", "research", "bugfix", "reporting", "onboarding"};
constexpr const char* kModelNames[kModels] = {
    "heron-s", "heron-l", "ibis-mini", "ibis-pro", "kestrel", "heron-s-2"};
constexpr const char* kPromptNames[kPrompts] = {"direct", "stepwise", "reflect",
                                                "examples"};

enum class Mark : uint8_t {
  kErrorBurst,    // one tool fails with one error, several times
  kLoop,          // one tool again and again
  kPingPong,      // two tools in turn
  kForeignCall,   // a tool that the task does not have
  kEmptySearch,   // searches that find nothing
  kEndsWith,      // the last call is unusual
  kCutShort,      // the second half is missing
  kUnusedMemory,  // records are read and not used
  kConfident,     // the agent is sure of itself
};

struct Sign {
  Mark mark;
  int tool = 0;        // -1: one of the task's own
  int other_tool = 0;  // of kPingPong
  int error = 0;       // of kErrorBurst
};

struct Call {
  int tool = 0;
  int error = -1;
  bool empty = false;
};

// The course of one run before it is written down.
struct Draft {
  std::vector<Call> calls;
  bool unused_memory = false;
  bool confident = false;
};

// Tools of these numbers search documents, and access memory.
bool Searches(int tool) { return tool < 4; }
bool Remembers(int tool) { return tool == 4 || tool == 5; }

class ChainBehavior final : public Behavior {
 public:
  ChainBehavior(uint64_t seed, int modes);

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
  bool Stops(const v1::Action& action, int mode) const override;
  bool Stoppable(int mode) const override;

 private:
  struct Chain {
    std::array<int, kToolsOfType> tools;
    std::vector<uint32_t> start;
    std::array<std::vector<uint32_t>, kToolsOfType> next;  // then the end
  };

  void NameTools(Dice* dice);
  Chain MakeChain(Dice* dice) const;
  void MakeSignatures(int modes, Dice* dice);
  int ToolOf(const Sign& sign, const Context& context, Dice* dice) const;
  void Walk(const Context& context, Dice* dice, Draft* draft) const;
  void Apply(const Sign& sign, const Context& context, Dice* dice,
             Draft* draft) const;
  void Write(const Context& context, const Draft& draft, Dice* dice,
             v1::Trace* trace) const;

  std::vector<std::string> tool_name_;
  std::vector<std::array<int, 2>> tool_errors_;
  std::vector<Chain> chains_;                       // by task type
  std::vector<std::vector<uint32_t>> model_tilt_;   // by model and tool
  std::vector<std::vector<uint32_t>> prompt_tilt_;  // by prompt and tool
  std::vector<std::vector<uint32_t>> data_tilt_;    // by dataset and tool
  std::vector<std::vector<Sign>> signatures_;       // by mode
};

ChainBehavior::ChainBehavior(uint64_t seed, int modes) {
  Dice dice(seed, 1000);
  NameTools(&dice);
  for (int t = 0; t < kTools; ++t) {
    tool_errors_.push_back(
        {dice.Between(0, kErrors - 1), dice.Between(0, kErrors - 1)});
  }
  for (int t = 0; t < kTaskTypes; ++t) chains_.push_back(MakeChain(&dice));
  const auto tilt = [&](const std::vector<uint32_t>& factors) {
    std::vector<uint32_t> of_tool;
    of_tool.reserve(kTools);
    for (int t = 0; t < kTools; ++t) of_tool.push_back(dice.Pick(factors));
    return of_tool;
  };
  for (int m = 0; m < kModels; ++m) model_tilt_.push_back(tilt({2, 3, 4, 6}));
  for (int p = 0; p < kPrompts; ++p) prompt_tilt_.push_back(tilt({3, 4, 5}));
  for (int d = 0; d < 2 * kTaskTypes; ++d) {
    data_tilt_.push_back(tilt({2, 2, 2, 6}));
  }
  MakeSignatures(modes, &dice);
}

void ChainBehavior::NameTools(Dice* dice) {
  std::vector<std::string> names;
  for (const char* verb : kVerbs) {
    for (const char* noun : kNouns) {
      names.push_back(std::string(verb) + "_" + noun);
    }
  }
  dice->Shuffle(&names);
  tool_name_.assign(names.begin(), names.begin() + kTools);
  const char* fixed[] = {"search_docs", "search_web", "search_tickets",
                         "search_code", "recall",     "remember"};
  std::copy(std::begin(fixed), std::end(fixed), tool_name_.begin());
}

ChainBehavior::Chain ChainBehavior::MakeChain(Dice* dice) const {
  Chain chain;
  std::vector<int> others;
  for (int t = 4; t < kTools; ++t) others.push_back(t);
  dice->Shuffle(&others);
  std::copy_n(others.begin(), kToolsOfType, chain.tools.begin());
  chain.tools[0] = dice->Between(0, 3);  // every task can search
  const std::vector<uint32_t> affinity = {0, 1, 1, 2, 4, 8};
  const auto weights = [&] {
    std::vector<uint32_t> row;
    row.reserve(kToolsOfType);
    for (int t = 0; t < kToolsOfType; ++t) row.push_back(dice->Pick(affinity));
    row[dice->Below(kToolsOfType)] += 8;
    return row;
  };
  chain.start = weights();
  for (auto& row : chain.next) {
    row = weights();
    row.push_back(dice->Between(2, 5));  // the end
  }
  return chain;
}

void ChainBehavior::MakeSignatures(int modes, Dice* dice) {
  constexpr Mark kFirst[] = {Mark::kErrorBurst,  Mark::kLoop,
                             Mark::kForeignCall, Mark::kErrorBurst,
                             Mark::kPingPong,    Mark::kEmptySearch};
  const std::vector<Mark> second = {Mark::kErrorBurst, Mark::kForeignCall,
                                    Mark::kEndsWith, Mark::kEmptySearch,
                                    Mark::kLoop};
  const std::vector<Mark> third = {Mark::kCutShort, Mark::kUnusedMemory,
                                   Mark::kConfident, Mark::kEndsWith};
  // Modes share tools and errors only where there are more of them.
  std::vector<int> tools(kTools);
  for (int t = 0; t < kTools; ++t) tools[t] = t;
  dice->Shuffle(&tools);
  std::vector<int> errors(kErrors);
  for (int e = 0; e < kErrors; ++e) errors[e] = e;
  dice->Shuffle(&errors);
  size_t next_tool = 0;
  size_t next_error = 0;
  for (int mode = 0; mode < modes; ++mode) {
    std::vector<Mark> marks = {kFirst[mode % 6]};
    for (const auto* choice : {&second, &third}) {
      Mark mark = dice->Pick(*choice);
      while (std::count(marks.begin(), marks.end(), mark) > 0) {
        mark = dice->Pick(*choice);
      }
      marks.push_back(mark);
    }
    std::vector<Sign>& signature = signatures_.emplace_back();
    for (const Mark mark : marks) {
      Sign sign{mark};
      sign.tool = tools[next_tool++ % kTools];
      // Some loops run over whatever tool the task has.
      if (mark == Mark::kLoop && dice->Chance(0.5)) sign.tool = -1;
      if (mark == Mark::kPingPong || mark == Mark::kEmptySearch) {
        sign.other_tool = tools[next_tool++ % kTools];
      }
      if (mark == Mark::kErrorBurst) {
        sign.error = errors[next_error++ % kErrors];
      }
      signature.push_back(sign);
    }
  }
}

int ChainBehavior::ToolOf(const Sign& sign, const Context& context,
                          Dice* dice) const {
  const int own = chains_[context.task_type].tools[dice->Below(kToolsOfType)];
  return sign.tool < 0 ? own : sign.tool;
}

void ChainBehavior::Walk(const Context& context, Dice* dice,
                         Draft* draft) const {
  const Chain& chain = chains_[context.task_type];
  const auto tilted = [&](const std::vector<uint32_t>& row) {
    std::vector<uint32_t> weights = row;
    for (int t = 0; t < kToolsOfType; ++t) {
      const int tool = chain.tools[t];
      weights[t] *= model_tilt_[context.model][tool] *
                    prompt_tilt_[context.prompt][tool] *
                    data_tilt_[context.dataset][tool];
    }
    return weights;
  };
  // What the tilts multiply a weight by on average.
  constexpr uint32_t kMeanTilt = 45;
  int at = dice->Weighted(tilted(chain.start));
  while (true) {
    const int tool = chain.tools[at];
    Call& call = draft->calls.emplace_back();
    call.tool = tool;
    call.empty = Searches(tool) && dice->Chance(0.1);
    if (dice->Chance(kErrorRate)) {
      call.error = tool_errors_[tool][dice->Below(2)];
      if (dice->Chance(kRetryRate)) draft->calls.push_back({tool, -1, false});
    }
    const size_t calls = draft->calls.size();
    if (calls >= kMaxCalls) return;
    std::vector<uint32_t> next = tilted(chain.next[at]);
    next.back() = calls < kMinCalls ? 0 : next.back() * kMeanTilt;
    at = dice->Weighted(next);
    if (at == kToolsOfType) return;
  }
}

void ChainBehavior::Apply(const Sign& sign, const Context& context, Dice* dice,
                          Draft* draft) const {
  std::vector<Call>& calls = draft->calls;
  const int tool = ToolOf(sign, context, dice);
  const auto insert = [&](std::vector<Call> added) {
    const auto place =
        calls.begin() + static_cast<int64_t>(dice->Below(calls.size() + 1));
    calls.insert(place, added.begin(), added.end());
  };
  switch (sign.mark) {
    case Mark::kErrorBurst:
      insert(std::vector<Call>(dice->Between(2, 3), {tool, sign.error, false}));
      return;
    case Mark::kLoop:
      insert(std::vector<Call>(dice->Between(3, 6), {tool, -1, false}));
      return;
    case Mark::kPingPong: {
      std::vector<Call> turns;
      for (int i = dice->Between(2, 3); i > 0; --i) {
        turns.push_back({tool, -1, false});
        turns.push_back({sign.other_tool, -1, false});
      }
      insert(turns);
      return;
    }
    case Mark::kForeignCall:
      insert(std::vector<Call>(dice->Between(1, 2), {tool, -1, false}));
      return;
    case Mark::kEmptySearch:
      insert({{static_cast<int>(sign.other_tool % 4), -1, true}});
      for (Call& call : calls) call.empty = Searches(call.tool);
      return;
    case Mark::kEndsWith:
      calls.push_back({tool, -1, false});
      return;
    case Mark::kCutShort:
      calls.resize((calls.size() + 1) / 2);
      return;
    case Mark::kUnusedMemory:
      draft->unused_memory = true;
      return;
    case Mark::kConfident:
      draft->confident = true;
      return;
  }
}

void ChainBehavior::Write(const Context& context, const Draft& draft,
                          Dice* dice, v1::Trace* trace) const {
  int64_t millis = 0;
  const auto begin = [&](v1::Step::Kind kind, const std::string& name) {
    v1::Step* step = trace->add_steps();
    step->set_kind(kind);
    step->set_name(name);
    step->set_status(v1::Step::STATUS_OK);
    const int64_t offset = millis;
    const int64_t taken = dice->Between(200, 400) * (2 + context.model % 3);
    millis += taken;
    step->mutable_start_offset()->set_seconds(offset / 1000);
    step->mutable_start_offset()->set_nanos(
        static_cast<int32_t>(offset % 1000) * 1'000'000);
    step->mutable_duration()->set_seconds(taken / 1000);
    step->mutable_duration()->set_nanos(static_cast<int32_t>(taken % 1000) *
                                        1'000'000);
    return step;
  };
  const auto think = [&](const char* name) {
    v1::Step* step = begin(v1::Step::KIND_LLM, name);
    step->set_input_tokens(dice->Between(300, 1200));
    step->set_output_tokens(dice->Between(30, 150) * (1 + context.model % 3));
  };
  think("plan");
  for (const Call& call : draft.calls) {
    if (dice->Chance(0.3)) think("think");
    const v1::Step::Kind kind = Searches(call.tool) ? v1::Step::KIND_RETRIEVAL
                                : Remembers(call.tool) ? v1::Step::KIND_MEMORY
                                                       : v1::Step::KIND_TOOL;
    v1::Step* step = begin(kind, tool_name_[call.tool]);
    step->set_input("{\"id\":\"" + std::to_string(dice->Below(100000)) + "\"}");
    if (call.error >= 0) {
      step->set_status(v1::Step::STATUS_ERROR);
      step->set_error_type(kErrorNames[call.error]);
    } else if (kind == v1::Step::KIND_RETRIEVAL) {
      const int hits = call.empty ? 0 : dice->Between(1, 9);
      (*step->mutable_attributes())["retrieval.hits"] = std::to_string(hits);
      if (hits > 0) step->set_output(std::to_string(hits) + " documents");
    } else {
      step->set_output("done");
    }
  }
  think("answer");
  trace->mutable_end_time()->set_seconds(trace->start_time().seconds() +
                                         millis / 1000 + 1);
  for (auto& read : *trace->mutable_memory()->mutable_reads()) {
    read.set_used(!draft.unused_memory && dice->Chance(0.7));
  }
  const int confidence =
      draft.confident ? dice->Between(850, 999) : dice->Between(200, 900);
  (*trace->mutable_evaluation()->mutable_signals())["confidence"] =
      confidence / 1000.0;
}

void ChainBehavior::Describe(const Context& context, Dice* dice,
                             v1::Trace* trace) const {
  constexpr const char* kCommon[] = {"please", "the",  "for", "a",    "my",
                                     "today",  "with", "and", "then", "it"};
  v1::Task& task = *trace->mutable_task();
  const std::string type = kTypeNames[context.task_type];
  task.set_id("task-" + std::to_string(dice->Below(1'000'000)));
  task.set_type(type);
  task.set_dataset(type + (context.dataset % 2 == 0 ? "-a" : "-b"));
  std::string input;
  for (int i = dice->Between(8, 16); i > 0; --i) {
    if (!input.empty()) input += ' ';
    input += dice->Chance(0.4)
                 ? kCommon[dice->Below(10)]
                 : type + "word" +
                       std::string(1, static_cast<char>('a' + dice->Below(26)));
  }
  task.set_input(input);

  v1::System& system = *trace->mutable_system();
  system.set_agent("worker");
  system.set_agent_version("1." + std::to_string(context.version));
  system.set_toolset("set-" + std::to_string(context.toolset));
  system.set_model(kModelNames[context.model]);
  system.set_prompt_strategy(kPromptNames[context.prompt]);
  v1::Decision& route = *trace->add_decisions();
  route.set_kind(v1::Decision::KIND_ROUTE);
  for (int m = 0; m + 1 < kModels; ++m) {
    route.add_candidates()->set_name(kModelNames[m]);
  }
  route.set_chosen(kModelNames[context.model]);
  route.set_propensity(1.0 / (kModels - 1));

  // States: small, fresh, stale, contradictory.
  v1::MemoryState& memory = *trace->mutable_memory();
  memory.set_snapshot_id("snapshot-" + std::to_string(dice->Below(1'000'000)));
  memory.set_schema_version("v3");
  memory.set_size(context.memory == 0 ? dice->Between(1, 20)
                                      : dice->Between(200, 400));
  auto& stats = *memory.mutable_stats();
  stats["stale_share"] =
      (context.memory == 2 ? dice->Between(500, 900) : dice->Between(0, 200)) /
      1000.0;
  stats["conflict_share"] =
      (context.memory == 3 ? dice->Between(400, 800) : dice->Between(0, 100)) /
      1000.0;
  for (int i = dice->Between(1, 3); i > 0; --i) {
    v1::MemoryState::Read& read = *memory.add_reads();
    read.set_record_id("record-" + std::to_string(dice->Below(1000)));
    read.set_record_class("fact");
    read.mutable_age()->set_seconds(context.memory == 2
                                        ? dice->Between(30, 90) * 86'400
                                        : dice->Between(1, 72) * 3600);
  }
}

// Of one tool, of which a constraint may permit fewer calls.
bool OnTool(const Sign& sign) {
  switch (sign.mark) {
    case Mark::kErrorBurst:
    case Mark::kLoop:
    case Mark::kForeignCall:
    case Mark::kEndsWith:
      return sign.tool >= 0;
    case Mark::kPingPong:
    case Mark::kEmptySearch:
    case Mark::kCutShort:
    case Mark::kUnusedMemory:
    case Mark::kConfident:
      return false;
  }
  return false;
}

bool ChainBehavior::Stoppable(int mode) const {
  return std::any_of(signatures_[mode].begin(), signatures_[mode].end(),
                     [](const Sign& sign) {
                       return sign.mark == Mark::kLoop || OnTool(sign);
                     });
}

bool ChainBehavior::Stops(const v1::Action& action, int mode) const {
  constexpr double kLoopLength = 5;  // most loops are as long
  const v1::Guardrail& guardrail = action.guardrail();
  const v1::ToolConstraint& constraint = action.tool_constraint();
  const auto comes_upon = [&](const Sign& sign) {
    if (action.has_guardrail()) {
      return sign.mark == Mark::kLoop &&
             guardrail.check() == v1::Guardrail::CHECK_MAX_REPEATS &&
             guardrail.threshold() <= kLoopLength;
    }
    return OnTool(sign) && constraint.tool() == tool_name_[sign.tool] &&
           (constraint.has_disable() ||
            (constraint.has_call_limit() &&
             constraint.call_limit().max_calls() < kLoopLength));
  };
  return (action.has_guardrail() || action.has_tool_constraint()) &&
         std::any_of(signatures_[mode].begin(), signatures_[mode].end(),
                     comes_upon);
}

void ChainBehavior::Act(const Context& context, const Course& course,
                        Dice* dice, v1::Trace* trace) const {
  Draft draft;
  Walk(context, dice, &draft);
  if (course.mode >= 0) {
    for (const Sign& sign : signatures_[course.mode]) {
      if (dice->Chance(course.signature)) Apply(sign, context, dice, &draft);
    }
  }
  // Something odd that says nothing.
  if (dice->Chance(kOddityRate)) {
    constexpr Mark kOddities[] = {Mark::kErrorBurst, Mark::kForeignCall,
                                  Mark::kEndsWith};
    Sign sign{kOddities[dice->Below(3)]};
    sign.tool = dice->Between(0, kTools - 1);
    sign.error = dice->Between(0, kErrors - 1);
    Apply(sign, context, dice, &draft);
  }
  Write(context, draft, dice, trace);
}

}  // namespace

ContextSizes ChainContext() {
  return {kTaskTypes, kModels, kPrompts, kMemories, kVersions, kToolsets};
}

std::unique_ptr<const Behavior> MakeChainBehavior(uint64_t seed, int modes) {
  return std::make_unique<ChainBehavior>(seed, modes);
}

}  // namespace faultline::worlds
