#include "lib/ingest/otlp/openinference_dialect.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/ingest/otlp/json_value.h"

namespace faultline::otlp {
namespace {

constexpr std::pair<absl::string_view, Operation> kKinds[] = {
    {"LLM", Operation::kLlm},
    {"EMBEDDING", Operation::kSideModel},
    {"CHAIN", Operation::kContext},
    {"RETRIEVER", Operation::kRetrieval},
    {"RERANKER", Operation::kRetrieval},
    {"TOOL", Operation::kTool},
    {"AGENT", Operation::kAgent},
    {"GUARDRAIL", Operation::kGuardrail},
    {"EVALUATOR", Operation::kEvaluator},
    {"PROMPT", Operation::kContext},
    {"DECISION", Operation::kSideModel},
};

// Members of llm.invocation_parameters that are part of the system's
// configuration; the rest may hold the whole request.
constexpr const char* kSettings[] = {
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "reasoning_effort",
};

constexpr std::pair<const char*, const char*> kStepEntries[] = {
    {"finish_reason", "finish_reason"},
    {"token_count.prompt_details.cache_read", "cache_read_tokens"},
    {"token_count.prompt_details.cache_write", "cache_write_tokens"},
    {"token_count.completion_details.reasoning", "reasoning_tokens"},
};

Operation OperationOf(absl::string_view kind) {
  for (const auto& [name, operation] : kKinds) {
    if (absl::EqualsIgnoreCase(kind, name)) return operation;
  }
  return Operation::kContext;
}

// The texts of one message: `content`, or its contents of type text.
std::string MessageText(const AttributeView& message) {
  if (const AnyValue* content = message.Find("message.content")) {
    return TextOf(*content);
  }
  std::string text;
  for (const AttributeView& content : message.Elements("message.contents")) {
    const absl::string_view piece = content.Text("message_content.text");
    if (piece.empty()) continue;
    absl::StrAppend(&text, text.empty() ? "" : "\n", piece);
  }
  return text;
}

std::string Conversation(const std::vector<AttributeView>& messages) {
  std::string conversation;
  for (const AttributeView& message : messages) {
    const std::string text = MessageText(message);
    if (!text.empty()) {
      AppendMessage(message.Text("message.role"), text, &conversation);
    }
    for (const AttributeView& call : message.Elements("message.tool_calls")) {
      AppendMessage("tool_call",
                    absl::StrCat(call.Text("tool_call.function.name"), " ",
                                 call.Text("tool_call.function.arguments")),
                    &conversation);
    }
  }
  return conversation;
}

// Lines of a list of texts.
std::string Lines(const std::vector<AttributeView>& list,
                  absl::string_view name) {
  std::string lines;
  for (const AttributeView& element : list) {
    AppendMessage("", element.Text(name), &lines);
  }
  return lines;
}

void ReadModelCall(const AttributeView& attributes, Draft* draft) {
  const AttributeView llm = attributes.Under("llm.");
  absl::string_view requested = llm.Text("request.model_name");
  if (requested.empty()) requested = llm.Text("model_name");
  KeepModels(requested, llm.Text("response.model_name"), draft);

  v1::Step& step = draft->step;
  Keep(attributes.Text("prompt.id"), step.mutable_name());
  if (step.input_tokens() == 0) {
    step.set_input_tokens(llm.Count("token_count.prompt").value_or(0));
  }
  if (step.output_tokens() == 0) {
    step.set_output_tokens(llm.Count("token_count.completion").value_or(0));
  }
  if (step.cost() == 0) step.set_cost(llm.Number("cost.total").value_or(0));
  for (const auto& [name, key] : kStepEntries) {
    KeepEntry(key, llm.Find(name), step.mutable_attributes());
  }

  v1::System* system = draft->part.mutable_system();
  Keep(llm.Text("prompt_template.version"), system->mutable_prompt_version());
  auto* config = system->mutable_config();
  const absl::string_view provider = llm.Text("provider");
  KeepEntry("provider", provider.empty() ? llm.Text("system") : provider,
            config);
  const AnyValue* parameters = llm.Find("invocation_parameters");
  const std::optional<Json> settings =
      parameters == nullptr ? std::nullopt : ReadJson(*parameters);
  if (settings.has_value() && settings->is_object()) {
    for (const char* name : kSettings) {
      const auto setting = settings->find(name);
      if (setting == settings->end()) continue;
      if (setting->is_number() || setting->is_boolean()) {
        KeepEntry(name, WriteJson(*setting), config);
      } else {
        KeepEntry(name, TextMember(*settings, name), config);
      }
    }
  }

  const auto messages = llm.Elements("input_messages");
  for (const AttributeView& message : messages) {
    if (message.Text("message.role") != "user") continue;
    Keep(MessageText(message), draft->part.mutable_task()->mutable_input());
    break;
  }
  if (step.input().empty()) Keep(Conversation(messages), step.mutable_input());
  if (step.input().empty()) {
    Keep(Lines(llm.Elements("prompts"), "prompt.text"), step.mutable_input());
  }
  if (step.output().empty()) {
    Keep(Conversation(llm.Elements("output_messages")), step.mutable_output());
  }
  if (step.output().empty()) {
    Keep(Lines(llm.Elements("choices"), "completion.text"),
         step.mutable_output());
  }
}

void ReadSideModel(const AttributeView& attributes, Draft* draft) {
  v1::Step& step = draft->step;
  const AttributeView decision = attributes.Under("decision.");
  KeepModels(decision.Text("model_name"), decision.Text("response.model_name"),
             draft);
  const AttributeView embedding = attributes.Under("embedding.");
  if (!embedding.empty()) Keep("embeddings", step.mutable_name());
  KeepModels(embedding.Text("model_name"), "", draft);
  const AnyValue* tokens = attributes.Find("llm.token_count.prompt");
  if (tokens == nullptr) tokens = decision.Find("token_count.input");
  if (step.input_tokens() == 0 && tokens != nullptr) {
    step.set_input_tokens(CountOf(*tokens).value_or(0));
  }
  if (step.output_tokens() == 0) {
    step.set_output_tokens(decision.Count("token_count.output").value_or(0));
  }
  Keep(embedding.Text("text"), step.mutable_input());
  if (step.input().empty()) {
    Keep(Lines(embedding.Elements("embeddings"), "embedding.text"),
         step.mutable_input());
  }
}

void ReadDocuments(const std::vector<AttributeView>& list, Draft* draft) {
  std::vector<Document> documents;
  for (const AttributeView& element : list) {
    const AttributeView document = element.Under("document.");
    const AnyValue* id = document.Find("id");
    documents.push_back({id == nullptr ? "" : TextOf(*id),
                         std::string(document.Text("content")),
                         document.Number("score")});
  }
  if (!documents.empty()) KeepDocuments(documents, draft);
}

void ReadRetrieval(const AttributeView& attributes, Draft* draft) {
  ReadDocuments(attributes.Elements("retrieval.documents"), draft);
  const AttributeView reranker = attributes.Under("reranker.");
  if (reranker.empty()) return;
  Keep(reranker.Text("model_name"), draft->step.mutable_name());
  Keep(reranker.Text("query"), draft->step.mutable_input());
  ReadDocuments(reranker.Elements("output_documents"), draft);
}

void ReadTool(const AttributeView& attributes, Draft* draft) {
  const AttributeView tool = attributes.Under("tool.");
  Keep(tool.Text("name"), draft->step.mutable_name());
  if (const AnyValue* parameters = tool.Find("parameters")) {
    Keep(TextOf(*parameters), draft->step.mutable_input());
  }
}

// `PREFIX.N.SUFFIX.name` and so on. Nothing without a name and a judgement.
void ReadJudgements(const AttributeView& attributes, absl::string_view list,
                    absl::string_view suffix, Draft* draft) {
  for (const AttributeView& element : attributes.Elements(list)) {
    const AttributeView view = element.Under(suffix);
    Judgement judgement;
    judgement.name = std::string(view.Text("name"));
    judgement.identifier = std::string(view.Text("identifier"));
    judgement.annotator_kind = std::string(view.Text("annotator_kind"));
    judgement.label = std::string(view.Text("label"));
    judgement.explanation = std::string(view.Text("explanation"));
    judgement.score = view.Number("score");
    if (judgement.name.empty() ||
        (judgement.label.empty() && judgement.explanation.empty() &&
         !judgement.score.has_value())) {
      ++draft->ignored;
      continue;
    }
    draft->judgements.push_back(std::move(judgement));
  }
}

}  // namespace

void ReadOpenInference(const AttributeView& attributes, Draft* draft) {
  for (const absl::string_view scope : {"", "trace."}) {
    const AttributeView scoped = attributes.Under(scope);
    ReadJudgements(scoped, "annotations", "annotation.", draft);
    ReadJudgements(scoped, "evaluations", "evaluation.", draft);
  }
  const AttributeView session = attributes.Under("session.");
  draft->ignored += session.Elements("annotations").size() +
                    session.Elements("evaluations").size();

  const absl::string_view kind = attributes.Text("openinference.span.kind");
  if (kind.empty()) return;
  if (draft->operation == Operation::kUnknown) {
    draft->operation = OperationOf(kind);
  }
  Keep(session.Text("id"), draft->part.mutable_session_id());
  v1::Step& step = draft->step;
  absl::string_view actor = attributes.Text("agent.name");
  if (!actor.empty()) {
    Keep(actor, draft->part.mutable_system()->mutable_agent());
  } else {
    actor = attributes.Text("graph.node.name");
    if (actor.empty()) actor = attributes.Text("graph.node.id");
  }
  Keep(actor, step.mutable_actor());
  if (const AnyValue* input = attributes.Find("input.value")) {
    Keep(TextOf(*input), step.mutable_input());
  }
  if (const AnyValue* output = attributes.Find("output.value")) {
    Keep(TextOf(*output), step.mutable_output());
  }
  switch (draft->operation) {
    case Operation::kLlm:
      ReadModelCall(attributes, draft);
      break;
    case Operation::kSideModel:
      ReadSideModel(attributes, draft);
      break;
    case Operation::kRetrieval:
      ReadRetrieval(attributes, draft);
      break;
    case Operation::kTool:
      ReadTool(attributes, draft);
      break;
    case Operation::kContext:
    case Operation::kAgent:
      if (!step.input().empty()) {
        Keep(step.input(), draft->part.mutable_task()->mutable_input());
      }
      break;
    case Operation::kUnknown:
    case Operation::kMemory:
    case Operation::kGuardrail:
    case Operation::kHandoff:
    case Operation::kEvaluator:
      break;
  }
}

}  // namespace faultline::otlp
