#include "lib/ingest/otlp/faultline_dialect.h"

#include "lib/base/error_detail.h"
#include "tests/unit/otlp/span_builder.h"

namespace faultline::otlp {
namespace {

using ::testing::HasSubstr;

TEST(FaultlineDialectTest, KeysArePathsOfFields) {
  Span span = MakeRoot(
      "run", {{"faultline.session_id", "s"},
              {"faultline.task.id", "t-1"},
              {"faultline.task.type", "arithmetic"},
              {"faultline.task.dataset", "sums"},
              {"faultline.task.input", "1 + 1"},
              {"faultline.task.labels.region", "eu"},
              {"faultline.task.labels.with.dots", 3},
              {"faultline.task.embedding_model", "e"},
              {"faultline.system.prompt_strategy", "plan"},
              {"faultline.system.toolset", "basic"},
              {"faultline.system.config.cache", true},
              {"faultline.decisions.0.kind", "route"},
              {"faultline.decisions.0.chosen", "small"},
              {"faultline.decisions.0.propensity", 0.75},
              {"faultline.decisions.0.reason", "cheap"},
              {"faultline.decisions.0.policy_version", 7},
              {"faultline.decisions.0.candidates.0.name", "small"},
              {"faultline.decisions.0.candidates.0.score", 0.9},
              {"faultline.decisions.0.candidates.1.name", "large"},
              {"faultline.decisions.1.kind", "MEMORY_READ"},
              {"faultline.decisions.1.chosen", "facts"},
              {"faultline.memory.snapshot_id", "m-1"},
              {"faultline.memory.schema_version", "2"},
              {"faultline.memory.size", 12},
              {"faultline.memory.stats.stale_share", 0.25},
              {"faultline.memory.reads.0.record_id", "r-1"},
              {"faultline.memory.reads.0.score", 0.5},
              {"faultline.memory.reads.0.age", 86400.5},
              {"faultline.memory.reads.0.used", true},
              {"faultline.memory.reads.0.version", "v1"},
              {"faultline.memory.reads.0.record_class", "fact"},
              {"faultline.memory.writes.0.record_id", "r-2"},
              {"faultline.memory.writes.0.version", "v2"},
              {"faultline.memory.skipped.0.record_id", "r-3"},
              {"faultline.memory.skipped.0.reason", "stale"},
              {"faultline.evaluation.outcome", "pass"},
              {"faultline.evaluation.evaluator", "answer key"},
              {"faultline.evaluation.score", 1},
              {"faultline.evaluation.cost", 0.5},
              {"faultline.evaluation.signals.confidence", 0.9},
              {"faultline.exposure.policy_version", 7},
              {"faultline.exposure.interventions.0.intervention_id", "i-1"},
              {"faultline.exposure.interventions.0.arm", "treatment"},
              {"faultline.exposure.interventions.0.assignment_key", "k"},
              {"faultline.exposure.interventions.0.treatment_probability", 0.5},
              {"faultline.exposure.interventions.1.intervention_id", "i-2"},
              {"faultline.exposure.interventions.1.arm", "holdout"},
              {"faultline.annotations.0.annotator", "ann"},
              {"faultline.annotations.0.failure_mode", "loop"},
              {"faultline.keep_probability", 0.5},
              {"faultline.run.closed", true}});
  KeyValue& embedding = *span.add_attributes();
  embedding.set_key("faultline.task.embedding");
  for (const double number : {0.5, -1.0}) {
    embedding.mutable_value()
        ->mutable_array_value()
        ->add_values()
        ->set_double_value(number);
  }
  const MappedSpan mapped = MapValid(span);
  EXPECT_TRUE(mapped.piece->closes_run());
  EXPECT_EQ(mapped.ignored, 0);
  EXPECT_THAT(mapped.piece->part(), EqualsText(R"pb(
                session_id: "s"
                start_time { seconds: 1700000000 }
                end_time { seconds: 1700000002 nanos: 500000000 }
                task {
                  id: "t-1"
                  type: "arithmetic"
                  dataset: "sums"
                  input: "1 + 1"
                  labels { key: "region" value: "eu" }
                  labels { key: "with.dots" value: "3" }
                  embedding: [ 0.5, -1 ]
                  embedding_model: "e"
                }
                system {
                  prompt_strategy: "plan"
                  toolset: "basic"
                  config { key: "cache" value: "true" }
                }
                decisions {
                  kind: KIND_ROUTE
                  candidates { name: "small" score: 0.9 }
                  candidates { name: "large" }
                  chosen: "small"
                  propensity: 0.75
                  reason: "cheap"
                  policy_version: 7
                }
                decisions { kind: KIND_MEMORY_READ chosen: "facts" }
                memory {
                  snapshot_id: "m-1"
                  schema_version: "2"
                  size: 12
                  reads {
                    record_id: "r-1"
                    score: 0.5
                    age { seconds: 86400 nanos: 500000000 }
                    used: true
                    version: "v1"
                    record_class: "fact"
                  }
                  writes { record_id: "r-2" version: "v2" }
                  skipped { record_id: "r-3" reason: "stale" }
                  stats { key: "stale_share" value: 0.25 }
                }
                evaluation {
                  outcome: OUTCOME_PASS
                  score: 1
                  evaluator: "answer key"
                  signals { key: "confidence" value: 0.9 }
                  cost: 0.5
                }
                exposure {
                  policy_version: 7
                  interventions {
                    intervention_id: "i-1"
                    arm: ARM_TREATMENT
                    assignment_key: "k"
                    treatment_probability: 0.5
                  }
                  interventions { intervention_id: "i-2" arm: ARM_HOLDOUT }
                }
                annotations { failure_mode: "loop" annotator: "ann" }
                keep_probability: 0.5
              )pb"));
}

TEST(FaultlineDialectTest, AStepsFieldsWinOverTheConventions) {
  EXPECT_THAT(
      StepOf(MakeSpan("chat", {{"gen_ai.operation.name", "chat"},
                               {"gen_ai.usage.input_tokens", 5},
                               {"faultline.step.name", "draft"},
                               {"faultline.step.actor", "writer"},
                               {"faultline.step.cost", 0.5},
                               {"faultline.step.input_tokens", 6},
                               {"faultline.step.attributes.retry", 2}})),
      EqualsText(R"pb(
        kind: KIND_LLM
        name: "draft"
        actor: "writer"
        start_offset {}
        duration { seconds: 2 nanos: 500000000 }
        input_tokens: 6
        cost: 0.5
        attributes { key: "retry" value: "2" }
      )pb"));
}

TEST(FaultlineDialectTest, AKindMakesAnySpanAStep) {
  const v1::Step step =
      StepOf(MakeSpan("turn", {{"faultline.step.kind", "user"},
                               {"faultline.step.input", "And now?"}}));
  EXPECT_EQ(step.kind(), v1::Step::KIND_USER);
  EXPECT_EQ(step.name(), "turn");
  EXPECT_EQ(step.input(), "And now?");
}

TEST(FaultlineDialectTest, DecisionsAndAnnotationsBelongToTheSpansStep) {
  const v1::Trace part =
      PartOf(MakeSpan("chat", {{"gen_ai.operation.name", "chat"},
                               {"faultline.decisions.0.kind", "route"},
                               {"faultline.decisions.0.chosen", "small"},
                               {"faultline.annotations.0.annotator", "ann"}}));
  EXPECT_EQ(part.decisions(0).step(), 0);
  EXPECT_TRUE(part.decisions(0).has_step());
  EXPECT_EQ(part.annotations(0).culprit_step(), 0);
  EXPECT_TRUE(part.annotations(0).has_culprit_step());
}

TEST(FaultlineDialectTest, KeysThatNameNoFieldAreCounted) {
  const MappedSpan mapped =
      MapValid(MakeRoot("run", {{"faultline.task.identity", "typo"},
                                {"faultline.trace_id", "from the span"},
                                {"faultline.start_time", 5},
                                {"faultline.steps.0.name", "from the spans"},
                                {"faultline.decisions.0.kind", "route"},
                                {"faultline.decisions.0.chosen", "a"},
                                {"faultline.decisions.0.step", 3},
                                {"faultline.decisions.size", 3},
                                {"faultline.task", "no text"},
                                {"faultline.session_id.x", "no message"},
                                {"faultline.run.other", true},
                                {"faultline.step.duration", 3},
                                {"faultline.run.closed", false}}));
  EXPECT_EQ(mapped.ignored, 10);
  EXPECT_FALSE(mapped.piece->closes_run());
  EXPECT_EQ(mapped.piece->part().steps_size(), 0);
}

struct BadValue {
  const char* key;
  Scalar value;
  const char* limit;
};

void PrintTo(const BadValue& value, std::ostream* out) { *out << value.key; }

class FaultlineValueTest : public ::testing::TestWithParam<BadValue> {};

TEST_P(FaultlineValueTest, OfTheWrongTypeRefusesTheSpan) {
  const auto mapped =
      Map(MakeRoot("run", {{GetParam().key, GetParam().value}}));
  EXPECT_EQ(mapped.status().code(), absl::StatusCode::kInvalidArgument);
  const auto detail = base::GetErrorDetail(mapped.status());
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason(), v1::ErrorDetail::REASON_MALFORMED);
  EXPECT_EQ(detail->field(), std::string("attributes[") + GetParam().key + "]");
  EXPECT_THAT(detail->limit(), HasSubstr(GetParam().limit));
}

INSTANTIATE_TEST_SUITE_P(
    Values, FaultlineValueTest,
    ::testing::Values(
        BadValue{"faultline.keep_probability", "often", "a number"},
        BadValue{"faultline.run.closed", "perhaps", "true or false"},
        BadValue{"faultline.memory.reads.0.used", 3, "true or false"},
        BadValue{"faultline.memory.size", -1, "not negative"},
        BadValue{"faultline.memory.reads.0.age", -1, "seconds"},
        BadValue{"faultline.memory.stats.size", "big", "a number"},
        BadValue{"faultline.task.embedding", 0.5, "a list"},
        BadValue{"faultline.evaluation.outcome", "great",
                 "one of pass, fail, error"},
        BadValue{"faultline.exposure.interventions.0.arm", "left",
                 "one of treatment, holdout"}));

TEST(FaultlineDialectTest, EveryFieldOfARunHasATypeThatAnAttributeCanHave) {
  // A new field of another type must be given a rule.
  std::vector<const google::protobuf::Descriptor*> types = {
      v1::Trace::descriptor()};
  for (size_t i = 0; i < types.size(); ++i) {
    for (int f = 0; f < types[i]->field_count(); ++f) {
      const auto& field = *types[i]->field(f);
      using Field = google::protobuf::FieldDescriptor;
      if (field.name() == "step" || field.name() == "culprit_step") continue;
      EXPECT_NE(field.cpp_type(), Field::CPPTYPE_INT32) << field.full_name();
      EXPECT_NE(field.cpp_type(), Field::CPPTYPE_INT64) << field.full_name();
      EXPECT_NE(field.cpp_type(), Field::CPPTYPE_UINT32) << field.full_name();
      if (field.message_type() != nullptr &&
          field.message_type()->file() == types[0]->file() &&
          std::find(types.begin(), types.end(), field.message_type()) ==
              types.end()) {
        types.push_back(field.message_type());
      }
    }
  }
  EXPECT_GT(types.size(), 10);
}

}  // namespace
}  // namespace faultline::otlp
