#include "client/cli/text.h"

#include "client/cli/table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(TextTest, EnumsAreWordsBothWays) {
  EXPECT_EQ(EnumWord(v1::Intervention::STATUS_ROLLED_BACK), "rolled_back");
  EXPECT_EQ(EnumWord(v1::Intervention::STATUS_UNSPECIFIED), "-");
  EXPECT_EQ(EnumWord(static_cast<v1::Intervention::Status>(99)), "99");
  EXPECT_EQ(EnumWord(v1::FAILURE_MODE_TOOL_MISUSE), "tool_misuse");
  EXPECT_THAT(EnumWords<v1::Outcome>(), ElementsAre("pass", "fail", "error"));
  for (const std::string& word : EnumWords<v1::Intervention::Status>()) {
    EXPECT_EQ(EnumWord(ParseEnumWord<v1::Intervention::Status>(word)), word);
  }
  EXPECT_EQ(ParseEnumWord<v1::Outcome>("maybe"), v1::OUTCOME_UNSPECIFIED);
}

TEST(TextTest, NumbersAreShortAndCarryTheirUnit) {
  EXPECT_EQ(Percent(0.4321), "43.2 %");
  EXPECT_EQ(Bytes(512), "512 B");
  EXPECT_EQ(Bytes(1536), "1.5 KiB");
  EXPECT_EQ(Bytes(131072000), "125 MiB");
  EXPECT_EQ(PValue(0), "<1e-9");
  EXPECT_EQ(PValue(0.0123), "0.012");
  EXPECT_EQ(Span(absl::Milliseconds(85)), "85 ms");
  EXPECT_EQ(Span(absl::Seconds(119)), "119 s");
  EXPECT_EQ(Span(absl::Minutes(119)), "119 min");
  EXPECT_EQ(Span(absl::Hours(49)), "2 d");
}

TEST(TextTest, AbsentTimesAreADashAndTheFutureIsNow) {
  google::protobuf::Timestamp time;
  EXPECT_EQ(Time(time), "-");
  EXPECT_EQ(Age(time, absl::UnixEpoch()), "-");
  time.set_seconds(1767323045);
  EXPECT_EQ(Time(time), "2026-01-02 03:04:05Z");
  EXPECT_EQ(Age(time, absl::FromUnixSeconds(1767323045 + 12)), "12 s ago");
  EXPECT_EQ(Age(time, absl::FromUnixSeconds(1767323045 - 12)), "0 ms ago");
}

TEST(TextTest, TextOfUnknownOriginStaysOnOneLineAndIsCutBetweenCharacters) {
  EXPECT_EQ(OneLine("  a\n\tb\x1b[31mc "), "a b [31mc");
  EXPECT_EQ(OneLine("aää", 4), "aä...");
  EXPECT_EQ(OneLine("aää", 5), "aää");
}

TEST(TextTest, EveryActionHasWords) {
  v1::Action action;
  EXPECT_THAT(ActionText(action), HasSubstr("does not know"));
  auto* candidate = action.mutable_routing_policy()->add_candidates();
  candidate->set_name("parser");
  candidate->set_weight(1);
  EXPECT_EQ(ActionText(action), "route to parser 100.0 %");
  action.mutable_memory_schema()->mutable_max_age()->set_seconds(7200);
  EXPECT_EQ(ActionText(action), "return no records older than 2 h");
  action.mutable_tool_constraint()->set_tool("search");
  action.mutable_tool_constraint()->mutable_call_limit()->set_max_calls(3);
  EXPECT_EQ(ActionText(action), "search: at most 3 calls");
  auto* arm = action.mutable_bandit_weights()->add_arms();
  arm->set_name("a");
  arm->set_probability(0.25);
  EXPECT_EQ(ActionText(action), "draw a 25.0 %");
  auto* guardrail = action.mutable_guardrail();
  guardrail->set_check(v1::Guardrail::CHECK_SIGNAL_AT_LEAST);
  guardrail->set_signal("confidence");
  guardrail->set_threshold(0.5);
  guardrail->set_fallback(v1::Guardrail::FALLBACK_ROUTE);
  guardrail->set_fallback_route("parser");
  EXPECT_EQ(ActionText(action), "on confidence below 0.5: ask parser");
  action.mutable_prompt_strategy()->set_strategy("stepwise");
  EXPECT_EQ(ActionText(action), "prompt with stepwise");

  const google::protobuf::OneofDescriptor* arms =
      v1::Action::descriptor()->FindOneofByName("kind");
  for (int i = 0; i < arms->field_count(); ++i) {
    v1::Action any;
    any.GetReflection()->MutableMessage(&any, arms->field(i));
    EXPECT_THAT(ActionText(any), Not(HasSubstr("an action that")))
        << arms->field(i)->name();
  }
}

TEST(TextTest, MemorySchemasSayEachBound) {
  v1::Action action;
  v1::MemorySchema& schema = *action.mutable_memory_schema();
  schema.set_record_class("price");
  schema.mutable_max_age()->set_seconds(7200);
  schema.set_required_field("source");
  schema.set_refuse_conflicting_writes(true);
  EXPECT_EQ(ActionText(action),
            "return no price records older than 2 h; return no price records "
            "without source; refuse conflicting writes");
}

TEST(TextTest, ARatioIsGoodOrBadOnlyWhereItsIntervalLeavesOutOne) {
  v1::RelativeRisk risk;
  EXPECT_EQ(RelativeRiskText(risk), "-");
  risk.set_defined(true);
  risk.set_ratio(0.5);
  risk.set_lower(0.3);
  risk.set_upper(0.9);
  EXPECT_EQ(RelativeRiskText(risk), "0.5 (0.3 to 0.9)");
  EXPECT_EQ(RelativeRiskTone(risk), Tone::kGood);
  risk.set_upper(1.1);
  EXPECT_EQ(RelativeRiskTone(risk), Tone::kPlain);
}

TEST(TableTest, ColoursAndCutsOnlyForATerminal) {
  Table table({{"NAME"}, {"TEXT", Column::Fit::kCut}});
  table.AddRow({{"a", Tone::kBad}, std::string(200, 'x')});
  const std::string plain = table.Render({});
  EXPECT_THAT(plain, HasSubstr(std::string(200, 'x')));
  EXPECT_THAT(plain, Not(HasSubstr("\033")));
  const std::string shown =
      table.Render({.interactive = true, .color = true, .width = 40});
  EXPECT_THAT(shown, Not(HasSubstr(std::string(41, 'x'))));
  EXPECT_THAT(shown, HasSubstr("\033[31m"));
}

TEST(TableTest, CellsCannotDriveTheTerminal) {
  Table table({{"NAME"}});
  table.AddRow({"a\033[2Jb"});
  EXPECT_THAT(table.Render({.interactive = true, .color = false, .width = 80}),
              Not(HasSubstr("\033")));
}

}  // namespace
}  // namespace faultline::cli
