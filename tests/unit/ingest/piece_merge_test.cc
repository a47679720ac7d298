#include "lib/ingest/piece_merge.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "lib/trace/trace_validator.h"
#include "tests/support/status_matchers.h"

namespace faultline::ingest {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

v1::TraceLimits Limits() {
  return trace::TraceValidator::Create(v1::TraceLimits())->limits();
}

v1::Piece Span(const std::string& id, const std::string& parent,
               const std::string& part) {
  v1::Piece piece;
  piece.set_trace_id("run");
  piece.set_id(id);
  piece.set_parent_id(parent);
  piece.set_order(v1::PIECE_ORDER_TIME);
  piece.set_ends_run(parent.empty());
  *piece.mutable_part() = Parse<v1::Trace>(part);
  return piece;
}

// Part `index` of a stream.
v1::Piece Part(uint32_t index, const std::string& part) {
  v1::TracePiece piece;
  piece.set_trace_id("run");
  piece.set_index(index);
  *piece.mutable_part() = Parse<v1::Trace>(part);
  v1::Piece staged = ToPiece(std::move(piece));
  staged.mutable_receive_time()->set_seconds(1'800'000'100 + index);
  return staged;
}

v1::Trace Merge(std::vector<v1::Piece> pieces,
                v1::Closing closing = v1::CLOSING_EXPLICIT,
                const v1::TraceLimits& limits = Limits()) {
  return MergePieces(std::move(pieces), closing, limits);
}

MATCHER_P(Equals, text, "") {
  const v1::Trace expected = Parse<v1::Trace>(text);
  google::protobuf::util::MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  const bool equal = differencer.Compare(expected, arg);
  *result_listener << difference;
  return equal;
}

TEST(PieceIdTest, IdsAreInTheOrderOfIndexes) {
  EXPECT_LT(PieceId(9), PieceId(10));
  EXPECT_LT(PieceId(10), PieceId(UINT32_MAX));
  EXPECT_EQ(PieceIndex(PieceId(0)), 0);
  EXPECT_EQ(PieceIndex(PieceId(UINT32_MAX)), UINT32_MAX);
  EXPECT_EQ(PieceIndex("00f067aa0ba902b7"), std::nullopt);
  EXPECT_EQ(PieceIndex("99999999999"), std::nullopt);
  EXPECT_EQ(PieceIndex("9999999999"), std::nullopt);
}

TEST(MergeByIdTest, ListsAreAppendedMapsUnitedFieldsOverridden) {
  EXPECT_THAT(
      Merge({Part(2, R"pb(
               end_time { seconds: 1800000009 }
               evaluation { outcome: OUTCOME_PASS }
               exposure {
                 interventions { intervention_id: "i" arm: ARM_TREATMENT }
               }
             )pb"),
             Part(0, R"pb(
               start_time { seconds: 1800000000 }
               session_id: "s"
               task {
                 type: "qa"
                 labels { key: "a" value: "1" }
                 labels { key: "b" value: "1" }
                 embedding: [ 1, 2 ]
                 embedding_model: "m"
               }
               steps {
                 kind: KIND_LLM
                 start_offset { seconds: 1 }
               }
               memory {
                 snapshot_id: "x"
                 reads { record_id: "r" }
               }
               evaluation { latency { seconds: 1 nanos: 5 } }
               exposure {
                 interventions { intervention_id: "i" arm: ARM_HOLDOUT }
               }
             )pb"),
             Part(1, R"pb(
               task {
                 type: "math"
                 labels { key: "b" value: "2" }
                 embedding: [ 3, 4 ]
                 embedding_model: "m"
               }
               steps {
                 kind: KIND_TOOL
                 name: "t"
                 start_offset { seconds: 3 }
               }
               steps { kind: KIND_LLM }
               memory { reads { record_id: "r" } }
               evaluation { latency { seconds: 2 } }
             )pb")}),
      Equals(R"pb(
        trace_id: "run"
        session_id: "s"
        start_time { seconds: 1800000000 }
        end_time { seconds: 1800000009 }
        task {
          type: "math"
          labels { key: "a" value: "1" }
          labels { key: "b" value: "2" }
          embedding: [ 3, 4 ]
          embedding_model: "m"
        }
        steps {
          kind: KIND_LLM
          start_offset { seconds: 1 }
        }
        steps {
          kind: KIND_TOOL
          name: "t"
          start_offset { seconds: 3 }
        }
        steps { kind: KIND_LLM }
        memory {
          snapshot_id: "x"
          reads { record_id: "r" }
          reads { record_id: "r" }
        }
        evaluation {
          outcome: OUTCOME_PASS
          latency { seconds: 2 }
        }
        exposure { interventions { intervention_id: "i" arm: ARM_TREATMENT } }
        closing: CLOSING_EXPLICIT
      )pb"));
}

TEST(MergeByIdTest, IndexesOfStepsBecomeThoseOfTheRun) {
  const v1::Trace run = Merge({
      Part(0, R"pb(
        start_time { seconds: 1800000000 }
        steps { kind: KIND_LLM }
        decisions { kind: KIND_ROUTE chosen: "m" }
        decisions { kind: KIND_TOOL chosen: "t" step: 0 }
      )pb"),
      Part(1, R"pb(
        steps { kind: KIND_TOOL }
        steps { kind: KIND_LLM }
        decisions { kind: KIND_TOOL chosen: "u" step: 1 }
        decisions { kind: KIND_ROUTE chosen: "n" step: -1 }
        annotations { annotator: "a" culprit_step: 0 }
      )pb"),
      Part(2, R"pb(
        decisions { kind: KIND_ROUTE chosen: "o" }
      )pb"),
  });
  ASSERT_THAT(run.decisions(), SizeIs(5));
  EXPECT_FALSE(run.decisions(0).has_step());
  EXPECT_EQ(run.decisions(1).step(), 0);
  EXPECT_EQ(run.decisions(2).step(), 2);
  EXPECT_EQ(run.decisions(3).step(), 1);
  EXPECT_EQ(run.decisions(4).step(), 2);
  EXPECT_EQ(run.annotations(0).culprit_step(), 1);
}

TEST(MergeByIdTest, TimesThatCannotBeAreRepaired) {
  const v1::Trace run = Merge({Part(1, "end_time { seconds: 1800000050 }"),
                               Part(0, "steps { kind: KIND_LLM }")});
  EXPECT_EQ(run.start_time().seconds(), 1'800'000'100);  // received
  EXPECT_FALSE(run.has_end_time());
}

TEST(MergeByTimeTest, StepsAreInTheOrderOfTheirTimes) {
  EXPECT_THAT(Merge({Span("c", "a", R"pb(
                       start_time { seconds: 1800000003 nanos: 500 }
                       end_time { seconds: 1800000004 }
                       steps {
                         kind: KIND_TOOL
                         name: "second"
                         cost: 0.25
                         duration { nanos: 5 }
                       }
                     )pb"),
                     Span("a", "", R"pb(
                       start_time { seconds: 1800000001 }
                       end_time { seconds: 1800000009 }
                       task { input: "question" }
                     )pb"),
                     Span("b", "a", R"pb(
                       start_time { seconds: 1800000002 }
                       end_time { seconds: 1800000011 }
                       steps { kind: KIND_LLM name: "first" cost: 0.5 }
                       steps {
                         kind: KIND_LLM
                         name: "third"
                         start_offset { seconds: 2 }
                       }
                     )pb")},
                    v1::CLOSING_ROOT_ENDED),
              Equals(R"pb(
                trace_id: "run"
                start_time { seconds: 1800000001 }
                end_time { seconds: 1800000011 }
                task { input: "question" }
                steps {
                  kind: KIND_LLM
                  name: "first"
                  cost: 0.5
                  start_offset { seconds: 1 }
                }
                steps {
                  kind: KIND_TOOL
                  name: "second"
                  cost: 0.25
                  start_offset { seconds: 2 nanos: 500 }
                  duration { nanos: 5 }
                }
                steps {
                  kind: KIND_LLM
                  name: "third"
                  start_offset { seconds: 3 }
                }
                evaluation { cost: 0.75 }
                closing: CLOSING_ROOT_ENDED
              )pb"));
}

TEST(MergeByTimeTest, ThePieceNearestToTheRootHolds) {
  const v1::Trace run = Merge({
      Span("deep", "child", R"pb(
        start_time { seconds: 1800000001 }
        session_id: "deep"
        system { agent: "deep" model: "deep" toolset: "deep" }
      )pb"),
      Span("child", "root", R"pb(
        start_time { seconds: 1800000003 }
        session_id: "child"
        system { agent: "child" model: "child" }
      )pb"),
      Span("sibling", "root", R"pb(
        start_time { seconds: 1800000004 }
        session_id: "sibling"
        system { prompt_version: "sibling" }
      )pb"),
      Span("orphan", "missing", R"pb(
        start_time { seconds: 1800000005 }
        session_id: "orphan"
      )pb"),
      Span("root", "", R"pb(
        start_time { seconds: 1800000002 }
        system { agent: "root" }
      )pb"),
  });
  EXPECT_EQ(run.system().agent(), "root");
  EXPECT_EQ(run.system().model(), "child");
  EXPECT_EQ(run.system().toolset(), "deep");
  EXPECT_EQ(run.system().prompt_version(), "sibling");
  EXPECT_EQ(run.session_id(), "child");  // as near as its sibling, and earlier
}

TEST(MergeByTimeTest, PiecesInACircleAreMergedToo) {
  const v1::Trace run = Merge({
      Span("a", "b", "start_time { seconds: 1800000001 } session_id: 's'"),
      Span("b", "c", "start_time { seconds: 1800000002 }"),
      Span("c", "a", "start_time { seconds: 1800000003 }"),
      Span("d", "d",
           "start_time { seconds: 1800000004 } system { agent: 'x' }"),
  });
  EXPECT_EQ(run.session_id(), "s");
  EXPECT_EQ(run.system().agent(), "x");
}

TEST(MergeByTimeTest, ADecisionBelongsToTheNextStep) {
  const v1::Trace run = Merge({
      Span("root", "", R"pb(
        start_time { seconds: 1800000000 }
        decisions { kind: KIND_ROUTE chosen: "m" }
      )pb"),
      Span("llm", "root", R"pb(
        start_time { seconds: 1800000001 }
        steps { kind: KIND_LLM }
      )pb"),
      Span("choice", "root", R"pb(
        start_time { seconds: 1800000002 }
        decisions { kind: KIND_TOOL chosen: "t" }
      )pb"),
      Span("tool", "root", R"pb(
        start_time { seconds: 1800000003 }
        steps { kind: KIND_TOOL }
        decisions { kind: KIND_TOOL chosen: "u" step: 0 }
        annotations { annotator: "a" culprit_step: 0 }
      )pb"),
      Span("late", "root", R"pb(
        start_time { seconds: 1800000009 }
        decisions { kind: KIND_TOOL chosen: "v" }
      )pb"),
  });
  std::vector<int> steps;
  for (const v1::Decision& decision : run.decisions()) {
    steps.push_back(decision.step());
  }
  EXPECT_THAT(steps, ElementsAre(0, 1, 1, 1));
  EXPECT_EQ(run.annotations(0).culprit_step(), 1);
}

TEST(MergeByTimeTest, MemoryIsUnitedAndInterventionsCountOnce) {
  const v1::Trace run = Merge({
      Span("root", "", R"pb(
        start_time { seconds: 1800000000 }
        memory {
          snapshot_id: "s"
          reads { record_id: "r" used: true }
        }
        exposure {
          policy_version: 3
          interventions { intervention_id: "i" arm: ARM_HOLDOUT }
        }
      )pb"),
      Span("child", "root", R"pb(
        start_time { seconds: 1800000001 }
        memory {
          snapshot_id: "other"
          reads { record_id: "r" used: true }
          reads { record_id: "r" }
          writes { record_id: "w" }
        }
        exposure {
          policy_version: 2
          interventions { intervention_id: "i" arm: ARM_TREATMENT }
          interventions { intervention_id: "j" arm: ARM_TREATMENT }
        }
      )pb"),
  });
  EXPECT_EQ(run.memory().snapshot_id(), "s");
  EXPECT_THAT(run.memory().reads(), SizeIs(2));
  EXPECT_THAT(run.memory().writes(), SizeIs(1));
  EXPECT_EQ(run.exposure().policy_version(), 3);
  ASSERT_THAT(run.exposure().interventions(), SizeIs(2));
  for (const auto& exposed : run.exposure().interventions()) {
    EXPECT_EQ(exposed.arm(), exposed.intervention_id() == "i"
                                 ? v1::ARM_HOLDOUT
                                 : v1::ARM_TREATMENT);
  }
}

TEST(MergeByTimeTest, StepsOfSeveralAgentsSayWhose) {
  const auto run = [](const std::string& other) {
    return Merge({
        Span("root", "", R"pb(
          start_time { seconds: 1800000000 }
          system { agent: "chief" }
        )pb"),
        Span(
            "helper", "root",
            absl::StrCat("start_time { seconds: 1800000001 } system { agent: '",
                         other, "' }")),
        Span("tool", "helper", R"pb(
          start_time { seconds: 1800000002 }
          steps { kind: KIND_TOOL }
          steps { kind: KIND_TOOL actor: "named" }
        )pb"),
    });
  };
  EXPECT_EQ(run("helper").steps(0).actor(), "helper");
  EXPECT_EQ(run("helper").steps(1).actor(), "named");
  EXPECT_EQ(run("chief").steps(0).actor(), "");
}

TEST(MergePiecesTest, AnIdleRunIsAnErrorUnlessItSaysOtherwise) {
  const auto outcome = [](v1::Closing closing, const std::string& part) {
    return Merge({Part(0, part)}, closing).evaluation().outcome();
  };
  EXPECT_EQ(outcome(v1::CLOSING_IDLE, ""), v1::OUTCOME_ERROR);
  EXPECT_EQ(outcome(v1::CLOSING_IDLE, "evaluation { outcome: OUTCOME_PASS }"),
            v1::OUTCOME_PASS);
  EXPECT_EQ(outcome(v1::CLOSING_EVICTED, ""), v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(outcome(v1::CLOSING_EXPLICIT, ""), v1::OUTCOME_UNSPECIFIED);
}

TEST(MergePiecesTest, OfTooManyStepsTheFirstAndTheLastStay) {
  v1::TraceLimits limits = Limits();
  limits.set_max_steps(4);
  std::vector<v1::Piece> pieces;
  pieces.reserve(10);
  for (int i = 0; i < 10; ++i) {
    pieces.push_back(Part(
        i, absl::StrCat("steps { kind: KIND_TOOL name: '", i, "' } ",
                        "decisions { kind: KIND_TOOL chosen: 'x' step: 0 }")));
  }
  const v1::Trace run = Merge(pieces, v1::CLOSING_EXPLICIT, limits);
  std::vector<std::string> names;
  for (const v1::Step& step : run.steps()) names.push_back(step.name());
  EXPECT_THAT(names, ElementsAre("0", "1", "8", "9"));
  std::vector<int> places;
  for (const v1::Decision& decision : run.decisions()) {
    places.push_back(decision.step());
  }
  EXPECT_THAT(places, ElementsAre(0, 1, 1, 1, 1, 1, 1, 1, 2, 3));
  EXPECT_EQ(run.left_out(), 6);
}

TEST(MergePiecesTest, ATooLargeRunIsCutUntilItFits) {
  v1::TraceLimits limits = Limits();
  limits.set_max_trace_bytes(20'000);
  std::vector<v1::Piece> pieces;
  for (int i = 0; i < 8; ++i) {
    v1::Piece piece =
        Part(i, "steps { kind: KIND_TOOL } steps { kind: KIND_TOOL }");
    piece.mutable_part()->mutable_steps(0)->set_input(std::string(9000, 'x'));
    piece.mutable_part()->mutable_steps(1)->set_output("short");
    pieces.push_back(std::move(piece));
  }
  v1::Trace run = Merge(pieces, v1::CLOSING_EXPLICIT, limits);
  EXPECT_LE(run.ByteSizeLong(), 20'000);
  EXPECT_THAT(run.steps(), SizeIs(16));  // texts give way first
  EXPECT_GT(run.steps(0).input().size(), 1000);
  EXPECT_EQ(run.steps(1).output(), "short");
  EXPECT_EQ(run.left_out(), 8);

  limits.set_max_trace_bytes(1024);
  run = Merge(pieces, v1::CLOSING_EXPLICIT, limits);
  EXPECT_LE(run.ByteSizeLong(), 1024);
  EXPECT_GT(run.steps_size(), 0);
}

TEST(MergePiecesTest, WhatPiecesLeftOutAddsUp) {
  EXPECT_EQ(
      Merge({Span("a", "", "start_time { seconds: 1800000000 } left_out: 2"),
             Span("b", "a", "start_time { seconds: 1800000000 } left_out: 3")})
          .left_out(),
      5);
}

TEST(MergePiecesTest, OnlyMoreThanTimesAndAnOutcomeTellsOfAnAgent) {
  const auto tells = [](const std::string& part) {
    return TellsOfAnAgent(Parse<v1::Trace>(part));
  };
  EXPECT_FALSE(tells(""));
  EXPECT_FALSE(
      tells("start_time { seconds: 1 } end_time { seconds: 2 } "
            "evaluation { outcome: OUTCOME_ERROR } left_out: 1"));
  EXPECT_TRUE(tells("steps { kind: KIND_LLM }"));
  EXPECT_TRUE(tells("system { agent: 'a' }"));
  EXPECT_TRUE(tells("evaluation { score: 1 }"));
}

// Whatever the pieces are, the run is one that a client could have sent, and
// the order of the pieces in the store does not matter.
TEST(MergePiecesTest, TheResultOfValidPiecesIsValid) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  v1::TraceLimits tight;
  tight.set_max_steps(5);
  tight.set_max_trace_bytes(4096);
  for (int round = 0; round < 300; ++round) {
    const auto validator = trace::TraceValidator::Create(
        round % 2 == 0 ? v1::TraceLimits() : tight);
    ASSERT_OK(validator);
    const bool by_time = below(2) == 0;
    std::vector<v1::Piece> pieces;
    const int count = 1 + below(12);
    for (int i = 0; i < count; ++i) {
      v1::Piece piece;
      piece.set_trace_id("run");
      piece.set_id(by_time ? absl::StrCat("s", i) : PieceId(i));
      piece.set_order(by_time ? v1::PIECE_ORDER_TIME : v1::PIECE_ORDER_ID);
      if (below(3) > 0)
        piece.set_parent_id(absl::StrCat("s", below(count + 2)));
      piece.mutable_receive_time()->set_seconds(1'800'000'000);
      v1::Trace& part = *piece.mutable_part();
      if (by_time || below(2) == 0) {
        part.mutable_start_time()->set_seconds(1'800'000'000 + below(5));
      }
      if (below(2) == 0) {
        part.mutable_end_time()->set_seconds(1'800'000'005 - below(2));
      }
      for (int j = below(4); j > 0; --j) {
        v1::Step* step = part.add_steps();
        step->set_kind(v1::Step::KIND_TOOL);
        step->set_input(std::string(below(300), 'i'));
        step->mutable_start_offset()->set_nanos(below(1000));
        step->set_cost(below(3));
      }
      for (int j = below(60); j > 0; --j) {
        v1::Decision* decision = part.add_decisions();
        decision->set_kind(v1::Decision::KIND_TOOL);
        decision->set_chosen("t");
        if (below(2) == 0) decision->set_step(below(part.steps_size() + 1) - 1);
        auto& labels = *part.mutable_task()->mutable_labels();
        labels[absl::StrCat("k", below(200))] = "v";
        part.mutable_memory()->add_reads()->set_record_id(
            absl::StrCat(below(2000)));
      }
      for (int j = below(20); j > 0; --j) {
        v1::Annotation* annotation = part.add_annotations();
        annotation->set_annotator("a");
        annotation->set_note(std::string(below(100), 'n'));
        if (part.steps_size() > 0) {
          annotation->set_culprit_step(below(part.steps_size()));
        }
      }
      if (validator
              ->CheckPiece(piece, "p", 0, absl::FromUnixSeconds(1'800'000'000))
              .has_value()) {
        continue;  // too large for the tight limits, or ends before it begins
      }
      pieces.push_back(std::move(piece));
    }
    if (pieces.empty()) continue;
    v1::Trace run = Merge(pieces, v1::CLOSING_IDLE, validator->limits());
    std::shuffle(pieces.begin(), pieces.end(), random);
    const v1::Trace again =
        Merge(pieces, v1::CLOSING_IDLE, validator->limits());
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(run, again));
    run.clear_closing();
    run.clear_left_out();
    const auto fault = validator->CheckTrace(
        run, "p", 0, absl::FromUnixSeconds(1'800'000'000));
    EXPECT_FALSE(fault.has_value())
        << round << " " << fault->ShortDebugString();
  }
}

}  // namespace
}  // namespace faultline::ingest
