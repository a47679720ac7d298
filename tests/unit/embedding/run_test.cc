#include "lib/embedding/run.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/embedding/sample_trace.h"

namespace faultline::embedding {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::FieldsAre;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

// Texts of the tokens of one channel.
std::set<std::string> Tokens(const v1::Trace& trace,
                             absl::string_view channel) {
  FeatureNames names;
  std::set<std::string> tokens;
  for (const TokenCount& token : ExtractRun(trace, &names).tokens) {
    absl::string_view text = names.tokens.at(token.key);
    if (absl::ConsumePrefix(&text, absl::StrCat(channel, " "))) {
      tokens.emplace(text);
    }
  }
  return tokens;
}

TEST(ExtractRunTest, ToolsAreCountedByNormalizedName) {
  EXPECT_THAT(Tokens(SampleTrace(), "tool"),
              UnorderedElementsAre("t:get_order_#", "t:retrieval:search"));
}

TEST(ExtractRunTest, HandoffsNameBothSides) {
  v1::Trace trace;
  AddStep(v1::Step::KIND_HANDOFF, "Coder", &trace)->set_actor("Planner");
  AddStep(v1::Step::KIND_LLM, "", &trace)->set_actor("Coder");
  EXPECT_THAT(Tokens(trace, "tool"), Contains("h:planner>handoff:coder"));
  EXPECT_THAT(Tokens(trace, "transition"), Contains("@planner>@coder"));
}

TEST(ExtractRunTest, TransitionsHoldPairsTriplesAndEnds) {
  EXPECT_THAT(
      Tokens(SampleTrace(), "transition"),
      IsSupersetOf({"start>user", "user>llm", "llm>get_order_#",
                    "get_order_#>llm>get_order_#", "retrieval:search>end"}));
}

TEST(ExtractRunTest, LoopIsSeenThroughTheModelTurnsBetween) {
  v1::Trace trace;
  for (int i = 0; i < 4; ++i) {
    AddStep(v1::Step::KIND_LLM, "", &trace);
    AddStep(v1::Step::KIND_TOOL, "fetch", &trace);
  }
  EXPECT_THAT(Tokens(trace, "transition"), Contains("rep4"));
  for (int i = 0; i < 9; ++i) AddStep(v1::Step::KIND_TOOL, "fetch", &trace);
  EXPECT_THAT(Tokens(trace, "transition"), Contains("rep6"));
}

TEST(ExtractRunTest, ErrorsTellWhatFailedAndWhatCameNext) {
  EXPECT_THAT(Tokens(SampleTrace(), "error"),
              UnorderedElementsAre(
                  "e:bad_argument", "te:get_order_#:bad_argument", "nerr1",
                  "last:bad_argument", "get_order_#!>get_order_#"));
}

TEST(ExtractRunTest, ErrorWithoutTypeIsNamedByItsMessage) {
  v1::Trace trace;
  v1::Step* step = AddStep(v1::Step::KIND_TOOL, "find", &trace);
  step->set_status(v1::Step::STATUS_ERROR);
  step->set_error_message("Error: user 8812 not found in table x");
  EXPECT_THAT(Tokens(trace, "error"), Contains("e:user not found in"));
  step->clear_error_message();
  EXPECT_THAT(Tokens(trace, "error"), Contains("e:unknown"));
}

TEST(ExtractRunTest, RetrievalHoldsCountsHitsAndUse) {
  EXPECT_THAT(
      Tokens(SampleTrace(), "retrieval"),
      UnorderedElementsAre("retrievals:1", "empty:high", "a:retrieval.hits=0",
                           "reads:1", "used:high"));
}

TEST(ExtractRunTest, SignalsKeepTheirOrder) {
  EXPECT_THAT(
      Tokens(SampleTrace(), "signal"),
      UnorderedElementsAre("confidence>=1/5", "confidence>=2/5",
                           "confidence>=3/5", "confidence>=4/5", "hiconf"));
}

TEST(ExtractRunTest, TaskKeepsFunctionWordsAndPairs) {
  EXPECT_THAT(Tokens(SampleTrace(), "task"),
              IsSupersetOf({"w:not", "b:not taller", "type=refund",
                            "dataset=shop", "label:language=en"}));
}

TEST(ExtractRunTest, LongTaskIsCut) {
  v1::Trace trace;
  std::string input;
  for (int i = 0; i < 600; ++i) absl::StrAppend(&input, "w", i, " ");
  trace.mutable_task()->set_input(input);
  const auto tokens = Tokens(trace, "task");
  EXPECT_THAT(tokens, Contains("w:w511"));
  EXPECT_THAT(tokens, Not(Contains("w:w512")));
}

TEST(ExtractRunTest, ContextChannelsSayWhoWasChosenAndWhatItRemembered) {
  const v1::Trace trace = SampleTrace();
  EXPECT_THAT(Tokens(trace, "system"),
              UnorderedElementsAre("agent=clerk", "model=small",
                                   "prompt_version=3", "config:temperature=0"));
  EXPECT_THAT(Tokens(trace, "route"), UnorderedElementsAre("route=small"));
  EXPECT_THAT(Tokens(trace, "prompt"), UnorderedElementsAre("strategy=terse"));
  EXPECT_THAT(Tokens(trace, "memory"),
              UnorderedElementsAre("size:e6", "schema=2", "stat:stale_share=f1",
                                   "age:day", "oldest:day"));
}

TEST(ExtractRunTest, TokensAscendAndAreMerged) {
  const embedding::Run run = ExtractRun(SampleTrace(), nullptr);
  for (size_t i = 1; i < run.tokens.size(); ++i) {
    EXPECT_LT(std::pair(run.tokens[i - 1].channel, run.tokens[i - 1].key),
              std::pair(run.tokens[i].channel, run.tokens[i].key));
  }
  const auto twice = std::count_if(
      run.tokens.begin(), run.tokens.end(), [](const TokenCount& token) {
        return token.channel == Channel::kTool && token.count == 2;
      });
  EXPECT_EQ(twice, 1);
}

TEST(ExtractRunTest, NamesChangeNothing) {
  FeatureNames names;
  const embedding::Run with = ExtractRun(SampleTrace(), &names);
  const embedding::Run without = ExtractRun(SampleTrace(), nullptr);
  ASSERT_EQ(with.tokens.size(), without.tokens.size());
  for (size_t i = 0; i < with.tokens.size(); ++i) {
    EXPECT_EQ(with.tokens[i].key, without.tokens[i].key);
  }
  EXPECT_EQ(with.context, without.context);
  EXPECT_EQ(with.context_numbers, without.context_numbers);
}

TEST(ExtractRunTest, ScalarsAreWhatTheRunShows) {
  const embedding::Run run = ExtractRun(SampleTrace(), nullptr);
  EXPECT_FLOAT_EQ(run.numeric[0], std::log1p(6.0f));   // steps
  EXPECT_FLOAT_EQ(run.numeric[1], 1.0f / 6);           // errors
  EXPECT_FLOAT_EQ(run.numeric[2], 2.0f / 3);           // distinct actions
  EXPECT_FLOAT_EQ(run.numeric[3], std::log(2.0f));     // repetition
  EXPECT_FLOAT_EQ(run.numeric[4], std::log1p(12.0f));  // seconds
  EXPECT_FLOAT_EQ(run.numeric[5], std::log1p(70.0f));  // tokens
}

TEST(ExtractRunTest, ScalarsOfAnEmptyRunAreUnknown) {
  const embedding::Run run = ExtractRun(v1::Trace(), nullptr);
  EXPECT_TRUE(run.tokens.empty());
  EXPECT_FLOAT_EQ(run.numeric[0], 0);
  for (int i = 1; i < kNumericCount; ++i) {
    EXPECT_TRUE(std::isnan(run.numeric[i])) << i;
  }
}

TEST(ExtractRunTest, ContextHoldsFieldsAndWords) {
  FeatureNames names;
  const embedding::Run run = ExtractRun(SampleTrace(), &names);
  EXPECT_TRUE(std::is_sorted(run.context.begin(), run.context.end()));
  EXPECT_THAT(run.context,
              IsSupersetOf({ContextKey("system.model", "small"),
                            ContextKey("decisions.route.chosen", "small"),
                            ContextKey("task.input", "not", /*word=*/true)}));
  const ContextFeature& word =
      names.context.at(ContextKey("task.input", "not", /*word=*/true));
  EXPECT_EQ(word.field, "task.input");
  EXPECT_EQ(word.value, "not");
  EXPECT_TRUE(word.word);
  EXPECT_THAT(run.context_numbers,
              Contains(Pair(NumberKey("memory.stats.stale_share"), 0.3f)));
  EXPECT_EQ(names.numbers.at(NumberKey("memory.size")), "memory.size");
}

TEST(ExtractRunTest, RepeatedWordsAreOneFeature) {
  v1::Trace trace;
  trace.mutable_task()->set_input("no no NO");
  EXPECT_THAT(ExtractRun(trace, nullptr).context,
              ElementsAre(ContextKey("task.input", "no", /*word=*/true)));
}

TEST(ExtractRunTest, WordAndValueDiffer) {
  EXPECT_NE(ContextKey("task.input", "a"), ContextKey("task.input", "a", true));
  EXPECT_NE(ContextKey("task.type", "a"), ContextKey("task.dataset", "a"));
}

TEST(ExtractRunTest, ExposuresCarryArmProbabilityAndKey) {
  v1::Trace trace = SampleTrace();
  trace.mutable_exposure()->set_policy_version(4);
  auto* exposure = trace.mutable_exposure()->add_interventions();
  exposure->set_intervention_id("i1");
  exposure->set_arm(v1::ARM_HOLDOUT);
  exposure->set_treatment_probability(0.5);
  exposure->set_assignment_key("session-7");
  const embedding::Run run = ExtractRun(trace, nullptr);
  EXPECT_EQ(run.policy_version, 4);
  EXPECT_THAT(run.exposures,
              ElementsAre(FieldsAre("i1", v1::ARM_HOLDOUT, 0.5, "session-7")));
}

TEST(ApplyOutcomeTest, LateJudgementEqualsAnEarlyOne) {
  v1::Trace early = SampleTrace();
  early.mutable_evaluation()->set_cost(2);
  v1::Trace late = early;
  late.clear_evaluation();
  embedding::Run run = ExtractRun(late, nullptr);
  EXPECT_FALSE(run.known());
  ApplyOutcome(early.evaluation(), &run);

  const embedding::Run expected = ExtractRun(early, nullptr);
  EXPECT_TRUE(run.failed());
  EXPECT_EQ(run.confidence, expected.confidence);
  EXPECT_EQ(run.cost, expected.cost);
  ASSERT_EQ(run.tokens.size(), expected.tokens.size());
  for (size_t i = 0; i < run.tokens.size(); ++i) {
    EXPECT_EQ(run.tokens[i].key, expected.tokens[i].key);
    EXPECT_EQ(run.tokens[i].channel, expected.tokens[i].channel);
  }
}

TEST(ApplyOutcomeTest, JudgementWithoutSignalsKeepsThem) {
  embedding::Run run = ExtractRun(SampleTrace(), nullptr);
  const size_t tokens = run.tokens.size();
  v1::Evaluation evaluation;
  evaluation.set_outcome(v1::OUTCOME_PASS);
  ApplyOutcome(evaluation, &run);
  EXPECT_FALSE(run.failed());
  EXPECT_EQ(run.confidence, 0.9);
  EXPECT_EQ(run.tokens.size(), tokens);
}

TEST(ExtractRunTest, LastRouteDecisionIsKeptWithItsCandidates) {
  v1::Trace trace;
  const auto add = [&trace](v1::Decision::Kind kind, const std::string& chosen,
                            double propensity) {
    v1::Decision& decision = *trace.add_decisions();
    decision.set_kind(kind);
    decision.add_candidates()->set_name("large");
    decision.add_candidates()->set_name("small");
    decision.add_candidates()->set_name("large");
    decision.set_chosen(chosen);
    decision.set_propensity(propensity);
  };
  EXPECT_EQ(ExtractRun(trace, nullptr).route.decisions, 0);
  add(v1::Decision::KIND_ROUTE, "large", .5);
  add(v1::Decision::KIND_ROUTE, "small", .25);
  add(v1::Decision::KIND_TOOL, "calculator", 1);

  FeatureNames names;
  const RouteChoice route = ExtractRun(trace, &names).route;
  EXPECT_EQ(route.decisions, 2);
  EXPECT_EQ(route.chosen, RouteKey("small"));
  EXPECT_EQ(route.propensity, .25);
  EXPECT_THAT(route.candidates,
              UnorderedElementsAre(RouteKey("large"), RouteKey("small")));
  EXPECT_TRUE(std::is_sorted(route.candidates.begin(), route.candidates.end()));
  EXPECT_EQ(names.context.at(RouteKey("large")).value, "large");
  EXPECT_EQ(RouteKey("small"), ContextKey("decisions.route.chosen", "small"));
}

TEST(ExtractRunTest, OldestReadOfEachClassIsKept) {
  v1::Trace trace;
  const auto add = [&trace](const std::string& record_class, int64_t age) {
    v1::MemoryState::Read& read = *trace.mutable_memory()->add_reads();
    read.set_record_class(record_class);
    if (age >= 0) read.mutable_age()->set_seconds(age);
  };
  EXPECT_TRUE(ExtractRun(trace, nullptr).reads.empty());
  add("price", 60);
  add("", -1);
  add("price", 3600);
  add("price", -1);

  FeatureNames names;
  const Run run = ExtractRun(trace, &names);
  std::map<uint64_t, float> oldest;
  for (const ClassReads& reads : run.reads) {
    oldest[reads.record_class] = reads.oldest;
  }
  EXPECT_THAT(oldest, UnorderedElementsAre(Pair(MemoryClassKey("price"), 3600),
                                           Pair(MemoryClassKey(""), -1)));
  EXPECT_EQ(names.context.at(MemoryClassKey("price")).value, "price");
}

}  // namespace
}  // namespace faultline::embedding
