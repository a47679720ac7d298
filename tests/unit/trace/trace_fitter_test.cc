#include "lib/trace/trace_fitter.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/trace/trace_limits.h"
#include "lib/trace/trace_validator.h"
#include "lib/trace/utf8.h"
#include "tests/support/status_matchers.h"

namespace faultline::trace {
namespace {

using ::testing::SizeIs;

v1::TraceLimits Limits() {
  return TraceValidator::Create(v1::TraceLimits())->limits();
}

// A trace whose every text and list is over its limit.
v1::Trace Oversized() {
  const std::string text(70000, 'x');
  v1::Trace trace;
  trace.set_trace_id("t");
  trace.mutable_start_time()->set_seconds(1'700'000'000);
  trace.set_session_id(text);
  v1::Task& task = *trace.mutable_task();
  task.set_id(text);
  task.set_type(text);
  task.set_dataset(text);
  task.set_input(text);
  task.set_embedding_model(text);
  v1::System& system = *trace.mutable_system();
  system.set_agent(text);
  system.set_agent_version(text);
  system.set_model(text);
  system.set_prompt_strategy(text);
  system.set_prompt_version(text);
  system.set_toolset(text);
  for (int i = 0; i < 70; ++i) {
    const std::string key = absl::StrCat("k", i);
    (*task.mutable_labels())[key] = text;
    (*system.mutable_config())[key] = text;
    (*trace.mutable_memory()->mutable_stats())[key] = i;
    (*trace.mutable_evaluation()->mutable_signals())[key] = i;
  }
  for (int i = 0; i < 300; ++i) {
    v1::Decision& decision = *trace.add_decisions();
    decision.set_kind(v1::Decision::KIND_ROUTE);
    decision.set_chosen("a");
  }
  v1::Decision& decision = *trace.mutable_decisions(0);
  for (int i = 0; i < 200; ++i) decision.add_candidates()->set_name("a");
  decision.mutable_candidates(0)->set_name(text);
  decision.set_chosen(text);
  decision.set_reason(text);
  v1::Step& step = *trace.add_steps();
  step.set_kind(v1::Step::KIND_TOOL);
  step.set_name(text);
  step.set_actor(text);
  step.set_error_type(text);
  step.set_error_message(text);
  step.set_input(text);
  step.set_output(text);
  (*step.mutable_attributes())["k"] = text;
  v1::MemoryState& memory = *trace.mutable_memory();
  memory.set_snapshot_id(text);
  memory.set_schema_version(text);
  for (int i = 0; i < 600; ++i) {
    memory.add_reads()->set_record_id("r");
    memory.add_writes()->set_record_id("r");
    memory.add_skipped()->set_record_id("r");
  }
  memory.mutable_reads(0)->set_record_id(text);
  memory.mutable_reads(0)->set_version(text);
  memory.mutable_reads(0)->set_record_class(text);
  memory.mutable_writes(0)->set_record_id(text);
  memory.mutable_writes(0)->set_version(text);
  memory.mutable_writes(0)->set_record_class(text);
  memory.mutable_skipped(0)->set_record_id(text);
  memory.mutable_skipped(0)->set_reason(text);
  trace.mutable_evaluation()->set_evaluator(text);
  for (int i = 0; i < 200; ++i) {
    auto& intervention = *trace.mutable_exposure()->add_interventions();
    intervention.set_intervention_id(text);
    intervention.set_assignment_key(text);
    intervention.set_arm(v1::ARM_HOLDOUT);
  }
  for (int i = 0; i < 100; ++i) {
    v1::Annotation& annotation = *trace.add_annotations();
    annotation.set_failure_mode(text);
    annotation.set_culprit_component(text);
    annotation.set_note(text);
    annotation.set_annotator(text);
  }
  return trace;
}

TEST(TraceFitterTest, WhatFitsStaysAsItIs) {
  v1::Trace trace;
  trace.mutable_task()->set_input("Was kostet das? 5 \xe2\x82\xac");
  trace.add_steps()->set_name("search");
  const std::string before = trace.SerializeAsString();
  EXPECT_EQ(FitTrace(Limits(), &trace), 0);
  EXPECT_EQ(trace.SerializeAsString(), before);
}

TEST(TraceFitterTest, AnOversizedTraceBecomesValid) {
  v1::Trace trace = Oversized();
  EXPECT_GT(FitTrace(Limits(), &trace), 0);
  v1::TraceLimits wide;
  wide.set_max_trace_bytes(1 << 26);
  const auto validator = TraceValidator::Create(wide);
  ASSERT_OK(validator);
  const auto fault = validator->CheckTrace(
      trace, "p", 0, absl::FromUnixSeconds(1'700'000'000));
  EXPECT_FALSE(fault.has_value()) << fault->ShortDebugString();
  EXPECT_EQ(FitTrace(Limits(), &trace), 0);
}

TEST(TraceFitterTest, CountsWhatItCutsAndDrops) {
  v1::Trace trace;
  for (int i = 0; i < kDecisions + 3; ++i) trace.add_decisions();
  trace.add_steps()->set_name(std::string(kNameBytes + 1, 'x'));
  EXPECT_EQ(FitTrace(Limits(), &trace), 4);
  EXPECT_THAT(trace.decisions(), SizeIs(kDecisions));
  EXPECT_EQ(trace.steps(0).name(), std::string(kNameBytes, 'x'));
}

TEST(TraceFitterTest, CutsAtACharacter) {
  v1::Trace trace;
  trace.add_steps()->set_name(std::string(kNameBytes - 1, 'x') + "\u00e9");
  EXPECT_EQ(FitTrace(Limits(), &trace), 1);
  EXPECT_EQ(trace.steps(0).name(), std::string(kNameBytes - 1, 'x'));
}

TEST(TraceFitterTest, BytesThatAreNotUtf8AreReplaced) {
  v1::Trace trace;
  trace.add_steps()->set_output(
      "a\xff"
      "b\xc3");
  EXPECT_EQ(FitTrace(Limits(), &trace), 1);
  EXPECT_EQ(trace.steps(0).output(), "a\ufffdb\ufffd");
}

TEST(TraceFitterTest, ARepairedTextKeepsTheLimitToo) {
  v1::Trace trace;
  trace.add_steps()->set_name(std::string(kNameBytes, '\xff'));
  FitTrace(Limits(), &trace);
  EXPECT_LE(trace.steps(0).name().size(), kNameBytes);
  EXPECT_EQ(FindNotUtf8(trace.steps(0).name()), trace.steps(0).name().size());
}

TEST(TraceFitterTest, OfAMapTheLeastKeysStay) {
  v1::Trace trace;
  auto& labels = *trace.mutable_task()->mutable_labels();
  for (int i = 0; i < kMapEntries + 1; ++i) {
    labels[absl::StrCat("k", 100 + i)] = "v";
  }
  EXPECT_EQ(FitTrace(Limits(), &trace), 1);
  EXPECT_TRUE(labels.contains("k100"));
  EXPECT_FALSE(labels.contains(absl::StrCat("k", 100 + kMapEntries)));
}

TEST(TraceFitterTest, FitsWhatComesLater) {
  v1::OutcomeRecord outcome;
  outcome.mutable_evaluation()->set_evaluator(std::string(200, 'x'));
  EXPECT_EQ(FitOutcome(&outcome), 1);
  EXPECT_THAT(outcome.evaluation().evaluator(), SizeIs(kNameBytes));
  v1::AnnotationRecord annotation;
  annotation.mutable_annotation()->set_note(std::string(5000, 'x'));
  EXPECT_EQ(FitAnnotation(&annotation), 1);
  EXPECT_THAT(annotation.annotation().note(), SizeIs(kNoteBytes));
}

}  // namespace
}  // namespace faultline::trace
