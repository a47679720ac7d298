#include "client/importers/episode_importer.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include <memory>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "tests/support/status_matchers.h"

namespace faultline::importers {
namespace {

using ::faultline::testing::StatusIs;
using ::google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;

constexpr char kEpisode[] = R"({
  "episode_id": "episode-1",
  "start_time": "2026-01-02T03:04:05Z",
  "task": {"type": "arithmetic", "input": "What is 2 + 2?"},
  "system_state": {"model": "small", "config": {"tools": "on"}},
  "decision_trace": [{"kind": "route", "chosen": "small", "propensity": 0.5,
                      "candidates": [{"name": "small"}, {"name": "large"}]}],
  "execution_trace": [{"kind": "tool", "name": "calculator", "status": "error",
                       "error_type": "bad_argument", "input": "2,000 + 2",
                       "duration": "0.250s"}],
  "memory_state": {"size": 3, "reads": [{"record_id": "r1", "age": "60s"}]},
  "evaluation": {"outcome": "fail", "signals": {"confidence": 0.75}},
  "failure_annotation": {"failure_mode": "tool_misuse", "culprit_step": 0,
                         "annotator": "reviewer"}
})";

constexpr char kTrace[] = R"pb(
  trace_id: "t-1"
  project: "lab"
  session_id: "s"
  start_time { seconds: 1767323045 nanos: 5000000 }
  end_time { seconds: 1767323046 }
  task {
    id: "task"
    type: "qa"
    dataset: "d"
    input: "why \"so\"?\n\303\251"
    labels { key: "region" value: "eu" }
    embedding: 0.1
    embedding: -2.5
    embedding_model: "e"
  }
  system {
    agent: "a"
    agent_version: "1"
    model: "m"
    prompt_strategy: "p"
    prompt_version: "2"
    toolset: "t"
    config { key: "k" value: "v" }
  }
  decisions {
    kind: KIND_ROUTE
    candidates { name: "m" score: 0 }
    candidates { name: "n" }
    chosen: "m"
    propensity: 0.25
    reason: "r"
    policy_version: 9007199254740993
    step: 0
  }
  decisions { kind: KIND_PROMPT_STRATEGY chosen: "p" }
  steps {
    kind: KIND_LLM
    name: "answer"
    actor: "a"
    start_offset { nanos: 1000000 }
    duration { seconds: 1 }
    status: STATUS_OK
    input: "i"
    output: "o"
    input_tokens: 12
    output_tokens: 3
    cost: 0.001
    attributes { key: "hits" value: "3" }
  }
  steps {
    kind: KIND_TOOL
    status: STATUS_ERROR
    error_type: "e"
    error_message: "m"
  }
  memory {
    snapshot_id: "snap"
    schema_version: "2"
    size: 5
    reads {
      record_id: "r"
      score: 0.5
      age { seconds: 5 }
      used: true
      version: "1"
      record_class: "c"
    }
    writes { record_id: "w" }
    skipped { record_id: "x" reason: "old" }
    stats { key: "stale_share" value: 0.1 }
  }
  evaluation {
    outcome: OUTCOME_FAIL
    score: 0
    evaluator: "judge"
    signals { key: "confidence" value: 0.9 }
    cost: 0.25
    latency { seconds: 2 }
  }
  exposure {
    policy_version: 3
    interventions {
      intervention_id: "i1"
      arm: ARM_HOLDOUT
      assignment_key: "k"
      treatment_probability: 0.5
    }
  }
  annotations { failure_mode: "f" culprit_step: 0 note: "n" annotator: "me" }
  keep_probability: 1
)pb";

v1::Trace WholeTrace() {
  v1::Trace trace;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kTrace, &trace));
  return trace;
}

std::unique_ptr<TraceReader> ReaderOf(const std::string& text) {
  return NewEpisodeReader(std::make_unique<std::istringstream>(text));
}

TEST(ParseEpisodeTest, MapsEverySectionOfAnEpisode) {
  ASSERT_OK_AND_ASSIGN(const v1::Trace trace, ParseEpisode(kEpisode));
  EXPECT_EQ(trace.trace_id(), "episode-1");
  EXPECT_EQ(trace.start_time().seconds(), 1767323045);
  EXPECT_EQ(trace.task().type(), "arithmetic");
  EXPECT_EQ(trace.system().model(), "small");
  EXPECT_EQ(trace.decisions(0).kind(), v1::Decision::KIND_ROUTE);
  EXPECT_EQ(trace.decisions(0).propensity(), 0.5);
  EXPECT_EQ(trace.steps(0).kind(), v1::Step::KIND_TOOL);
  EXPECT_EQ(trace.steps(0).status(), v1::Step::STATUS_ERROR);
  EXPECT_EQ(trace.steps(0).duration().nanos(), 250000000);
  EXPECT_EQ(trace.memory().size(), 3u);
  EXPECT_EQ(trace.evaluation().outcome(), v1::OUTCOME_FAIL);
  ASSERT_EQ(trace.annotations_size(), 1);
  EXPECT_EQ(trace.annotations(0).failure_mode(), "tool_misuse");
}

