#include "lib/ingest/otlp/genai_dialect.h"

#include "tests/unit/otlp/span_builder.h"

namespace faultline::otlp {
namespace {

TEST(GenAiDialectTest, AChatIsAModelStep) {
  const v1::Trace part = PartOf(MakeSpan(
      "chat gpt-4.1",
      {{"gen_ai.operation.name", "chat"},
       {"gen_ai.provider.name", "openai"},
       {"gen_ai.conversation.id", "c-1"},
       {"gen_ai.request.model", "gpt-4.1"},
       {"gen_ai.response.model", "gpt-4.1-2025-04-14"},
       {"gen_ai.request.temperature", 0.5},
       {"gen_ai.request.max_tokens", 256},
       {"gen_ai.request.stream", true},
       {"gen_ai.response.time_to_first_chunk", 0.25},
       {"gen_ai.usage.input_tokens", 120},
       {"gen_ai.usage.output_tokens", 34},
       {"gen_ai.usage.cache_read.input_tokens", 100},
       {"gen_ai.usage.cache_creation.input_tokens", 7},
       {"gen_ai.usage.reasoning.output_tokens", 20},
       {"gen_ai.prompt.name", "answer"},
       {"gen_ai.agent.name", "planner"},
       {"gen_ai.agent.version", "3"},
       {"gen_ai.input.messages",
        R"([{"role":"system","parts":[{"type":"text","content":"Be brief."}]},)"
        R"({"role":"user","parts":[{"type":"text","content":"How many?"}]}])"},
       {"gen_ai.output.messages",
        R"([{"role":"assistant","parts":[{"type":"text","content":"4"}]}])"}}));
  EXPECT_THAT(
      part, EqualsText(R"pb(
        session_id: "c-1"
        start_time { seconds: 1700000000 }
        end_time { seconds: 1700000002 nanos: 500000000 }
        task { input: "How many?" }
        system {
          agent: "planner"
          agent_version: "3"
          model: "gpt-4.1"
          config { key: "provider" value: "openai" }
          config { key: "temperature" value: "0.5" }
          config { key: "max_tokens" value: "256" }
          config { key: "stream" value: "true" }
        }
        steps {
          kind: KIND_LLM
          name: "answer"
          actor: "planner"
          start_offset {}
          duration { seconds: 2 nanos: 500000000 }
          input: "[{\"role\":\"system\",\"parts\":[{\"type\":\"text\",\"content\":\"Be brief.\"}]},{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"How many?\"}]}]"
          output: "[{\"role\":\"assistant\",\"parts\":[{\"type\":\"text\",\"content\":\"4\"}]}]"
          input_tokens: 120
          output_tokens: 34
          attributes { key: "model" value: "gpt-4.1" }
          attributes { key: "response_model" value: "gpt-4.1-2025-04-14" }
          attributes { key: "time_to_first_chunk" value: "0.25" }
          attributes { key: "cache_read_tokens" value: "100" }
          attributes { key: "cache_write_tokens" value: "7" }
          attributes { key: "reasoning_tokens" value: "20" }
        }
      )pb"));
}

TEST(GenAiDialectTest, FinishReasonsAreAListOfWhichTheFirstCounts) {
  Span span = MakeSpan("chat", {{"gen_ai.operation.name", "chat"}});
  KeyValue& reasons = *span.add_attributes();
  reasons.set_key("gen_ai.response.finish_reasons");
  auto& list = *reasons.mutable_value()->mutable_array_value();
  list.add_values()->set_string_value("length");
  list.add_values()->set_string_value("stop");
  EXPECT_EQ(StepOf(span).attributes().at("finish_reason"), "length");
}

TEST(GenAiDialectTest, NamesBefore137AreUnderstood) {
  const v1::Trace part = PartOf(MakeSpan(
      "chat", {{"gen_ai.system", "anthropic"},
               {"gen_ai.request.model", "claude"},
               {"gen_ai.usage.prompt_tokens", 5},
               {"gen_ai.usage.completion_tokens", 6},
               {"gen_ai.prompt", R"([{"role":"user","content":"Hi"}])"},
               {"gen_ai.completion", "Hello."}}));
  EXPECT_EQ(part.system().config().at("provider"), "anthropic");
  EXPECT_EQ(part.task().input(), "Hi");
  const v1::Step& step = part.steps(0);
  EXPECT_EQ(step.kind(), v1::Step::KIND_LLM);
  EXPECT_EQ(step.name(), "chat");
  EXPECT_EQ(step.input_tokens(), 5);
  EXPECT_EQ(step.output_tokens(), 6);
  EXPECT_EQ(step.input(), R"([{"role":"user","content":"Hi"}])");
  EXPECT_EQ(step.output(), "Hello.");
}

TEST(GenAiDialectTest, FlattenedMessagesAreUnderstood) {
  const v1::Trace part = PartOf(
      MakeSpan("chat", {{"gen_ai.system", "openai"},
                        {"gen_ai.prompt.0.role", "system"},
                        {"gen_ai.prompt.0.content", "Be brief."},
                        {"gen_ai.prompt.1.role", "user"},
                        {"gen_ai.prompt.1.content", "Hi"},
                        {"gen_ai.completion.0.role", "assistant"},
                        {"gen_ai.completion.0.tool_calls.0.name", "add"},
                        {"gen_ai.completion.0.tool_calls.0.arguments", "{}"}}));
  EXPECT_EQ(part.task().input(), "Hi");
  EXPECT_EQ(part.steps(0).input(), "system: Be brief.\nuser: Hi");
  EXPECT_EQ(part.steps(0).output(), "tool_call: add {}");
}

TEST(GenAiDialectTest, LegacyEventsHoldTheConversation) {
  Span span = MakeSpan("chat", {{"gen_ai.operation.name", "chat"}});
  AddEvent("gen_ai.system.message", {{"content", "Be brief."}}, &span);
  AddEvent("gen_ai.user.message", {{"content", "Hi"}}, &span);
  AddEvent("gen_ai.assistant.message", {{"content", "Yes?"}}, &span);
  AddEvent("gen_ai.tool.message", {{"content", "42"}}, &span);
  AddEvent("gen_ai.choice",
           {{"finish_reason", "stop"},
            {"message", R"({"role":"assistant","content":"Done."})"}},
           &span);
  const v1::Trace part = PartOf(span);
  EXPECT_EQ(part.task().input(), "Hi");
  EXPECT_EQ(part.steps(0).input(),
            "system: Be brief.\nuser: Hi\nassistant: Yes?\ntool: 42");
  EXPECT_EQ(part.steps(0).output(), "Done.");
  EXPECT_EQ(part.steps(0).attributes().at("finish_reason"), "stop");
}

TEST(GenAiDialectTest, DetailsMayComeAsAnEvent) {
  Span span = MakeSpan("chat", {{"gen_ai.operation.name", "chat"}});
  AddEvent("gen_ai.client.inference.operation.details",
           {{"gen_ai.input.messages", R"([{"role":"user","content":"Hi"}])"},
            {"gen_ai.output.messages", "[]"}},
           &span);
  AddEvent("gen_ai.content.prompt", {{"gen_ai.prompt", "later"}}, &span);
  const v1::Trace part = PartOf(span);
  EXPECT_EQ(part.task().input(), "Hi");
  EXPECT_EQ(part.steps(0).input(), R"([{"role":"user","content":"Hi"}])");
  EXPECT_EQ(part.steps(0).output(), "[]");
}

TEST(GenAiDialectTest, MessagesMayBeStructure) {
  Span span = MakeSpan("chat", {{"gen_ai.operation.name", "chat"}});
  KeyValue& messages = *span.add_attributes();
  messages.set_key("gen_ai.input.messages");
  auto& message = *messages.mutable_value()
                       ->mutable_array_value()
                       ->add_values()
                       ->mutable_kvlist_value();
  AddAttribute("role", "user", message.mutable_values());
  AddAttribute("content", "Hi", message.mutable_values());
  const v1::Trace part = PartOf(span);
  EXPECT_EQ(part.task().input(), "Hi");
  EXPECT_EQ(part.steps(0).input(), R"([{"content":"Hi","role":"user"}])");
}

TEST(GenAiDialectTest, AToolCallHasArgumentsAndResult) {
  EXPECT_THAT(StepOf(MakeSpan("execute_tool search",
                              {{"gen_ai.operation.name", "execute_tool"},
                               {"gen_ai.tool.name", "search"},
                               {"gen_ai.tool.type", "function"},
                               {"gen_ai.tool.call.id", "call-1"},
                               {"gen_ai.tool.call.arguments", R"({"q":"x"})"},
                               {"gen_ai.tool.call.result", "3 hits"}})),
              EqualsText(R"pb(
                kind: KIND_TOOL
                name: "search"
                start_offset {}
                duration { seconds: 2 nanos: 500000000 }
                input: "{\"q\":\"x\"}"
                output: "3 hits"
              )pb"));
}

TEST(GenAiDialectTest, AToolWithoutNameHasTheSpans) {
  EXPECT_EQ(StepOf(MakeSpan("execute_tool search",
                            {{"gen_ai.operation.name", "execute_tool"}}))
                .name(),
            "search");
}

TEST(GenAiDialectTest, OfATypedProtocolOnlyTheCallersSideIsAStep) {
  const AttributeList call = {{"mcp.method.name", "tools/call"},
                              {"gen_ai.operation.name", "execute_tool"},
                              {"gen_ai.tool.name", "search"}};
  Span client = MakeSpan("tools/call search", call);
  client.set_kind(Span::SPAN_KIND_CLIENT);
  EXPECT_EQ(StepOf(client).kind(), v1::Step::KIND_TOOL);
  Span server = MakeSpan("tools/call search", call);
  server.set_kind(Span::SPAN_KIND_SERVER);
  EXPECT_EQ(PartOf(server).steps_size(), 0);
}

TEST(GenAiDialectTest, ARetrievalCountsItsDocuments) {
  EXPECT_THAT(StepOf(MakeSpan(
                  "retrieval docs",
                  {{"gen_ai.operation.name", "retrieval"},
                   {"gen_ai.data_source.id", "docs"},
                   {"gen_ai.retrieval.query.text", "refunds"},
                   {"gen_ai.retrieval.documents",
                    R"([{"id":"d1","score":0.5},{"id":"d2","score":0.75}])"}})),
              EqualsText(R"pb(
                kind: KIND_RETRIEVAL
                name: "docs"
                start_offset {}
                duration { seconds: 2 nanos: 500000000 }
                input: "refunds"
                output: "d1: \nd2: "
                attributes { key: "retrieval.hits" value: "2" }
                attributes { key: "retrieval.top_score" value: "0.75" }
              )pb"));
}

TEST(GenAiDialectTest, ARetrievalThatFoundNothingSaysSo) {
  const v1::Step step =
      StepOf(MakeSpan("retrieval", {{"gen_ai.operation.name", "retrieval"},
                                    {"gen_ai.retrieval.documents", "[]"}}));
  EXPECT_EQ(step.output(), "");
  EXPECT_EQ(step.attributes().at("retrieval.hits"), "0");
}

TEST(GenAiDialectTest, EmbeddingsAreACallOfAModel) {
  const v1::Step step = StepOf(
      MakeSpan("embeddings small", {{"gen_ai.operation.name", "embeddings"},
                                    {"gen_ai.request.model", "small"},
                                    {"gen_ai.usage.input_tokens", 9}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_LLM);
  EXPECT_EQ(step.name(), "embeddings");
  EXPECT_EQ(step.input_tokens(), 9);
}

TEST(GenAiDialectTest, ASearchReadsMemory) {
  const v1::Trace part = PartOf(
      MakeSpan("search_memory",
               {{"gen_ai.operation.name", "search_memory"},
                {"gen_ai.memory.store.id", "facts"},
                {"gen_ai.memory.query.text", "address"},
                {"gen_ai.memory.record.count", 2},
                {"gen_ai.memory.records",
                 R"([{"id":"r1","score":0.5,"content":"x"},{"id":"r2"}])"}}));
  EXPECT_THAT(part.memory(), EqualsText(R"pb(
                reads { record_id: "r1" score: 0.5 record_class: "facts" }
                reads { record_id: "r2" record_class: "facts" }
              )pb"));
  const v1::Step& step = part.steps(0);
  EXPECT_EQ(step.kind(), v1::Step::KIND_MEMORY);
  EXPECT_EQ(step.name(), "search_memory");
  EXPECT_EQ(step.input(), "address");
  EXPECT_EQ(step.attributes().at("memory.records"), "2");
}

TEST(GenAiDialectTest, AnUpdateWritesMemory) {
  const v1::Trace part = PartOf(
      MakeSpan("update_memory", {{"gen_ai.operation.name", "update_memory"},
                                 {"gen_ai.memory.record.id", "r1"}}));
  EXPECT_THAT(part.memory(), EqualsText(R"pb(writes { record_id: "r1" })pb"));
}

TEST(GenAiDialectTest, TheFirstAgentGivesContextAndLaterOnesAreHandedControl) {
  const AttributeList agent = {
      {"gen_ai.operation.name", "invoke_agent"},
      {"gen_ai.agent.name", "support"},
      {"gen_ai.agent.version", "2"},
      {"gen_ai.usage.input_tokens", 900},
      {"gen_ai.input.messages", R"([{"role":"user","content":"Help!"}])"}};
  const v1::Trace root = PartOf(MakeRoot("invoke_agent support", agent),
                                {{"service.name", "shop"},
                                 {"service.version", "1.4"},
                                 {"deployment.environment.name", "prod"}});
  EXPECT_EQ(root.steps_size(), 0);
  EXPECT_EQ(root.task().input(), "Help!");
  EXPECT_THAT(root.system(), EqualsText(R"pb(
                agent: "support"
                agent_version: "2"
                config { key: "service.name" value: "shop" }
                config { key: "service.version" value: "1.4" }
                config { key: "deployment.environment.name" value: "prod" }
              )pb"));
  const v1::Step step = StepOf(MakeSpan("invoke_agent support", agent));
  EXPECT_EQ(step.kind(), v1::Step::KIND_HANDOFF);
  EXPECT_EQ(step.name(), "support");
  // Its calls of models have them.
  EXPECT_EQ(step.input_tokens(), 0);
}

TEST(GenAiDialectTest, AWorkflowIsContext) {
  const v1::Trace part = PartOf(MakeRoot(
      "invoke_workflow triage", {{"gen_ai.operation.name", "invoke_workflow"},
                                 {"gen_ai.workflow.name", "triage"}}));
  EXPECT_EQ(part.steps_size(), 0);
  EXPECT_EQ(part.system().config().at("workflow"), "triage");
}

TEST(GenAiDialectTest, AnOperationOfALaterReleaseIsAModelCallIfItNamesAModel) {
  EXPECT_EQ(
      StepOf(MakeSpan("translate m", {{"gen_ai.operation.name", "translate"},
                                      {"gen_ai.request.model", "m"}}))
          .kind(),
      v1::Step::KIND_LLM);
  EXPECT_EQ(PartOf(MakeSpan("rest", {{"gen_ai.operation.name", "rest"}}))
                .steps_size(),
            0);
}

}  // namespace
}  // namespace faultline::otlp
