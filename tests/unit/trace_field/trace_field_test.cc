#include "lib/trace/trace_field.h"

#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/text_format.h"
#include "tests/support/status_matchers.h"

namespace faultline::trace {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

v1::Trace ParseTrace(const std::string& text) {
  v1::Trace trace;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &trace));
  return trace;
}

v1::Trace FullTrace() {
  return ParseTrace(R"pb(
    trace_id: "t1"
    session_id: "s1"
    task {
      id: "task 7"
      type: "qa"
      dataset: "d"
      input: "Is it so?"
      labels { key: "region" value: "eu" }
      labels { key: "a.b" value: "dotted" }
      labels { key: "blank" value: "" }
    }
    system {
      agent: "a"
      agent_version: "2"
      model: "m"
      prompt_strategy: "p"
      prompt_version: "3"
      toolset: "x"
      config { key: "T" value: "0.2" }
    }
    decisions { kind: KIND_TOOL chosen: "search" }
    decisions { kind: KIND_ROUTE chosen: "m" step: 0 }
    decisions { kind: KIND_ROUTE chosen: "other" step: 1 }
    decisions { kind: KIND_MEMORY_READ chosen: "recent" step: 1 }
    decisions { kind: KIND_PROMPT_STRATEGY chosen: "terse" }
    steps { kind: KIND_LLM }
    steps { kind: KIND_TOOL }
    memory {
      snapshot_id: "snap"
      schema_version: "v2"
      size: 10
      reads { record_id: "r1" }
      reads { record_id: "r2" }
      skipped { record_id: "r3" }
      stats { key: "stale_share" value: 0.25 }
    }
    evaluation {
      outcome: OUTCOME_FAIL
      score: 0.1
      signals { key: "confidence" value: 0.9 }
    }
    annotations { annotator: "x" failure_mode: "y" }
  )pb");
}

std::string ToString(const FieldValue& value) {
  if (std::holds_alternative<std::monostate>(value)) return "(absent)";
  if (const auto* text = std::get_if<absl::string_view>(&value)) {
    return std::string(*text);
  }
  return "#" + std::to_string(std::get<double>(value)).substr(0, 4);
}

std::string Look(const std::string& path, const v1::Trace& trace) {
  const absl::StatusOr<TraceField> field = TraceField::Parse(path);
  EXPECT_OK(field);
  return field.ok() ? ToString(field->Get(trace)) : "(no field)";
}

struct PathCase {
  std::string path;
  std::string expected;
};

class EveryPathTest : public ::testing::TestWithParam<PathCase> {};

TEST_P(EveryPathTest, ReadsItsFieldAndIsAbsentFromAnEmptyTrace) {
  EXPECT_EQ(Look(GetParam().path, FullTrace()), GetParam().expected);
  EXPECT_EQ(Look(GetParam().path, v1::Trace()),
            GetParam().path == "steps" ? "#0.00" : "(absent)");
}

INSTANTIATE_TEST_SUITE_P(Paths, EveryPathTest,
                         ::testing::ValuesIn(std::vector<PathCase>{
                             {"session_id", "s1"},
                             {"task.id", "task 7"},
                             {"task.type", "qa"},
                             {"task.dataset", "d"},
                             {"task.input", "Is it so?"},
                             {"task.labels.region", "eu"},
                             {"task.labels.a.b", "dotted"},
                             {"task.labels.blank", "(absent)"},
                             {"task.labels.none", "(absent)"},
                             {"system.agent", "a"},
                             {"system.agent_version", "2"},
                             {"system.model", "m"},
                             {"system.prompt_strategy", "p"},
                             {"system.prompt_version", "3"},
                             {"system.toolset", "x"},
                             {"system.config.T", "0.2"},
                             {"decisions.route.chosen", "m"},
                             {"decisions.tool.chosen", "search"},
                             {"decisions.memory_read.chosen", "recent"},
                             {"decisions.prompt_strategy.chosen", "terse"},
                             {"memory.snapshot_id", "snap"},
                             {"memory.schema_version", "v2"},
                             {"memory.size", "#10.0"},
                             {"memory.reads", "#2.00"},
                             {"memory.skipped", "#1.00"},
                             {"memory.stats.stale_share", "#0.25"},
                             {"signals.confidence", "#0.90"},
                             {"steps", "#2.00"},
                         }));

TEST(TraceFieldTest, AnswersAndUnknownPathsAreRefused) {
  for (const std::string path :
       {"evaluation.outcome", "evaluation.score", "annotations", "trace_id",
        "task.labels.", "task.labels", "signals.", "system.model.x", "",
        "steps[0].name"}) {
    EXPECT_THAT(TraceField::Parse(path),
                testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                  AllOf(HasSubstr("`" + path + "`"),
                                        HasSubstr("system.model"),
                                        HasSubstr("task.labels.KEY"))));
  }
}

TEST(TraceFieldTest, KeepsItsPath) {
  ASSERT_OK_AND_ASSIGN(const TraceField field,
                       TraceField::Parse("task.labels.region"));
  EXPECT_EQ(field.path(), "task.labels.region");
}

std::vector<std::pair<std::string, std::string>> Context(
    const v1::Trace& trace) {
  std::vector<std::pair<std::string, std::string>> fields;
  VisitContext(trace, [&](absl::string_view path, const FieldValue& value) {
    fields.emplace_back(path, ToString(value));
  });
  return fields;
}

TEST(VisitContextTest, VisitsWhatIsKnownBeforeTheRunInAFixedOrder) {
  EXPECT_THAT(
      Context(FullTrace()),
      ElementsAre(
          Pair("task.type", "qa"), Pair("task.dataset", "d"),
          Pair("task.labels.a.b", "dotted"), Pair("task.labels.region", "eu"),
          Pair("system.agent", "a"), Pair("system.agent_version", "2"),
          Pair("system.model", "m"), Pair("system.prompt_strategy", "p"),
          Pair("system.prompt_version", "3"), Pair("system.toolset", "x"),
          Pair("system.config.T", "0.2"), Pair("decisions.route.chosen", "m"),
          Pair("decisions.prompt_strategy.chosen", "terse"),
          Pair("memory.snapshot_id", "snap"),
          Pair("memory.schema_version", "v2"), Pair("memory.size", "#10.0"),
          Pair("memory.stats.stale_share", "#0.25")));
}

TEST(VisitContextTest, EveryVisitedPathParsesToTheSameValue) {
  const v1::Trace trace = FullTrace();
  for (const auto& [path, value] : Context(trace)) {
    EXPECT_EQ(Look(path, trace), value) << path;
  }
}

TEST(VisitContextTest, AnEmptyTraceHasNone) {
  EXPECT_THAT(Context(v1::Trace()), IsEmpty());
}

std::vector<std::string> Words(absl::string_view text) {
  std::vector<std::string> words;
  VisitWords(text, [&](absl::string_view word) { words.emplace_back(word); });
  return words;
}

TEST(VisitWordsTest, SplitsAtAnythingButLettersDigitsAndApostrophes) {
  EXPECT_THAT(Words("Don't  split-this: GPT4, ok?"),
              ElementsAre("don't", "split", "this", "gpt4", "ok"));
  EXPECT_THAT(Words("Übung macht_den"), ElementsAre("Übung", "macht", "den"));
  EXPECT_THAT(Words(" .,- "), IsEmpty());
  EXPECT_THAT(Words(""), IsEmpty());
  EXPECT_THAT(Words("last"), ElementsAre("last"));
}

}  // namespace
}  // namespace faultline::trace