TEST(WriteEpisodeTest, EveryFieldOfATraceSurvivesTheRoundTrip) {
  const v1::Trace trace = WholeTrace();
  ASSERT_OK_AND_ASSIGN(const std::string episode, WriteEpisode(trace));
  ASSERT_OK_AND_ASSIGN(const v1::Trace back, ParseEpisode(episode));
  EXPECT_TRUE(MessageDifferencer::Equals(trace, back)) << episode;
}

TEST(WriteEpisodeTest, UsesTheNamesOfTheDocument) {
  ASSERT_OK_AND_ASSIGN(const std::string episode, WriteEpisode(WholeTrace()));
  for (const char* name :
       {"\"episode_id\":\"t-1\"", "\"system_state\"", "\"decision_trace\"",
        "\"execution_trace\"", "\"memory_state\"", "\"failure_annotation\"",
        "\"kind\":\"prompt_strategy\"", "\"outcome\":\"fail\"",
        "\"arm\":\"holdout\""}) {
    EXPECT_THAT(episode, HasSubstr(name));
  }
}

TEST(ParseEpisodeTest, NamesWhatIsWrong) {
  EXPECT_THAT(ParseEpisode("{}"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("episode_id")));
  EXPECT_THAT(
      ParseEpisode(R"({"trace_id": "a"})"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`episode_id`")));
  EXPECT_THAT(ParseEpisode(R"({"episode_id": "a", "taks": {}})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("taks")));
  EXPECT_THAT(
      ParseEpisode(
          R"({"episode_id": "a", "execution_trace": [{"kind": "dance"}]})"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("DANCE")));
  EXPECT_THAT(ParseEpisode(R"({"episode_id": "a", "task": [1]})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("task")));
}

TEST(ParseEpisodeTest, SurvivesEveryTruncationAndByteFlip) {
  const std::string episode = kEpisode;
  for (size_t i = 0; i < episode.size(); ++i) {
    ParseEpisode(absl::string_view(episode).substr(0, i)).IgnoreError();
    for (const char byte : {'\0', '"', '[', '9', '\xff'}) {
      std::string changed = episode;
      changed[i] = byte;
      ParseEpisode(changed).IgnoreError();
    }
  }
}

TEST(EpisodeReaderTest, ReadsJsonLinesAndGoesOnAfterABadOne) {
  const auto reader = ReaderOf(
      "{\"episode_id\":\"a\"}\n{\"episode_id\":1\n\n{\"episode_id\":\"b\"}\n");
  ASSERT_OK_AND_ASSIGN(auto a, reader->Next());
  EXPECT_EQ(a->trace_id(), "a");
  EXPECT_THAT(reader->Next(), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("line 2")));
  ASSERT_OK_AND_ASSIGN(auto b, reader->Next());
  EXPECT_EQ(b->trace_id(), "b");
  ASSERT_OK_AND_ASSIGN(auto end, reader->Next());
  EXPECT_FALSE(end.has_value());
}

TEST(EpisodeReaderTest, ReadsOneDocument) {
  const std::string text = std::string("\n") + kEpisode;
  const auto reader = ReaderOf(text);
  ASSERT_OK_AND_ASSIGN(auto trace, reader->Next());
  EXPECT_EQ(trace->trace_id(), "episode-1");
  ASSERT_OK_AND_ASSIGN(auto end, reader->Next());
  EXPECT_FALSE(end.has_value());
  EXPECT_EQ(reader->bytes_read(), text.size());
}

TEST(EpisodeReaderTest, ReadsAnArrayOfEpisodesAndSkipsBadOnes) {
  const auto reader =
      ReaderOf("[{\"episode_id\": \"a\"},\n 7,\n {\"episode_id\": \"b\"}]");
  ASSERT_OK_AND_ASSIGN(auto a, reader->Next());
  EXPECT_EQ(a->trace_id(), "a");
  EXPECT_THAT(reader->Next(), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("episode 1")));
  ASSERT_OK_AND_ASSIGN(auto b, reader->Next());
  EXPECT_EQ(b->trace_id(), "b");
}

TEST(EpisodeReaderTest, RefusesABrokenDocumentOnce) {
  const auto reader = ReaderOf("[{\"episode_id\": \"a\"},\n");
  EXPECT_THAT(reader->Next(), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("not valid JSON")));
  ASSERT_OK_AND_ASSIGN(auto end, reader->Next());
  EXPECT_FALSE(end.has_value());
}

}  // namespace
}  // namespace faultline::importers
