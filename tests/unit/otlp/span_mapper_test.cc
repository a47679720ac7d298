#include "lib/ingest/otlp/span_mapper.h"

#include "lib/base/error_detail.h"
#include "lib/ingest/otlp/project_name.h"
#include "tests/unit/otlp/span_builder.h"

namespace faultline::otlp {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using Status = opentelemetry::proto::trace::v1::Status;

constexpr char kTrace[] = "0000000000000000000000000000000a";
constexpr char kOtherTrace[] = "000000000000000000000000000000aa";

Span MakeCarrier(AttributeList attributes) {
  Span span = MakeRoot("judge", attributes);
  AddAttribute("openinference.span.kind", "EVALUATOR",
               span.mutable_attributes());
  Span::Link& link = *span.add_links();
  link.set_trace_id(std::string(15, '\0') + '\xaa');
  link.set_span_id(std::string(7, '\0') + '\xbb');
  return span;
}

TEST(SpanMapperTest, APieceIsKnownByTheSpansIds) {
  const MappedSpan mapped =
      MapValid(MakeSpan("chat", {{"gen_ai.operation.name", "chat"}}));
  EXPECT_EQ(mapped.piece->trace_id(), kTrace);
  EXPECT_EQ(mapped.piece->id(), "000000000000000b");
  EXPECT_EQ(mapped.piece->parent_id(), "000000000000000c");
  EXPECT_EQ(mapped.piece->order(), v1::PIECE_ORDER_TIME);
  EXPECT_FALSE(mapped.piece->ends_run());
  EXPECT_FALSE(mapped.piece->closes_run());
}

TEST(SpanMapperTest, TheEndOfARootEndsTheRun) {
  EXPECT_TRUE(MapValid(MakeRoot("r", {})).piece->ends_run());
  Span open = MakeRoot("r", {});
  open.clear_end_time_unix_nano();
  const MappedSpan mapped = MapValid(open);
  EXPECT_FALSE(mapped.piece->ends_run());
  EXPECT_FALSE(mapped.piece->part().has_end_time());
}

TEST(SpanMapperTest, ASpanWithARemoteParentIsARootToo) {
  Span span = MakeSpan("r", {});
  span.set_flags(0x301);
  const MappedSpan mapped = MapValid(span);
  EXPECT_TRUE(mapped.piece->ends_run());
  EXPECT_EQ(mapped.piece->parent_id(), "000000000000000c");
  span.set_flags(0x101);  // a parent that is known to be local
  EXPECT_FALSE(MapValid(span).piece->ends_run());
}

TEST(SpanMapperTest, AParentOfZerosIsNone) {
  Span span = MakeSpan("r", {});
  span.set_parent_span_id(std::string(8, '\0'));
  const MappedSpan mapped = MapValid(span);
  EXPECT_TRUE(mapped.piece->ends_run());
  EXPECT_EQ(mapped.piece->parent_id(), "");
}

TEST(SpanMapperTest, ASpanOfNoAgentHasTimesOnly) {
  EXPECT_THAT(PartOf(MakeSpan("GET /", {{"http.request.method", "GET"},
                                        {"error.type", "500"},
                                        {"session.id", "a visitor"}}),
                     {{"service.name", "shop"}}),
              EqualsText(R"pb(
                start_time { seconds: 1700000000 }
                end_time { seconds: 1700000002 nanos: 500000000 }
              )pb"));
}

TEST(SpanMapperTest, AFailedRootIsARunThatBroke) {
  Span root = MakeRoot("GET /", {});
  root.mutable_status()->set_code(Status::STATUS_CODE_ERROR);
  EXPECT_EQ(PartOf(root).evaluation().outcome(), v1::OUTCOME_ERROR);
  Span inner = MakeSpan("tool", {{"openinference.span.kind", "TOOL"}});
  inner.mutable_status()->set_code(Status::STATUS_CODE_ERROR);
  EXPECT_FALSE(PartOf(inner).has_evaluation());
  AddAttribute("faultline.evaluation.outcome", "pass",
               root.mutable_attributes());
  EXPECT_EQ(PartOf(root).evaluation().outcome(), v1::OUTCOME_PASS);
}

TEST(SpanMapperTest, AnErrorHasTypeAndMessage) {
  Span span = MakeSpan(
      "t", {{"openinference.span.kind", "TOOL"}, {"error.type", "timeout"}});
  span.mutable_status()->set_code(Status::STATUS_CODE_ERROR);
  span.mutable_status()->set_message("took too long");
  const v1::Step step = StepOf(span);
  EXPECT_EQ(step.status(), v1::Step::STATUS_ERROR);
  EXPECT_EQ(step.error_type(), "timeout");
  EXPECT_EQ(step.error_message(), "took too long");
}

TEST(SpanMapperTest, TheLastExceptionTellsWhatTheStatusDoesNot) {
  Span span = MakeSpan("t", {{"openinference.span.kind", "TOOL"}});
  span.mutable_status()->set_code(Status::STATUS_CODE_ERROR);
  AddEvent("exception",
           {{"exception.type", "First"}, {"exception.message", "handled"}},
           &span);
  AddEvent("exception",
           {{"exception.type", "KeyError"}, {"exception.message", "'id'"}},
           &span);
  const v1::Step step = StepOf(span);
  EXPECT_EQ(step.error_type(), "KeyError");
  EXPECT_EQ(step.error_message(), "'id'");
}

TEST(SpanMapperTest, AnExceptionThatWasSurvivedIsNoError) {
  Span span = MakeSpan("t", {{"openinference.span.kind", "TOOL"}});
  AddEvent("exception", {{"exception.type", "KeyError"}}, &span);
  EXPECT_EQ(StepOf(span).status(), v1::Step::STATUS_UNSPECIFIED);
  EXPECT_EQ(StepOf(span).error_type(), "");
  span.mutable_status()->set_code(Status::STATUS_CODE_OK);
  EXPECT_EQ(StepOf(span).status(), v1::Step::STATUS_OK);
}

TEST(SpanMapperTest, AnErrorTypeAloneIsAnError) {
  const v1::Step step = StepOf(MakeSpan(
      "t", {{"openinference.span.kind", "TOOL"}, {"error.type", "timeout"}}));
  EXPECT_EQ(step.status(), v1::Step::STATUS_ERROR);
}

TEST(SpanMapperTest, AClockThatWentBackDoesNotLoseTheSpan) {
  Span span = MakeSpan("t", {{"openinference.span.kind", "TOOL"}});
  span.set_end_time_unix_nano(kStartNanos - 1);
  const v1::Trace part = PartOf(span);
  EXPECT_EQ(part.end_time().seconds(), part.start_time().seconds());
  EXPECT_EQ(part.steps(0).duration().nanos(), 0);
}

TEST(SpanMapperTest, LongTextsAreCutAndBadOnesRepaired) {
  const v1::Trace part =
      PartOf(MakeSpan("t", {{"openinference.span.kind", "TOOL"},
                            {"tool.name", "caf\xe9"},
                            {"input.value", std::string(70000, 'x')}}));
  EXPECT_EQ(part.steps(0).name(), "caf\ufffd");
  EXPECT_THAT(part.steps(0).input(), SizeIs(65536));
  EXPECT_EQ(part.left_out(), 2);
}

struct BadSpan {
  const char* name;
  void (*spoil)(Span*);
  const char* field;
};

class BadSpanTest : public ::testing::TestWithParam<BadSpan> {};

TEST_P(BadSpanTest, IsRefused) {
  Span span = MakeSpan("t", {});
  GetParam().spoil(&span);
  const auto mapped = Map(span);
  EXPECT_EQ(mapped.status().code(), absl::StatusCode::kInvalidArgument);
  const auto detail = base::GetErrorDetail(mapped.status());
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field(), GetParam().field);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadSpanTest,
    ::testing::Values(
        BadSpan{"NoTraceId", [](Span* s) { s->clear_trace_id(); }, "trace_id"},
        BadSpan{"ZeroTraceId",
                [](Span* s) { s->set_trace_id(std::string(16, '\0')); },
                "trace_id"},
        BadSpan{"LongTraceId",
                [](Span* s) { s->set_trace_id(std::string(17, 'x')); },
                "trace_id"},
        BadSpan{"NoSpanId", [](Span* s) { s->clear_span_id(); }, "span_id"},
        BadSpan{"ZeroSpanId",
                [](Span* s) { s->set_span_id(std::string(8, '\0')); },
                "span_id"},
        BadSpan{"ShortParent", [](Span* s) { s->set_parent_span_id("x"); },
                "parent_span_id"},
        BadSpan{"NoStart", [](Span* s) { s->clear_start_time_unix_nano(); },
                "start_time_unix_nano"}),
    [](const auto& test) { return test.param.name; });

TEST(SpanMapperTest, StringIndexesAreCountedWhereverTheyAre) {
  Span span = MakeSpan("chat", {{"gen_ai.operation.name", "chat"}});
  span.add_attributes()->set_key_strindex(1);
  AddEvent("gen_ai.choice", {}, &span);
  span.mutable_events(0)->add_attributes()->set_key_strindex(2);
  EXPECT_EQ(MapValid(span).string_indexes, 2);
}

TEST(SpanMapperTest, AnEvaluationEventJudgesItsRun) {
  Span span =
      MakeRoot("invoke_agent", {{"gen_ai.operation.name", "invoke_agent"}});
  AddEvent("gen_ai.evaluation.result",
           {{"gen_ai.evaluation.name", "correctness"},
            {"gen_ai.evaluation.score.value", 0.25},
            {"gen_ai.evaluation.score.label", "fail"},
            {"gen_ai.evaluation.explanation", "off by one"}},
           &span);
  const MappedSpan mapped = MapValid(span);
  ASSERT_TRUE(mapped.piece.has_value());
  ASSERT_THAT(mapped.outcomes, SizeIs(1));
  EXPECT_THAT(mapped.outcomes[0], EqualsText(R"pb(
                trace_id: "0000000000000000000000000000000a"
                evaluation {
                  outcome: OUTCOME_FAIL
                  score: 0.25
                  evaluator: "correctness"
                }
                observe_time { seconds: 1700000001 }
              )pb"));
  ASSERT_THAT(mapped.annotations, SizeIs(1));
  EXPECT_THAT(
      mapped.annotations[0], EqualsText(R"pb(
        trace_id: "0000000000000000000000000000000a"
        annotation { note: "score 0.25: off by one" annotator: "correctness" }
      )pb"));
}

TEST(SpanMapperTest, ACarrierJudgesTheLinkedRunAndIsNoPartOfOne) {
  const MappedSpan mapped = MapValid(
      MakeCarrier({{"trace.annotations.0.annotation.name", "correctness"},
                   {"trace.annotations.0.annotation.label", "correct"},
                   {"trace.annotations.0.annotation.score", 1},
                   {"trace.annotations.0.annotation.identifier", "v2"},
                   {"trace.annotations.0.annotation.annotator_kind", "HUMAN"},
                   {"annotations.0.annotation.name", "tone"},
                   {"annotations.0.annotation.label", "rude"},
                   {"annotations.0.annotation.annotator_kind", "LLM"},
                   {"annotations.0.annotation.explanation", "shouts"},
                   {"evaluations.0.evaluation.name", "tone"},
                   {"evaluations.0.evaluation.label", "rude"}}));
  EXPECT_FALSE(mapped.piece.has_value());
  ASSERT_THAT(mapped.outcomes, SizeIs(1));
  EXPECT_THAT(mapped.outcomes[0], EqualsText(R"pb(
                trace_id: "000000000000000000000000000000aa"
                evaluation {
                  outcome: OUTCOME_PASS
                  score: 1
                  evaluator: "correctness/v2"
                }
                observe_time { seconds: 1700000002 nanos: 500000000 }
              )pb"));
  ASSERT_THAT(mapped.annotations, SizeIs(1));
  EXPECT_THAT(mapped.annotations[0], EqualsText(R"pb(
                trace_id: "000000000000000000000000000000aa"
                annotation {
                  failure_mode: "rude"
                  note: "LLM: shouts"
                  annotator: "tone"
                }
              )pb"));
}

TEST(SpanMapperTest, ACarrierMayHaveOurOwnAttributes) {
  const MappedSpan mapped =
      MapValid(MakeCarrier({{"faultline.evaluation.outcome", "fail"},
                            {"faultline.evaluation.score", 0.5},
                            {"faultline.annotations.0.annotator", "ann"},
                            {"faultline.annotations.0.failure_mode", "loop"}}));
  EXPECT_FALSE(mapped.piece.has_value());
  ASSERT_THAT(mapped.outcomes, SizeIs(1));
  EXPECT_EQ(mapped.outcomes[0].trace_id(), kOtherTrace);
  EXPECT_EQ(mapped.outcomes[0].evaluation().outcome(), v1::OUTCOME_FAIL);
  EXPECT_EQ(mapped.outcomes[0].evaluation().evaluator(), "judge");
  ASSERT_THAT(mapped.annotations, SizeIs(1));
  EXPECT_EQ(mapped.annotations[0].trace_id(), kOtherTrace);
  EXPECT_EQ(mapped.annotations[0].annotation().failure_mode(), "loop");
}

TEST(SpanMapperTest, WithoutExactlyOneLinkAnEvaluatorIsPartOfItsRun) {
  const AttributeList judgement = {{"annotations.0.annotation.name", "outcome"},
                                   {"annotations.0.annotation.score", 0}};
  Span two = MakeCarrier(judgement);
  *two.add_links() = two.links(0);
  Span none = MakeCarrier(judgement);
  none.clear_links();
  for (const Span& span : {two, none}) {
    const MappedSpan mapped = MapValid(span);
    ASSERT_TRUE(mapped.piece.has_value());
    EXPECT_EQ(mapped.piece->part().steps_size(), 0);
    ASSERT_THAT(mapped.outcomes, SizeIs(1));
    EXPECT_EQ(mapped.outcomes[0].trace_id(), kTrace);
  }
}

TEST(SpanMapperTest, ACarrierWithAMalformedLinkIsRefused) {
  Span span = MakeCarrier({{"annotations.0.annotation.name", "outcome"},
                           {"annotations.0.annotation.score", 0}});
  span.mutable_links(0)->set_trace_id("short");
  const auto mapped = Map(span);
  const auto detail = base::GetErrorDetail(mapped.status());
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field(), "links[0].trace_id");
}

TEST(SpanMapperTest, AJudgementOfAComponentIsNotTheRuns) {
  const MappedSpan mapped = MapValid(
      MakeSpan("retrieve", {{"openinference.span.kind", "RETRIEVER"},
                            {"annotations.0.annotation.name", "relevance"},
                            {"annotations.0.annotation.label", "fail"}}));
  EXPECT_THAT(mapped.outcomes, IsEmpty());
  ASSERT_THAT(mapped.annotations, SizeIs(1));
  EXPECT_EQ(mapped.annotations[0].annotation().culprit_component(), "retrieve");
}

TEST(SpanMapperTest, JudgementsOfASessionAreOfNoRun) {
  const MappedSpan mapped = MapValid(
      MakeRoot("r", {{"session.annotations.0.annotation.name", "outcome"},
                     {"session.annotations.0.annotation.score", 0},
                     {"annotations.0.annotation.name", "says nothing"},
                     {"annotations.1.annotation.score", 0}}));
  EXPECT_THAT(mapped.outcomes, IsEmpty());
  EXPECT_THAT(mapped.annotations, IsEmpty());
  EXPECT_EQ(mapped.ignored, 3);
}

TEST(ProjectNameTest, IsMadeOfAnyText) {
  EXPECT_EQ(ToProjectName("shop"), "shop");
  EXPECT_EQ(ToProjectName("My Shop.v2"), "my-shop-v2");
  EXPECT_EQ(ToProjectName("--_a_b-c"), "a_b-c");
  EXPECT_EQ(ToProjectName(std::string(100, 'A')), std::string(63, 'a'));
  EXPECT_EQ(ToProjectName("\u00e9t\u00e9"), "t--");
  EXPECT_EQ(ToProjectName("-- --"), "");
}

TEST(ProjectNameTest, TheHeaderWinsThenOpenInferenceThenTheService) {
  KeyValues attributes;
  AddAttribute("service.name", "Shop", &attributes);
  EXPECT_EQ(ProjectOf("", AttributeTable(attributes).view()), "shop");
  AddAttribute("openinference.project.name", "p", &attributes);
  EXPECT_EQ(ProjectOf("", AttributeTable(attributes).view()), "p");
  EXPECT_EQ(ProjectOf("H", AttributeTable(attributes).view()), "h");
  EXPECT_EQ(ProjectOf("??", AttributeTable(attributes).view()), "p");
  EXPECT_EQ(ProjectOf("", AttributeView()), kDefaultProject);
}

}  // namespace
}  // namespace faultline::otlp
