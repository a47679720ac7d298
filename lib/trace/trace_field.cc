#include "lib/trace/trace_field.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/error_detail.h"

namespace faultline::trace {

enum class TraceField::Root {
  kSessionId,
  kTaskId,
  kTaskType,
  kTaskDataset,
  kTaskInput,
  kTaskLabel,
  kAgent,
  kAgentVersion,
  kModel,
  kPromptStrategy,
  kPromptVersion,
  kToolset,
  kConfig,
  kRouteChosen,
  kToolChosen,
  kMemoryReadChosen,
  kPromptStrategyChosen,
  kMemorySnapshotId,
  kMemorySchemaVersion,
  kMemorySize,
  kMemoryReads,
  kMemorySkipped,
  kMemoryStat,
  kSignal,
  kSteps,
};

namespace {

using Visit = std::function<void(absl::string_view, const FieldValue&)>;

FieldValue Text(const std::string& text) {
  if (text.empty()) return std::monostate();
  return absl::string_view(text);
}

FieldValue Number(bool present, double value) {
  if (!present) return std::monostate();
  return value;
}

FieldValue Entry(const google::protobuf::Map<std::string, std::string>& map,
                 const std::string& key) {
  const auto it = map.find(key);
  return it == map.end() ? FieldValue() : Text(it->second);
}

FieldValue Entry(const google::protobuf::Map<std::string, double>& map,
                 const std::string& key) {
  const auto it = map.find(key);
  return it == map.end() ? FieldValue() : FieldValue(it->second);
}

const v1::Decision* FirstDecision(const v1::Trace& trace,
                                  v1::Decision::Kind kind) {
  for (const v1::Decision& decision : trace.decisions()) {
    if (decision.kind() == kind) return &decision;
  }
  return nullptr;
}

FieldValue Chosen(const v1::Trace& trace, v1::Decision::Kind kind) {
  const v1::Decision* decision = FirstDecision(trace, kind);
  return decision == nullptr ? FieldValue() : Text(decision->chosen());
}

// The choice, where it was made before the run did anything: the step that
// carried it out is the first one, or none.
FieldValue ChosenBeforeRun(const v1::Trace& trace, v1::Decision::Kind kind) {
  const v1::Decision* decision = FirstDecision(trace, kind);
  if (decision == nullptr || (decision->has_step() && decision->step() > 0)) {
    return std::monostate();
  }
  return Text(decision->chosen());
}

void VisitPresent(absl::string_view path, const FieldValue& value,
                  const Visit& visit) {
  if (!std::holds_alternative<std::monostate>(value)) visit(path, value);
}

// Visits `prefix` + key of each entry, ascending by key: a protobuf map has no
// order of its own.
template <typename Value>
void VisitMap(absl::string_view prefix,
              const google::protobuf::Map<std::string, Value>& map,
              const Visit& visit) {
  if (map.empty()) return;
  using Pair = typename google::protobuf::Map<std::string, Value>::value_type;
  absl::InlinedVector<const Pair*, 16> entries;
  for (const Pair& entry : map) entries.push_back(&entry);
  std::sort(entries.begin(), entries.end(),
            [](const Pair* a, const Pair* b) { return a->first < b->first; });
  std::string path(prefix);
  for (const Pair* entry : entries) {
    path.resize(prefix.size());
    path += entry->first;
    if constexpr (std::is_same_v<Value, std::string>) {
      VisitPresent(path, Text(entry->second), visit);
    } else {
      visit(path, entry->second);
    }
  }
}

constexpr std::array<bool, 256> MakeWordBytes() {
  std::array<bool, 256> word{};
  for (int c = 0; c < 256; ++c) {
    word[c] = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
              (c >= 'a' && c <= 'z') || c == '\'' || c >= 0x80;
  }
  return word;
}
constexpr std::array<bool, 256> kWordBytes = MakeWordBytes();

bool IsWordByte(char c) { return kWordBytes[static_cast<unsigned char>(c)]; }

}  // namespace

TraceField::TraceField(Root root, std::string path, std::string key)
    : root_(root), path_(std::move(path)), key_(std::move(key)) {}

absl::StatusOr<TraceField> TraceField::Parse(absl::string_view path) {
  static constexpr std::pair<absl::string_view, Root> kFields[] = {
      {"session_id", Root::kSessionId},
      {"task.id", Root::kTaskId},
      {"task.type", Root::kTaskType},
      {"task.dataset", Root::kTaskDataset},
      {"task.input", Root::kTaskInput},
      {"system.agent", Root::kAgent},
      {"system.agent_version", Root::kAgentVersion},
      {"system.model", Root::kModel},
      {"system.prompt_strategy", Root::kPromptStrategy},
      {"system.prompt_version", Root::kPromptVersion},
      {"system.toolset", Root::kToolset},
      {"decisions.route.chosen", Root::kRouteChosen},
      {"decisions.tool.chosen", Root::kToolChosen},
      {"decisions.memory_read.chosen", Root::kMemoryReadChosen},
      {"decisions.prompt_strategy.chosen", Root::kPromptStrategyChosen},
      {"memory.snapshot_id", Root::kMemorySnapshotId},
      {"memory.schema_version", Root::kMemorySchemaVersion},
      {"memory.size", Root::kMemorySize},
      {"memory.reads", Root::kMemoryReads},
      {"memory.skipped", Root::kMemorySkipped},
      {"steps", Root::kSteps},
  };
  static constexpr std::pair<absl::string_view, Root> kMaps[] = {
      {"task.labels.", Root::kTaskLabel},
      {"system.config.", Root::kConfig},
      {"memory.stats.", Root::kMemoryStat},
      {"signals.", Root::kSignal},
  };
  for (const auto& [name, root] : kFields) {
    if (path == name) return TraceField(root, std::string(path), "");
  }
  for (const auto& [prefix, root] : kMaps) {
    absl::string_view key = path;
    if (absl::ConsumePrefix(&key, prefix) && !key.empty()) {
      return TraceField(root, std::string(path), std::string(key));
    }
  }
  std::string known;
  for (const auto& [name, root] : kFields) absl::StrAppend(&known, name, ", ");
  for (const auto& [prefix, root] : kMaps) {
    absl::StrAppend(&known, prefix, "KEY, ");
  }
  known.resize(known.size() - 2);
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_MALFORMED, "field",
                            absl::StrCat("one of ", known),
                            absl::StrCat("`", base::CutText(path, 128),
                                         "` is no field of a run")));
}

