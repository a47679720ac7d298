#include "client/importers/runs_importer.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "client/importers/trace_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "tests/support/status_matchers.h"

namespace faultline::importers {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr absl::Time kStart = kUndatedRunStart;

constexpr char kRun[] = R"({
  "trace_id": "run-1", "dataset": "shop", "timestamp": "2025-06-05T14:01:10.25",
  "task": {"input": "swap the lamp", "type": "retail", "id": "[planted]fault"},
  "system": {"model": "m1", "agent": "clerk", "prompt_strategy": "plain",
             "memory": "last notes"},
  "route": {"chosen": "m1", "candidates": ["m1", "m2"]},
  "steps": [
    {"kind": "user", "name": "message", "actor": "user", "output": "hello",
     "status": "unknown"},
    {"kind": "tool", "name": "get_order", "actor": "agent",
     "args": {"id": 17}, "output": "Error: Order 17 not found",
     "status": "error", "error": "Error: Order 17 not found"}],
  "memory_state": {"recalls": [{"step": 0, "text": "the lamp"}], "n_recalls": 1},
  "evaluation": {"passed": false, "score": 0.5, "evaluator": "reward"},
  "metrics": {"duration_s": 2.5, "agent_cost_usd": 0.125, "trial": 3,
              "termination": "secret-termination"},
  "labels": {"failure_modes": ["secret-mode", "secret-other"],
             "culprit_step": 1, "culprit_agent": "secret-clerk",
             "reason": "secret-reason", "annotator": "human",
             "oracle": {"expected": "secret-oracle"}}
})";

v1::Trace Parse(absl::string_view json) {
  absl::StatusOr<v1::Trace> trace = ParseRun(json, kStart);
  EXPECT_OK(trace);
  return trace.ok() ? *trace : v1::Trace();
}

std::unique_ptr<TraceReader> ReaderOf(const std::string& text) {
  return NewRunsReader(std::make_unique<std::istringstream>(text));
}

TEST(ParseRunTest, FillsTheTypedFieldsOfATrace) {
  const v1::Trace trace = Parse(kRun);
  EXPECT_EQ(trace.trace_id(), "run-1");
  EXPECT_EQ(trace.start_time().seconds(), 1749132070);  // UTC: no zone is given
  EXPECT_EQ(trace.start_time().nanos(), 250000000);
  EXPECT_EQ(trace.task().id(), "[planted]fault");
  EXPECT_EQ(trace.task().dataset(), "shop");
  EXPECT_EQ(trace.task().type(), "retail");
  EXPECT_EQ(trace.system().model(), "m1");
  EXPECT_EQ(trace.system().config().at("memory"), "last notes");
  ASSERT_EQ(trace.steps_size(), 2);
  EXPECT_EQ(trace.steps(0).kind(), v1::Step::KIND_USER);
  EXPECT_EQ(trace.steps(0).status(), v1::Step::STATUS_UNSPECIFIED);
  EXPECT_EQ(trace.steps(1).status(), v1::Step::STATUS_ERROR);
  EXPECT_EQ(trace.steps(1).input(), R"({"id":17})");
  EXPECT_EQ(trace.steps(1).error_message(), "Error: Order 17 not found");
  EXPECT_EQ(trace.steps(1).error_type(), "order_not_found");
  ASSERT_EQ(trace.memory().writes_size(), 1);
  EXPECT_EQ(trace.memory().writes(0).record_id(), "recall-0");
}

TEST(ParseRunTest, MakesTheRouteADecisionWithoutPropensity) {
  const v1::Trace trace = Parse(kRun);
  ASSERT_EQ(trace.decisions_size(), 1);
  const v1::Decision& decision = trace.decisions(0);
  EXPECT_EQ(decision.kind(), v1::Decision::KIND_ROUTE);
  EXPECT_EQ(decision.chosen(), "m1");
  EXPECT_EQ(decision.candidates_size(), 2);
  EXPECT_FALSE(decision.has_propensity());
}

TEST(ParseRunTest, KeepsAnswersOutOfWhatIsEmbedded) {
  v1::Trace trace = Parse(kRun);
  ASSERT_EQ(trace.annotations_size(), 2);
  EXPECT_EQ(trace.annotations(1).failure_mode(), "secret-other");
  EXPECT_EQ(trace.annotations(1).culprit_step(), 1);
  EXPECT_EQ(trace.annotations(1).culprit_component(), "secret-clerk");
  EXPECT_EQ(trace.annotations(1).annotator(), "human");
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_FAIL);
  EXPECT_EQ(trace.evaluation().score(), 0.5);
  EXPECT_EQ(trace.evaluation().cost(), 0.125);
  EXPECT_EQ(trace.evaluation().latency().nanos(), 500000000);
  EXPECT_THAT(trace.evaluation().signals(), IsEmpty());
  trace.clear_annotations();
  EXPECT_THAT(trace.SerializeAsString(), Not(HasSubstr("secret")));
}

