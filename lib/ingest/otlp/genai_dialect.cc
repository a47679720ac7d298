#include "lib/ingest/otlp/genai_dialect.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/ingest/otlp/json_value.h"

namespace faultline::otlp {
namespace {

using opentelemetry::proto::trace::v1::Span;

constexpr char kPrefix[] = "gen_ai.";

constexpr std::pair<absl::string_view, Operation> kOperations[] = {
    {"chat", Operation::kLlm},
    {"generate_content", Operation::kLlm},
    {"text_completion", Operation::kLlm},
    {"embeddings", Operation::kSideModel},
    {"retrieval", Operation::kRetrieval},
    {"execute_tool", Operation::kTool},
    {"create_agent", Operation::kContext},
    {"invoke_agent", Operation::kAgent},
    {"invoke_workflow", Operation::kContext},
    {"plan", Operation::kContext},
    {"create_memory_store", Operation::kMemory},
    {"delete_memory_store", Operation::kMemory},
    {"create_memory", Operation::kMemory},
    {"update_memory", Operation::kMemory},
    {"upsert_memory", Operation::kMemory},
    {"delete_memory", Operation::kMemory},
    {"search_memory", Operation::kMemory},
};

// Settings of a request that are part of the system's configuration.
constexpr const char* kSettings[] = {
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop_sequences",
    "choice.count",
    "stream",
};

constexpr std::pair<const char*, const char*> kStepNumbers[] = {
    {"response.time_to_first_chunk", "time_to_first_chunk"},
    {"usage.cache_read.input_tokens", "cache_read_tokens"},
    {"usage.cache_creation.input_tokens", "cache_write_tokens"},
    {"usage.reasoning.output_tokens", "reasoning_tokens"},
};

// What a span says of the texts that went in and came out.
struct Content {
  std::string input;
  std::string output;
  std::string user;  // what the user said first
};

Operation OperationOf(const AttributeView& gen_ai, const AttributeView& all,
                      const Span& span) {
  const absl::string_view method = all.Text("mcp.method.name");
  // The other side of a call that the agent's own span tells of.
  if (!method.empty() && span.kind() == Span::SPAN_KIND_SERVER) {
    return Operation::kUnknown;
  }
  const absl::string_view name = gen_ai.Text("operation.name");
  for (const auto& [known, operation] : kOperations) {
    if (name == known) return operation;
  }
  const bool names_model = gen_ai.Find("request.model") != nullptr ||
                           gen_ai.Find("response.model") != nullptr;
  if (!name.empty()) {
    return names_model ? Operation::kLlm : Operation::kContext;
  }
  if (gen_ai.Find("tool.name") != nullptr || method == "tools/call") {
    return Operation::kTool;
  }
  if (names_model || gen_ai.Find("system") != nullptr) return Operation::kLlm;
  if (gen_ai.Find("agent.name") != nullptr) return Operation::kAgent;
  return Operation::kUnknown;
}

// The texts of one message: `content`, or its parts of type text.
std::string MessageText(const Json& message) {
  const absl::string_view content = TextMember(message, "content");
  if (!content.empty() || !message.is_object()) return std::string(content);
  std::string text;
  for (const char* list : {"parts", "content"}) {
    const auto parts = message.find(list);
    if (parts == message.end() || !parts->is_array()) continue;
    for (const Json& part : *parts) {
      if (TextMember(part, "type") != "text") continue;
      absl::string_view piece = TextMember(part, "content");
      if (piece.empty()) piece = TextMember(part, "text");
      absl::StrAppend(&text, text.empty() ? "" : "\n", piece);
    }
  }
  return text;
}

std::string FirstUserText(const Json& messages) {
  if (!messages.is_array()) return "";
  for (const Json& message : messages) {
    if (TextMember(message, "role") == "user") return MessageText(message);
  }
  return "";
}

// Messages as structure, as JSON or as plain text.
void KeepPrompt(const AnyValue* value, Content* content) {
  if (value == nullptr) return;
  Keep(TextOf(*value), &content->input);
  if (!content->user.empty()) return;
  const std::optional<Json> messages = ReadJson(*value);
  if (messages.has_value()) {
    content->user = FirstUserText(*messages);
  } else {
    Keep(value->string_value(), &content->user);
  }
}

void KeepCompletion(const AnyValue* value, Content* content) {
  if (value != nullptr) Keep(TextOf(*value), &content->output);
}

// `gen_ai.prompt.N.role` and the like, of early instrumentations.
std::string FlatMessages(const std::vector<AttributeView>& messages,
                         std::string* user) {
  std::string conversation;
  for (const AttributeView& message : messages) {
    const absl::string_view role = message.Text("role");
    const AnyValue* text = message.Find("content");
    if (text != nullptr) {
      if (role == "user" && user != nullptr) Keep(TextOf(*text), user);
      AppendMessage(role, TextOf(*text), &conversation);
    }
    for (const AttributeView& call : message.Elements("tool_calls")) {
      AppendMessage(
          "tool_call",
          absl::StrCat(call.Text("name"), " ", call.Text("arguments")),
          &conversation);
    }
  }
  return conversation;
}

void ReadContent(const AttributeView& gen_ai, Content* content) {
  KeepPrompt(gen_ai.Find("input.messages"), content);
  KeepCompletion(gen_ai.Find("output.messages"), content);
  KeepPrompt(gen_ai.Find("prompt"), content);
  KeepCompletion(gen_ai.Find("completion"), content);
  if (content->input.empty()) {
    content->input = FlatMessages(gen_ai.Elements("prompt"), &content->user);
  }
  if (content->output.empty()) {
    content->output = FlatMessages(gen_ai.Elements("completion"), nullptr);
  }
}

// The text of an event `gen_ai.ROLE.message` or `gen_ai.choice`.
std::string EventText(const AttributeView& event) {
  if (const AnyValue* content = event.Find("content")) return TextOf(*content);
  const AnyValue* message = event.Find("message");
  if (message == nullptr) return "";
  const std::optional<Json> json = ReadJson(*message);
  const std::string text = json.has_value() ? MessageText(*json) : "";
  return text.empty() ? TextOf(*message) : text;
}

void ReadJudgement(const AttributeView& evaluation, absl::Time time,
                   Draft* draft) {
  if (evaluation.Text("name").empty()) return;
  Judgement judgement;
  judgement.name = std::string(evaluation.Text("name"));
  judgement.label = std::string(evaluation.Text("score.label"));
  judgement.explanation = std::string(evaluation.Text("explanation"));
  judgement.score = evaluation.Number("score.value");
  judgement.time = time;
  draft->judgements.push_back(std::move(judgement));
}

void ReadEvents(const Span& span, Content* content, Draft* draft) {
  std::string input;
  std::string output;
  for (const Span::Event& event : span.events()) {
    absl::string_view name = event.name();
    if (!absl::ConsumePrefix(&name, kPrefix)) continue;
    const AttributeTable table(event.attributes());
    draft->string_indexes += table.string_indexes();
    const AttributeView gen_ai = table.view().Under(kPrefix);
    if (name == "evaluation.result") {
      const auto nanos = static_cast<int64_t>(event.time_unix_nano());
      ReadJudgement(
          gen_ai.Under("evaluation."),
          nanos > 0 ? absl::FromUnixNanos(nanos) : absl::InfinitePast(), draft);
    } else if (name == "choice") {
      AppendMessage("", EventText(table.view()), &output);
      KeepEntry("finish_reason", table.view().Find("finish_reason"),
                draft->step.mutable_attributes());
    } else if (absl::ConsumeSuffix(&name, ".message")) {
      const std::string text = EventText(table.view());
      if (name == "user") Keep(text, &content->user);
      AppendMessage(name, text, &input);
    } else {  // content.prompt, content.completion, ...operation.details
      ReadContent(gen_ai, content);
    }
  }
  Keep(input, &content->input);
  Keep(output, &content->output);
}

// The first of two names that a number has.
uint64_t CountOr(const AttributeView& view, absl::string_view name,
                 absl::string_view old_name) {
  const std::optional<uint64_t> count = view.Count(name);
  return count.has_value() ? *count : view.Count(old_name).value_or(0);
}

void ReadModelCall(const AttributeView& gen_ai, Draft* draft) {
  KeepModels(gen_ai.Text("request.model"), gen_ai.Text("response.model"),
             draft);
  v1::Step& step = draft->step;
  if (step.input_tokens() == 0) {
    step.set_input_tokens(
        CountOr(gen_ai, "usage.input_tokens", "usage.prompt_tokens"));
  }
  if (step.output_tokens() == 0) {
    step.set_output_tokens(
        CountOr(gen_ai, "usage.output_tokens", "usage.completion_tokens"));
  }
  for (const auto& [name, key] : kStepNumbers) {
    KeepEntry(key, gen_ai.Find(name), step.mutable_attributes());
  }
  if (const AnyValue* reasons = gen_ai.Find("response.finish_reasons")) {
    const auto& list = reasons->array_value().values();
    KeepEntry("finish_reason", list.empty() ? reasons : &list[0],
              step.mutable_attributes());
  }
  if (draft->operation != Operation::kLlm) return;
  auto* config = draft->part.mutable_system()->mutable_config();
  const absl::string_view provider = gen_ai.Text("provider.name");
  KeepEntry("provider", provider.empty() ? gen_ai.Text("system") : provider,
            config);
  const AttributeView request = gen_ai.Under("request.");
  for (const char* setting : kSettings) {
    KeepEntry(setting, request.Find(setting), config);
  }
}

std::vector<Document> ReadRecords(const AnyValue& value) {
  std::vector<Document> documents;
  const std::optional<Json> list = ReadJson(value);
  if (!list.has_value() || !list->is_array()) return documents;
  for (const Json& element : *list) {
    documents.push_back({std::string(TextMember(element, "id")),
                         std::string(TextMember(element, "content")),
                         NumberMember(element, "score")});
  }
  return documents;
}

void ReadMemory(const AttributeView& gen_ai, Draft* draft) {
  const AttributeView memory = gen_ai.Under("memory.");
  const absl::string_view operation = gen_ai.Text("operation.name");
  const absl::string_view store = memory.Text("store.id");
  const absl::string_view record = memory.Text("record.id");
  v1::Step& step = draft->step;
  Keep(operation, step.mutable_name());
  Keep(memory.Text("query.text"), step.mutable_input());
  KeepEntry("memory.records", memory.Find("record.count"),
            step.mutable_attributes());
  std::vector<Document> documents;
  if (const AnyValue* records = memory.Find("records")) {
    Keep(TextOf(*records), step.mutable_output());
    documents = ReadRecords(*records);
  }
  if (documents.empty() && !record.empty()) {
    documents.push_back({std::string(record), "", std::nullopt});
  }
  for (const Document& document : documents) {
    if (document.id.empty()) continue;
    if (operation == "search_memory") {
      v1::MemoryState::Read* read = draft->part.mutable_memory()->add_reads();
      read->set_record_id(document.id);
      if (document.score.has_value()) read->set_score(*document.score);
      Keep(store, read->mutable_record_class());
    } else {
      v1::MemoryState::Write* write =
          draft->part.mutable_memory()->add_writes();
      write->set_record_id(document.id);
      Keep(store, write->mutable_record_class());
    }
  }
}

void ReadAgent(const AttributeView& gen_ai, Draft* draft) {
  absl::string_view agent = gen_ai.Text("agent.name");
  if (agent.empty()) agent = gen_ai.Text("agent.id");
  if (!agent.empty()) {
    v1::System* system = draft->part.mutable_system();
    Keep(agent, system->mutable_agent());
    Keep(gen_ai.Text("agent.version"), system->mutable_agent_version());
    Keep(agent, draft->step.mutable_actor());
  }
  const absl::string_view workflow = gen_ai.Text("workflow.name");
  if (!workflow.empty()) {
    KeepEntry("workflow", workflow,
              draft->part.mutable_system()->mutable_config());
  }
}

}  // namespace

void ReadGenAi(const AttributeView& attributes, const Span& span,
               Draft* draft) {
  const AttributeView gen_ai = attributes.Under(kPrefix);
  Content content;
  ReadEvents(span, &content, draft);
  ReadJudgement(gen_ai.Under("evaluation."), absl::InfinitePast(), draft);
  const Operation operation = OperationOf(gen_ai, attributes, span);
  if (draft->operation == Operation::kUnknown) draft->operation = operation;
  if (operation == Operation::kUnknown) return;

  ReadContent(gen_ai, &content);
  Keep(gen_ai.Text("conversation.id"), draft->part.mutable_session_id());
  ReadAgent(gen_ai, draft);
  v1::Step& step = draft->step;
  switch (draft->operation) {
    case Operation::kLlm:
      Keep(gen_ai.Text("prompt.name"), step.mutable_name());
      Keep(gen_ai.Text("operation.name"), step.mutable_name());
      ReadModelCall(gen_ai, draft);
      break;
    case Operation::kSideModel:
      Keep("embeddings", step.mutable_name());
      ReadModelCall(gen_ai, draft);
      break;
    case Operation::kTool:
      Keep(gen_ai.Text("tool.name"), step.mutable_name());
      if (const AnyValue* arguments = gen_ai.Find("tool.call.arguments")) {
        Keep(TextOf(*arguments), step.mutable_input());
      }
      if (const AnyValue* result = gen_ai.Find("tool.call.result")) {
        Keep(TextOf(*result), step.mutable_output());
      }
      break;
    case Operation::kRetrieval:
      Keep(gen_ai.Text("data_source.id"), step.mutable_name());
      Keep(gen_ai.Text("retrieval.query.text"), step.mutable_input());
      if (const AnyValue* documents = gen_ai.Find("retrieval.documents")) {
        KeepDocuments(ReadRecords(*documents), draft);
      }
      break;
    case Operation::kMemory:
      ReadMemory(gen_ai, draft);
      break;
    case Operation::kUnknown:
    case Operation::kContext:
    case Operation::kAgent:
    case Operation::kGuardrail:
    case Operation::kHandoff:
    case Operation::kEvaluator:
      break;
  }
  Keep(content.input, step.mutable_input());
  Keep(content.output, step.mutable_output());
  if (!content.user.empty()) {
    Keep(content.user, draft->part.mutable_task()->mutable_input());
  }
}

}  // namespace faultline::otlp