FieldValue TraceField::Get(const v1::Trace& trace) const {
  switch (root_) {
    case Root::kSessionId:
      return Text(trace.session_id());
    case Root::kTaskId:
      return Text(trace.task().id());
    case Root::kTaskType:
      return Text(trace.task().type());
    case Root::kTaskDataset:
      return Text(trace.task().dataset());
    case Root::kTaskInput:
      return Text(trace.task().input());
    case Root::kTaskLabel:
      return Entry(trace.task().labels(), key_);
    case Root::kAgent:
      return Text(trace.system().agent());
    case Root::kAgentVersion:
      return Text(trace.system().agent_version());
    case Root::kModel:
      return Text(trace.system().model());
    case Root::kPromptStrategy:
      return Text(trace.system().prompt_strategy());
    case Root::kPromptVersion:
      return Text(trace.system().prompt_version());
    case Root::kToolset:
      return Text(trace.system().toolset());
    case Root::kConfig:
      return Entry(trace.system().config(), key_);
    case Root::kRouteChosen:
      return Chosen(trace, v1::Decision::KIND_ROUTE);
    case Root::kToolChosen:
      return Chosen(trace, v1::Decision::KIND_TOOL);
    case Root::kMemoryReadChosen:
      return Chosen(trace, v1::Decision::KIND_MEMORY_READ);
    case Root::kPromptStrategyChosen:
      return Chosen(trace, v1::Decision::KIND_PROMPT_STRATEGY);
    case Root::kMemorySnapshotId:
      return Text(trace.memory().snapshot_id());
    case Root::kMemorySchemaVersion:
      return Text(trace.memory().schema_version());
    case Root::kMemorySize:
      return Number(trace.has_memory(),
                    static_cast<double>(trace.memory().size()));
    case Root::kMemoryReads:
      return Number(trace.has_memory(), trace.memory().reads_size());
    case Root::kMemorySkipped:
      return Number(trace.has_memory(), trace.memory().skipped_size());
    case Root::kMemoryStat:
      return Entry(trace.memory().stats(), key_);
    case Root::kSignal:
      return Entry(trace.evaluation().signals(), key_);
    case Root::kSteps:
      return static_cast<double>(trace.steps_size());
  }
  return std::monostate();
}

void VisitContext(const v1::Trace& trace, const Visit& visit) {
  const v1::Task& task = trace.task();
  VisitPresent("task.type", Text(task.type()), visit);
  VisitPresent("task.dataset", Text(task.dataset()), visit);
  VisitMap("task.labels.", task.labels(), visit);

  const v1::System& system = trace.system();
  VisitPresent("system.agent", Text(system.agent()), visit);
  VisitPresent("system.agent_version", Text(system.agent_version()), visit);
  VisitPresent("system.model", Text(system.model()), visit);
  VisitPresent("system.prompt_strategy", Text(system.prompt_strategy()), visit);
  VisitPresent("system.prompt_version", Text(system.prompt_version()), visit);
  VisitPresent("system.toolset", Text(system.toolset()), visit);
  VisitMap("system.config.", system.config(), visit);

  VisitPresent("decisions.route.chosen",
               ChosenBeforeRun(trace, v1::Decision::KIND_ROUTE), visit);
  VisitPresent("decisions.memory_read.chosen",
               ChosenBeforeRun(trace, v1::Decision::KIND_MEMORY_READ), visit);
  VisitPresent("decisions.prompt_strategy.chosen",
               ChosenBeforeRun(trace, v1::Decision::KIND_PROMPT_STRATEGY),
               visit);

  if (!trace.has_memory()) return;
  const v1::MemoryState& memory = trace.memory();
  VisitPresent("memory.snapshot_id", Text(memory.snapshot_id()), visit);
  VisitPresent("memory.schema_version", Text(memory.schema_version()), visit);
  visit("memory.size", static_cast<double>(memory.size()));
  VisitMap("memory.stats.", memory.stats(), visit);
}

void VisitWords(absl::string_view text,
                const std::function<void(absl::string_view word)>& visit) {
  std::string lower;
  for (size_t begin = 0; begin < text.size();) {
    if (!IsWordByte(text[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin;
    bool upper = false;
    for (; end < text.size() && IsWordByte(text[end]); ++end) {
      upper |= absl::ascii_isupper(text[end]);
    }
    absl::string_view word = text.substr(begin, end - begin);
    if (upper) {
      lower.assign(word.data(), word.size());
      absl::AsciiStrToLower(&lower);
      word = lower;
    }
    visit(word);
    begin = end;
  }
}

}  // namespace faultline::trace