TEST(ParseRunTest, KeepsTheCulpritOfARunWithoutFailureMode) {
  const v1::Trace trace =
      Parse(R"({"trace_id": "a", "labels": {"culprit_module": "planning"}})");
  ASSERT_EQ(trace.annotations_size(), 1);
  EXPECT_EQ(trace.annotations(0).culprit_component(), "planning");
  EXPECT_EQ(trace.annotations(0).annotator(), "unknown");
}

TEST(ParseRunTest, TakesNullForAbsent) {
  const v1::Trace trace = Parse(
      R"({"trace_id": "a", "timestamp": null, "task": null, "steps": null,
          "evaluation": {"passed": null, "score": null}})");
  EXPECT_EQ(trace.start_time().seconds(), absl::ToUnixSeconds(kStart));
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_UNSPECIFIED);
  EXPECT_FALSE(trace.evaluation().has_score());
}

TEST(ParseRunTest, ReadsARunThatBrokeAsAnError) {
  const v1::Trace trace =
      Parse(R"({"trace_id": "a", "evaluation": {"error": "timeout"}})");
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_ERROR);
}

struct BadRun {
  std::string json;
  std::string field;
};

TEST(ParseRunTest, NamesTheFieldAtFault) {
  const std::vector<BadRun> cases = {
      {R"({})", "trace_id"},
      {R"({"trace_id": 7})", "trace_id"},
      {R"({"trace_id": "a", "timestamp": "yesterday"})", "timestamp"},
      {R"({"trace_id": "a", "timestamp": "9999999-01-01T00:00:00"})",
       "timestamp"},
      {R"({"trace_id": "a", "task": []})", "task"},
      {R"({"trace_id": "a", "task": {"type": 1}})", "task.type"},
      {R"({"trace_id": "a", "route": {"chosen": "m", "candidates": ["m", 2]}})",
       "route.candidates[1]"},
      {R"({"trace_id": "a", "steps": {}})", "steps"},
      {R"({"trace_id": "a", "steps": [{"kind": "llm"}, 3]})", "steps[1]"},
      {R"({"trace_id": "a", "steps": [{"kind": "llm"}, {"kind": "dance"}]})",
       "steps[1].kind"},
      {R"({"trace_id": "a", "steps": [{"kind": "llm", "status": "fine"}]})",
       "steps[0].status"},
      {R"({"trace_id": "a", "evaluation": {"passed": "yes"}})",
       "evaluation.passed"},
      {R"({"trace_id": "a", "metrics": {"duration_s": 1e300}})",
       "metrics.duration_s"},
      {R"({"trace_id": "a", "labels": {"culprit_step": 1e40}})",
       "labels.culprit_step"},
      {R"({"trace_id": "a", "labels": {"culprit_step": 0.5}})",
       "labels.culprit_step"},
  };
  for (const BadRun& it : cases) {
    const absl::StatusOr<v1::Trace> trace = ParseRun(it.json, kStart);
    ASSERT_THAT(trace, StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr(it.field)))
        << it.json;
    EXPECT_EQ(base::GetErrorDetail(trace.status())->field(), it.field);
  }
}

TEST(ParseRunTest, RefusesWhatIsNoJsonObjectWithoutCrashing) {
  const std::string deep(100000, '[');
  const std::vector<std::string> cases = {
      "",
      "nonsense",
      "[1]",
      "\"text\"",
      "{\"a\":",
      "{\"trace_id\": \"\xff\"}",
      "1e99999",
      "{\"a\": 1e999}",
      "{\"a\": \"\\ud800\"}",
      std::string("{\"a\": \0}", 8),
      deep,
      "{\"a\":" + deep,
      "{\"a\":" + deep + std::string(100000, ']') + "}",
  };
  for (const std::string& json : cases) {
    EXPECT_THAT(ParseRun(json, kStart),
                StatusIs(absl::StatusCode::kInvalidArgument, Not(IsEmpty())))
        << json.substr(0, 40);
  }
}

TEST(ParseRunTest, SurvivesEveryTruncationAndByteFlipOfARun) {
  const std::string run = kRun;
  for (size_t i = 0; i < run.size(); ++i) {
    ParseRun(absl::string_view(run).substr(0, i), kStart).IgnoreError();
    for (const char byte : {'\0', '"', '{', ']', '9', '\xff'}) {
      std::string changed = run;
      changed[i] = byte;
      ParseRun(changed, kStart).IgnoreError();
    }
  }
}

