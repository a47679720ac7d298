#include "lib/ingest/otlp/openinference_dialect.h"

#include "tests/unit/otlp/span_builder.h"

namespace faultline::otlp {
namespace {

TEST(OpenInferenceDialectTest, AnLlmSpanIsAModelStep) {
  const v1::Trace part = PartOf(MakeSpan(
      "ChatCompletion",
      {{"openinference.span.kind", "LLM"},
       {"session.id", "s-1"},
       {"input.value", "the request"},
       {"output.value", "the answer"},
       {"llm.model_name", "gpt-4.1"},
       {"llm.response.model_name", "gpt-4.1-mini"},
       {"llm.provider", "openai"},
       {"llm.invocation_parameters",
        R"({"temperature": 0.5, "seed": 7, "messages": ["no setting"]})"},
       {"llm.prompt_template.version", "v3"},
       {"llm.finish_reason", "stop"},
       {"llm.token_count.prompt", 11},
       {"llm.token_count.completion", 12},
       {"llm.token_count.prompt_details.cache_read", 3},
       {"llm.token_count.completion_details.reasoning", 4},
       {"llm.cost.total", 0.25},
       {"llm.input_messages.0.message.role", "system"},
       {"llm.input_messages.0.message.content", "Be brief."},
       {"llm.input_messages.1.message.role", "user"},
       {"llm.input_messages.1.message.contents.0.message_content.type", "text"},
       {"llm.input_messages.1.message.contents.0.message_content.text", "Hi"},
       {"metadata", R"({"expected": "an answer that must not be read"})"}}));
  EXPECT_THAT(part, EqualsText(R"pb(
                session_id: "s-1"
                start_time { seconds: 1700000000 }
                end_time { seconds: 1700000002 nanos: 500000000 }
                task { input: "Hi" }
                system {
                  model: "gpt-4.1"
                  prompt_version: "v3"
                  config { key: "provider" value: "openai" }
                  config { key: "temperature" value: "0.5" }
                  config { key: "seed" value: "7" }
                }
                steps {
                  kind: KIND_LLM
                  name: "ChatCompletion"
                  start_offset {}
                  duration { seconds: 2 nanos: 500000000 }
                  input: "the request"
                  output: "the answer"
                  input_tokens: 11
                  output_tokens: 12
                  cost: 0.25
                  attributes { key: "model" value: "gpt-4.1" }
                  attributes { key: "response_model" value: "gpt-4.1-mini" }
                  attributes { key: "finish_reason" value: "stop" }
                  attributes { key: "cache_read_tokens" value: "3" }
                  attributes { key: "reasoning_tokens" value: "4" }
                }
              )pb"));
}

TEST(OpenInferenceDialectTest, MessagesStandInForInputAndOutput) {
  const v1::Step step = StepOf(MakeSpan(
      "llm",
      {{"openinference.span.kind", "LLM"},
       {"llm.input_messages.1.message.role", "user"},
       {"llm.input_messages.1.message.content", "Hi"},
       {"llm.input_messages.0.message.role", "system"},
       {"llm.input_messages.0.message.content", "Be brief."},
       {"llm.output_messages.0.message.role", "assistant"},
       {"llm.output_messages.0.message.tool_calls.0.tool_call.function.name",
        "add"},
       {"llm.output_messages.0.message.tool_calls.0.tool_call.function."
        "arguments",
        R"({"a":1})"}}));
  EXPECT_EQ(step.input(), "system: Be brief.\nuser: Hi");
  EXPECT_EQ(step.output(), R"(tool_call: add {"a":1})");
}

TEST(OpenInferenceDialectTest, PromptsAndChoicesStandInToo) {
  const v1::Step step =
      StepOf(MakeSpan("llm", {{"openinference.span.kind", "LLM"},
                              {"prompt.id", "greet"},
                              {"llm.prompts.0.prompt.text", "Say hi"},
                              {"llm.choices.0.completion.text", "hi"}}));
  EXPECT_EQ(step.name(), "greet");
  EXPECT_EQ(step.input(), "Say hi");
  EXPECT_EQ(step.output(), "hi");
}

TEST(OpenInferenceDialectTest, TheRootsInputIsTheTask) {
  const v1::Trace part =
      PartOf(MakeRoot("agent", {{"openinference.span.kind", "AGENT"},
                                {"agent.name", "planner"},
                                {"input.value", "Book a table"},
                                {"output.value", "Done"}}),
             {{"service.name", "diner"}, {"service.version", "7"}});
  EXPECT_EQ(part.steps_size(), 0);
  EXPECT_EQ(part.task().input(), "Book a table");
  EXPECT_EQ(part.system().agent(), "planner");
  EXPECT_EQ(part.system().agent_version(), "7");
}

TEST(OpenInferenceDialectTest, AnAgentWithinARunIsAHandoff) {
  const v1::Step step =
      StepOf(MakeSpan("agent run", {{"openinference.span.kind", "AGENT"},
                                    {"agent.name", "waiter"},
                                    {"input.value", "a table"},
                                    {"output.value", "table 4"}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_HANDOFF);
  EXPECT_EQ(step.name(), "waiter");
  EXPECT_EQ(step.input(), "a table");
  EXPECT_EQ(step.output(), "table 4");
}

TEST(OpenInferenceDialectTest, AToolNamedAfterAHandoffIsOne) {
  const v1::Step step = StepOf(
      MakeSpan("handoff to waiter", {{"openinference.span.kind", "TOOL"}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_HANDOFF);
  EXPECT_EQ(step.name(), "waiter");
}

TEST(OpenInferenceDialectTest, ChainsAndPromptsAreContext) {
  for (const char* kind : {"CHAIN", "PROMPT", "SOMETHING_NEW"}) {
    EXPECT_EQ(
        PartOf(MakeSpan("c", {{"openinference.span.kind", kind}})).steps_size(),
        0)
        << kind;
  }
}

TEST(OpenInferenceDialectTest, AToolHasNameInputAndOutput) {
  const v1::Step step =
      StepOf(MakeSpan("span", {{"openinference.span.kind", "TOOL"},
                               {"tool.name", "search"},
                               {"tool.parameters", R"({"q":"x"})"},
                               {"graph.node.id", "node-1"},
                               {"output.value", "3 hits"}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_TOOL);
  EXPECT_EQ(step.name(), "search");
  EXPECT_EQ(step.actor(), "node-1");
  EXPECT_EQ(step.input(), R"({"q":"x"})");
  EXPECT_EQ(step.output(), "3 hits");
}

TEST(OpenInferenceDialectTest, ARetrieverListsItsDocuments) {
  const v1::Step step = StepOf(
      MakeSpan("retrieve",
               {{"openinference.span.kind", "RETRIEVER"},
                {"input.value", "refunds"},
                {"retrieval.documents.0.document.id", "d1"},
                {"retrieval.documents.0.document.score", 0.5},
                {"retrieval.documents.0.document.content", "Refunds take ..."},
                {"retrieval.documents.1.document.id", 2}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_RETRIEVAL);
  EXPECT_EQ(step.name(), "retrieve");
  EXPECT_EQ(step.input(), "refunds");
  EXPECT_EQ(step.output(), "d1: Refunds take ...\n2: ");
  EXPECT_EQ(step.attributes().at("retrieval.hits"), "2");
  EXPECT_EQ(step.attributes().at("retrieval.top_score"), "0.5");
}

TEST(OpenInferenceDialectTest, ARerankerIsARetrieval) {
  const v1::Step step = StepOf(
      MakeSpan("rerank", {{"openinference.span.kind", "RERANKER"},
                          {"reranker.model_name", "rr"},
                          {"reranker.query", "refunds"},
                          {"reranker.input_documents.0.document.id", "d0"},
                          {"reranker.input_documents.1.document.id", "d1"},
                          {"reranker.output_documents.0.document.id", "d1"}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_RETRIEVAL);
  EXPECT_EQ(step.name(), "rr");
  EXPECT_EQ(step.input(), "refunds");
  EXPECT_EQ(step.attributes().at("retrieval.hits"), "1");
}

TEST(OpenInferenceDialectTest, AnEmbeddingIsACallOfAnotherModel) {
  const Span span =
      MakeSpan("embed", {{"openinference.span.kind", "EMBEDDING"},
                         {"embedding.model_name", "small"},
                         {"llm.token_count.prompt", 5},
                         {"embedding.embeddings.0.embedding.text", "a"},
                         {"embedding.embeddings.1.embedding.text", "b"}});
  EXPECT_FALSE(PartOf(span).has_system());
  const v1::Step step = StepOf(span);
  EXPECT_EQ(step.kind(), v1::Step::KIND_LLM);
  EXPECT_EQ(step.name(), "embeddings");
  EXPECT_EQ(step.input(), "a\nb");
  EXPECT_EQ(step.input_tokens(), 5);
  EXPECT_EQ(step.attributes().at("model"), "small");
}

TEST(OpenInferenceDialectTest, ADecisionIsACallOfAnotherModel) {
  const Span span = MakeSpan("pick", {{"openinference.span.kind", "DECISION"},
                                      {"decision.model_name", "chooser"},
                                      {"decision.token_count.input", 5},
                                      {"decision.token_count.output", 1},
                                      {"output.value", "b"}});
  EXPECT_FALSE(PartOf(span).has_system());
  const v1::Step step = StepOf(span);
  EXPECT_EQ(step.kind(), v1::Step::KIND_LLM);
  EXPECT_EQ(step.name(), "pick");
  EXPECT_EQ(step.input_tokens(), 5);
  EXPECT_EQ(step.output_tokens(), 1);
  EXPECT_EQ(step.output(), "b");
  EXPECT_EQ(step.attributes().at("model"), "chooser");
}

TEST(OpenInferenceDialectTest, AGuardrailIsAStep) {
  const v1::Step step =
      StepOf(MakeSpan("no secrets", {{"openinference.span.kind", "GUARDRAIL"},
                                     {"input.value", "text"}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_GUARDRAIL);
  EXPECT_EQ(step.name(), "no secrets");
}

TEST(OpenInferenceDialectTest, WithGenAiBesideItTheKindIsOpenInferences) {
  const v1::Step step =
      StepOf(MakeSpan("span", {{"openinference.span.kind", "TOOL"},
                               {"gen_ai.operation.name", "chat"},
                               {"gen_ai.tool.name", "search"},
                               {"gen_ai.tool.call.result", "3 hits"}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_TOOL);
  EXPECT_EQ(step.name(), "search");
  EXPECT_EQ(step.output(), "3 hits");
}

}  // namespace
}  // namespace faultline::otlp