TEST(RunsReaderTest, GoesOnAfterABadLineAndSaysWhichOneItWas) {
  const auto reader = ReaderOf(
      "{\"trace_id\": \"a\"}\r\n\n{\"trace_id\": 1}\nnonsense\n"
      "{\"trace_id\": \"b\"}");
  ASSERT_OK_AND_ASSIGN(auto a, reader->Next());
  EXPECT_EQ(a->trace_id(), "a");
  const auto bad = reader->Next();
  EXPECT_THAT(bad, StatusIs(absl::StatusCode::kInvalidArgument,
                            AllOf(HasSubstr("line 3"), HasSubstr("trace_id"),
                                  HasSubstr("text"))));
  EXPECT_EQ(base::GetErrorDetail(bad.status())->metadata().at("line"), "3");
  EXPECT_THAT(reader->Next(), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("line 4: not valid JSON")));
  ASSERT_OK_AND_ASSIGN(auto b, reader->Next());
  EXPECT_EQ(b->trace_id(), "b");
  ASSERT_OK_AND_ASSIGN(auto end, reader->Next());
  EXPECT_FALSE(end.has_value());
}

TEST(RunsReaderTest, KeepsTheFilesOrderForUndatedRuns) {
  const auto reader = ReaderOf("{\"trace_id\":\"a\"}\n{\"trace_id\":\"b\"}\n");
  ASSERT_OK_AND_ASSIGN(auto a, reader->Next());
  ASSERT_OK_AND_ASSIGN(auto b, reader->Next());
  EXPECT_EQ(a->start_time().seconds(), absl::ToUnixSeconds(kStart));
  EXPECT_EQ(b->start_time().seconds(), a->start_time().seconds() + 1);
}

TEST(RunsReaderTest, SkipsALineThatIsTooLongAndCountsItsBytes) {
  const std::string text = "{\"trace_id\":\"" + std::string(17 << 20, 'x') +
                           "\"}\n{\"trace_id\":\"b\"}\n";
  const auto reader = ReaderOf(text);
  EXPECT_THAT(reader->Next(), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("line 1: the line is too")));
  ASSERT_OK_AND_ASSIGN(auto b, reader->Next());
  EXPECT_EQ(b->trace_id(), "b");
  ASSERT_OK_AND_ASSIGN(auto end, reader->Next());
  EXPECT_FALSE(end.has_value());
  EXPECT_EQ(reader->bytes_read(), text.size());
}

TEST(OpenTraceReaderTest, NamesTheFormatsItKnows) {
  EXPECT_THAT(OpenTraceReader("csv", std::make_unique<std::istringstream>("")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("csv"), HasSubstr("episodes, runs"))));
  EXPECT_THAT(TraceFormats(), ElementsAre("episodes", "runs"));
  EXPECT_THAT(OpenTraceFile("runs", "no/such/file"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such/file")));
}

// The real files: in FAULTLINE_SHARED, or in `shared` beside a directory above
// this one. Empty where they are not.
std::string SharedData() {
  if (const char* root = std::getenv("FAULTLINE_SHARED")) {
    return std::string(root) + "/data/";
  }
  std::filesystem::path above = std::filesystem::current_path();
  while (!std::filesystem::exists(above / "shared/data/README.md")) {
    if (above == above.parent_path()) return "";
    above = above.parent_path();
  }
  return (above / "shared/data/").string();
}

struct Count {
  int traces = 0;
  int failed = 0;
  int annotated = 0;
  std::map<std::string, int> error_types;
};

Count ReadAll(const std::string& path) {
  Count count;
  auto reader = OpenTraceFile("runs", path);
  EXPECT_OK(reader);
  while (reader.ok()) {
    auto trace = (*reader)->Next();
    EXPECT_OK(trace);
    if (!trace.ok()) continue;
    if (!trace->has_value()) break;
    ++count.traces;
    count.failed += (*trace)->evaluation().outcome() == v1::OUTCOME_FAIL;
    count.annotated += (*trace)->annotations_size() > 0;
    for (const v1::Step& step : (*trace)->steps()) {
      if (step.status() == v1::Step::STATUS_ERROR) {
        ++count.error_types[step.error_type()];
      }
    }
  }
  return count;
}

TEST(RealRunsTest, EveryRowOfEveryFileConverts) {
  const std::string data = SharedData();
  if (!std::ifstream(data + "README.md")) {
    GTEST_SKIP() << "no shared/data; set FAULTLINE_SHARED";
  }
  const Count airline = ReadAll(data + "tau2_airline.jsonl");
  EXPECT_EQ(airline.traces, 800);
  EXPECT_EQ(airline.failed, 369);
  const Count retail = ReadAll(data + "tau2_retail.jsonl");
  EXPECT_EQ(retail.traces, 1824);
  EXPECT_EQ(retail.failed, 500);
  EXPECT_EQ(retail.annotated, 500);
  const Count telecom = ReadAll(data + "tau2_telecom.jsonl");
  EXPECT_EQ(telecom.traces, 1824);
  EXPECT_EQ(telecom.failed, 1051);
  EXPECT_EQ(ReadAll(data + "whowhen_alggen.jsonl").traces, 126);
  EXPECT_EQ(ReadAll(data + "agenterrorbench_gaia.jsonl").traces, 49);
  // 623 errors of retail tools name a few dozen kinds of trouble.
  EXPECT_GT(retail.error_types.at("user_not_found"), 100);
  EXPECT_LT(retail.error_types.size(), 40u);
}

}  // namespace
}  // namespace faultline::importers
