#include "lib/trace/trace_validator.h"

#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "lib/base/error_detail.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/trace/allocation_count.h"

namespace faultline::trace {
namespace {

using ::faultline::v1::ErrorDetail;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kNow = 1'800'000'000;
constexpr int64_t kDay = 86400;
constexpr char kNotUtf8[] = "caf\xe9";

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

// Has every field, each within its limits.
v1::Trace GoodTrace() {
  return Parse<v1::Trace>(R"pb(
    trace_id: "run-1"
    project: "p"
    session_id: "s"
    start_time { seconds: 1800000000 nanos: 5 }
    end_time { seconds: 1800000000 nanos: 5 }
    task {
      id: "t"
      type: "qa"
      dataset: "d"
      input: "Où est-il? 東京 🙂"
      labels { key: "a.b_c-1" value: "v" }
      embedding: [ 0.5, -0.5 ]
      embedding_model: "e"
    }
    system {
      agent: "a"
      agent_version: "1"
      model: "m"
      prompt_strategy: "p"
      prompt_version: "2"
      toolset: "x"
      config { key: "Temp.x" value: "0" }
    }
    decisions {
      kind: KIND_ROUTE
      candidates { name: "m" score: -1.5 }
      candidates { name: "n" }
      chosen: "m"
      propensity: 1
      reason: "best"
      policy_version: 3
      step: -1
    }
    decisions { kind: KIND_TOOL chosen: "calculator" step: 1 }
    steps {
      kind: KIND_LLM
      name: "n"
      actor: "a"
      start_offset { seconds: 0 nanos: 1 }
      duration { seconds: 1 }
      input_tokens: 5
      output_tokens: 6
      cost: 0.01
    }
    steps {
      kind: KIND_TOOL
      status: STATUS_ERROR
      error_type: "timeout"
      error_message: "late"
      input: "{}"
      output: "o"
      attributes { key: "Hits" value: "3" }
    }
    memory {
      snapshot_id: "s"
      schema_version: "1"
      size: 3
      reads {
        record_id: "r"
        score: 0.5
        age { seconds: 10 }
        used: true
        version: "1"
        record_class: "c"
      }
      writes { record_id: "r" version: "2" record_class: "c" }
      skipped { record_id: "q" reason: "old" }
      stats { key: "stale_share" value: 0.5 }
    }
    evaluation {
      outcome: OUTCOME_FAIL
      score: -2
      evaluator: "judge"
      signals { key: "confidence" value: 1 }
      signals { key: "retrieval_score" value: 17 }
      cost: 0
      latency { seconds: 2 }
    }
    exposure {
      policy_version: 3
      interventions {
        intervention_id: "i"
        arm: ARM_HOLDOUT
        assignment_key: "k"
        treatment_probability: 0.5
      }
    }
    annotations {
      failure_mode: "m"
      culprit_step: 1
      culprit_component: "c"
      note: "n"
      annotator: "x"
    }
    keep_probability: 0.25
  )pb");
}

TraceValidator MakeValidator(const v1::TraceLimits& limits = {}) {
  auto validator = TraceValidator::Create(limits);
  EXPECT_OK(validator);
  return *std::move(validator);
}

std::optional<ErrorDetail> Check(const v1::Trace& trace,
                                 int embedding_dimension = 0) {
  return MakeValidator().CheckTrace(trace, "p", embedding_dimension,
                                    absl::FromUnixSeconds(kNow));
}

std::string Describe(const std::optional<ErrorDetail>& fault) {
  return fault.has_value() ? fault->ShortDebugString() : "no fault";
}

// One change of a good trace, and the fault that it makes.
struct FaultCase {
  std::string field;
  ErrorDetail::Reason reason;
  std::function<void(v1::Trace*)> change;
};

void PrintTo(const FaultCase& fault, std::ostream* out) {
  *out << fault.field << " " << ErrorDetail::Reason_Name(fault.reason);
}

class TraceFaultTest : public ::testing::TestWithParam<FaultCase> {};

TEST_P(TraceFaultTest, IsFoundAndExplained) {
  v1::Trace trace = GoodTrace();
  GetParam().change(&trace);
  const auto fault = Check(trace);
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->field(), GetParam().field) << Describe(fault);
  EXPECT_EQ(fault->reason(), GetParam().reason) << Describe(fault);
  EXPECT_NE(fault->limit(), "");
  EXPECT_NE(fault->message(), "");
  EXPECT_LE(fault->message().size(), 512);
  // It can be sent: a proto3 string that is not UTF-8 cannot be parsed.
  ErrorDetail parsed;
  EXPECT_TRUE(parsed.ParseFromString(fault->SerializeAsString()));
}

// Cases for a text of at most `limit` bytes.
std::vector<FaultCase> TextCases(
    const std::string& field, size_t limit,
    const std::function<std::string*(v1::Trace*)>& text) {
  return {
      {field, ErrorDetail::REASON_TOO_LONG,
       [=](v1::Trace* trace) { text(trace)->assign(limit + 1, 'x'); }},
      {field, ErrorDetail::REASON_NOT_UTF8,
       [=](v1::Trace* trace) { *text(trace) = kNotUtf8; }},
  };
}

// Cases for a map whose values are texts.
std::vector<FaultCase> MapCases(
    const std::string& field, bool upper_case_keys,
    const std::function<
        google::protobuf::Map<std::string, std::string>*(v1::Trace*)>& map) {
  std::vector<FaultCase> cases = {
      {field, ErrorDetail::REASON_TOO_MANY,
       [=](v1::Trace* trace) {
         for (int i = 0; i < 65; ++i) (*map(trace))[absl::StrCat("k", i)] = "";
       }},
      {field, ErrorDetail::REASON_TOO_LONG,
       [=](v1::Trace* trace) { (*map(trace))[std::string(65, 'k')] = ""; }},
      {field, ErrorDetail::REASON_MALFORMED,
       [=](v1::Trace* trace) { (*map(trace))[""] = ""; }},
      {field, ErrorDetail::REASON_MALFORMED,
       [=](v1::Trace* trace) { (*map(trace))["a b"] = ""; }},
      {field, ErrorDetail::REASON_MALFORMED,
       [=](v1::Trace* trace) { (*map(trace))[kNotUtf8] = ""; }},
      {field + "[\"key\"]", ErrorDetail::REASON_TOO_LONG,
       [=](v1::Trace* trace) { (*map(trace))["key"] = std::string(257, 'x'); }},
      {field + "[\"key\"]", ErrorDetail::REASON_NOT_UTF8,
       [=](v1::Trace* trace) { (*map(trace))["key"] = kNotUtf8; }},
  };
  if (!upper_case_keys) {
    cases.push_back({field, ErrorDetail::REASON_MALFORMED,
                     [=](v1::Trace* trace) { (*map(trace))["Key"] = ""; }});
  }
  return cases;
}

// Cases for a number that must be finite.
std::vector<FaultCase> FiniteCases(
    const std::string& field,
    const std::function<void(v1::Trace*, double)>& set) {
  std::vector<FaultCase> cases;
  for (const double value : {kNan, kInfinity, -kInfinity}) {
    cases.push_back({field, ErrorDetail::REASON_NOT_FINITE,
                     [=](v1::Trace* trace) { set(trace, value); }});
  }
  return cases;
}

std::vector<FaultCase> RangeCases(
    const std::string& field, const std::vector<double>& outside,
    const std::function<void(v1::Trace*, double)>& set) {
  std::vector<FaultCase> cases = FiniteCases(field, set);
  for (const double value : outside) {
    cases.push_back({field, ErrorDetail::REASON_OUT_OF_RANGE,
                     [=](v1::Trace* trace) { set(trace, value); }});
  }
  return cases;
}

std::vector<FaultCase> DurationCases(
    const std::string& field,
    const std::function<google::protobuf::Duration*(v1::Trace*)>& duration) {
  const auto set = [=](int64_t seconds, int32_t nanos) {
    return [=](v1::Trace* trace) {
      duration(trace)->set_seconds(seconds);
      duration(trace)->set_nanos(nanos);
    };
  };
  return {
      {field, ErrorDetail::REASON_OUT_OF_RANGE, set(-1, 0)},
      {field, ErrorDetail::REASON_OUT_OF_RANGE, set(0, -1)},
      {field, ErrorDetail::REASON_MALFORMED, set(0, 1'000'000'000)},
      {field, ErrorDetail::REASON_MALFORMED, set(315'576'000'001, 0)},
  };
}

FaultCase Required(const std::string& field,
                   std::function<void(v1::Trace*)> change) {
  return {field, ErrorDetail::REASON_REQUIRED, std::move(change)};
}

FaultCase TooMany(const std::string& field, int limit,
                  const std::function<void(v1::Trace*)>& add) {
  return {field, ErrorDetail::REASON_TOO_MANY, [=](v1::Trace* trace) {
            for (int i = 0; i <= limit; ++i) add(trace);
          }};
}

std::vector<FaultCase> TopLevelCases() {
  const auto id = [](const std::string& value) {
    return [=](v1::Trace* trace) { trace->set_trace_id(value); };
  };
  const auto start = [](int64_t seconds, int32_t nanos = 0) {
    return [=](v1::Trace* trace) {
      trace->mutable_start_time()->set_seconds(seconds);
      trace->mutable_start_time()->set_nanos(nanos);
    };
  };
  const auto end = [](int64_t seconds, int32_t nanos = 0) {
    return [=](v1::Trace* trace) {
      trace->mutable_end_time()->set_seconds(seconds);
      trace->mutable_end_time()->set_nanos(nanos);
    };
  };
  return {
      {"", ErrorDetail::REASON_TOO_LARGE,
       [](v1::Trace* trace) {
         for (int i = 0; i < 17; ++i) {
           v1::Step* step = trace->add_steps();
           step->set_kind(v1::Step::KIND_TOOL);
           step->set_output(std::string(65000, 'x'));
         }
       }},
      Required("trace_id", id("")),
      {"trace_id", ErrorDetail::REASON_TOO_LONG, id(std::string(129, 'x'))},
      {"trace_id", ErrorDetail::REASON_MALFORMED, id("a b")},
      {"trace_id", ErrorDetail::REASON_MALFORMED, id("a\x7f")},
      {"trace_id", ErrorDetail::REASON_MALFORMED, id("é")},
      {"trace_id", ErrorDetail::REASON_MALFORMED, id(std::string("a\0", 2))},
      {"project", ErrorDetail::REASON_MALFORMED,
       [](v1::Trace* trace) { trace->set_project(std::string(500, '\xff')); }},
      Required("start_time",
               [](v1::Trace* trace) { trace->clear_start_time(); }),
      {"start_time", ErrorDetail::REASON_BAD_TIME, start(0)},
      {"start_time", ErrorDetail::REASON_BAD_TIME, start(kNow, -1)},
      {"start_time", ErrorDetail::REASON_BAD_TIME, start(kNow, 1'000'000'000)},
      {"start_time", ErrorDetail::REASON_BAD_TIME, start(kNow + kDay + 1)},
      {"start_time", ErrorDetail::REASON_BAD_TIME, start(kNow * 1000)},
      {"start_time", ErrorDetail::REASON_BAD_TIME, start(INT64_MIN)},
      {"start_time", ErrorDetail::REASON_BAD_TIME, start(INT64_MAX)},
      {"end_time", ErrorDetail::REASON_BAD_TIME, end(kNow - 1)},
      {"end_time", ErrorDetail::REASON_BAD_TIME, end(kNow, 4)},
      {"end_time", ErrorDetail::REASON_BAD_TIME, end(kNow + 1, -1)},
      {"end_time", ErrorDetail::REASON_BAD_TIME, end(253'402'300'800)},
      TooMany("decisions", 256,
              [](v1::Trace* trace) { trace->add_decisions(); }),
      TooMany("steps", 2048, [](v1::Trace* trace) { trace->add_steps(); }),
      TooMany("annotations", 64,
              [](v1::Trace* trace) { trace->add_annotations(); }),
  };
}

std::vector<FaultCase> PartCases() {
  using T = v1::Trace;
  std::vector<FaultCase> all;
  const auto add = [&](const std::vector<FaultCase>& cases) {
    all.insert(all.end(), cases.begin(), cases.end());
  };
  add(TextCases("session_id", 128,
                [](T* t) { return t->mutable_session_id(); }));
  add(RangeCases("keep_probability", {0, -0.5, 1.5},
                 [](T* t, double v) { t->set_keep_probability(v); }));

  add(TextCases("task.id", 512,
                [](T* t) { return t->mutable_task()->mutable_id(); }));
  add(TextCases("task.type", 128,
                [](T* t) { return t->mutable_task()->mutable_type(); }));
  add(TextCases("task.dataset", 128,
                [](T* t) { return t->mutable_task()->mutable_dataset(); }));
  add(TextCases("task.input", 65536,
                [](T* t) { return t->mutable_task()->mutable_input(); }));
  add(MapCases("task.labels", false,
               [](T* t) { return t->mutable_task()->mutable_labels(); }));
  add(TextCases("task.embedding_model", 128, [](T* t) {
    return t->mutable_task()->mutable_embedding_model();
  }));
  add({Required("task.embedding_model",
                [](T* t) { t->mutable_task()->clear_embedding_model(); })});
  add({TooMany("task.embedding", 4096,
               [](T* t) { t->mutable_task()->add_embedding(0); })});
  add(FiniteCases("task.embedding[1]", [](T* t, double v) {
    t->mutable_task()->set_embedding(1, static_cast<float>(v));
  }));

  add(TextCases("system.agent", 128,
                [](T* t) { return t->mutable_system()->mutable_agent(); }));
  add(TextCases("system.agent_version", 128, [](T* t) {
    return t->mutable_system()->mutable_agent_version();
  }));
  add(TextCases("system.model", 128,
                [](T* t) { return t->mutable_system()->mutable_model(); }));
  add(TextCases("system.prompt_strategy", 128, [](T* t) {
    return t->mutable_system()->mutable_prompt_strategy();
  }));
  add(TextCases("system.prompt_version", 128, [](T* t) {
    return t->mutable_system()->mutable_prompt_version();
  }));
  add(TextCases("system.toolset", 128,
                [](T* t) { return t->mutable_system()->mutable_toolset(); }));
  add(MapCases("system.config", true,
               [](T* t) { return t->mutable_system()->mutable_config(); }));

  const auto decision = [](T* t) { return t->mutable_decisions(1); };
  add({Required("decisions[1].kind", [=](T* t) { decision(t)->clear_kind(); }),
       {"decisions[1].kind", ErrorDetail::REASON_UNKNOWN_ENUM,
        [=](T* t) {
          decision(t)->set_kind(static_cast<v1::Decision::Kind>(5));
        }},
       TooMany("decisions[1].candidates", 128,
               [=](T* t) { decision(t)->add_candidates(); }),
       Required("decisions[0].candidates[1].name",
                [](T* t) {
                  t->mutable_decisions(0)->mutable_candidates(1)->clear_name();
                }),
       Required("decisions[1].chosen",
                [=](T* t) { decision(t)->clear_chosen(); }),
       {"decisions[1].step", ErrorDetail::REASON_OUT_OF_RANGE,
        [=](T* t) { decision(t)->set_step(-2); }},
       {"decisions[1].step", ErrorDetail::REASON_OUT_OF_RANGE,
        [=](T* t) { decision(t)->set_step(2); }}});
  add(TextCases("decisions[0].candidates[1].name", 128, [](T* t) {
    return t->mutable_decisions(0)->mutable_candidates(1)->mutable_name();
  }));
  add(FiniteCases("decisions[0].candidates[0].score", [](T* t, double v) {
    t->mutable_decisions(0)->mutable_candidates(0)->set_score(v);
  }));
  add(TextCases("decisions[1].chosen", 128,
                [=](T* t) { return decision(t)->mutable_chosen(); }));
  add(RangeCases("decisions[1].propensity", {0, -1, 1.01},
                 [=](T* t, double v) { decision(t)->set_propensity(v); }));
  add(TextCases("decisions[1].reason", 512,
                [=](T* t) { return decision(t)->mutable_reason(); }));

  const auto step = [](T* t) { return t->mutable_steps(1); };
  add({Required("steps[1].kind", [=](T* t) { step(t)->clear_kind(); }),
       {"steps[1].kind", ErrorDetail::REASON_UNKNOWN_ENUM,
        [=](T* t) { step(t)->set_kind(static_cast<v1::Step::Kind>(8)); }},
       {"steps[1].kind", ErrorDetail::REASON_UNKNOWN_ENUM,
        [=](T* t) { step(t)->set_kind(static_cast<v1::Step::Kind>(-1)); }},
       {"steps[1].status", ErrorDetail::REASON_UNKNOWN_ENUM,
        [=](T* t) { step(t)->set_status(static_cast<v1::Step::Status>(3)); }}});
  add(TextCases("steps[1].name", 128,
                [=](T* t) { return step(t)->mutable_name(); }));
  add(TextCases("steps[1].actor", 128,
                [=](T* t) { return step(t)->mutable_actor(); }));
  add(DurationCases("steps[1].start_offset",
                    [=](T* t) { return step(t)->mutable_start_offset(); }));
  add(DurationCases("steps[1].duration",
                    [=](T* t) { return step(t)->mutable_duration(); }));
  add(TextCases("steps[1].error_type", 128,
                [=](T* t) { return step(t)->mutable_error_type(); }));
  add(TextCases("steps[1].error_message", 4096,
                [=](T* t) { return step(t)->mutable_error_message(); }));
  add(TextCases("steps[1].input", 65536,
                [=](T* t) { return step(t)->mutable_input(); }));
  add(TextCases("steps[1].output", 65536,
                [=](T* t) { return step(t)->mutable_output(); }));
  add(RangeCases("steps[1].cost", {-0.01},
                 [=](T* t, double v) { step(t)->set_cost(v); }));
  add(MapCases("steps[1].attributes", true,
               [=](T* t) { return step(t)->mutable_attributes(); }));

  const auto memory = [](T* t) { return t->mutable_memory(); };
  add({TooMany("memory.reads", 512, [=](T* t) { memory(t)->add_reads(); }),
       TooMany("memory.writes", 512, [=](T* t) { memory(t)->add_writes(); }),
       TooMany("memory.skipped", 512, [=](T* t) { memory(t)->add_skipped(); }),
       Required("memory.reads[0].record_id",
                [=](T* t) { memory(t)->mutable_reads(0)->clear_record_id(); }),
       Required("memory.writes[0].record_id",
                [=](T* t) { memory(t)->mutable_writes(0)->clear_record_id(); }),
       Required(
           "memory.skipped[0].record_id",
           [=](T* t) { memory(t)->mutable_skipped(0)->clear_record_id(); }),
       {"memory.stats", ErrorDetail::REASON_MALFORMED,
        [=](T* t) { (*memory(t)->mutable_stats())["Upper"] = 0; }},
       TooMany("memory.stats", 64, [=](T* t) {
         (*memory(t)->mutable_stats())[absl::StrCat(memory(t)->stats_size())] =
             0;
       })});
  add(TextCases("memory.snapshot_id", 128,
                [=](T* t) { return memory(t)->mutable_snapshot_id(); }));
  add(TextCases("memory.schema_version", 64,
                [=](T* t) { return memory(t)->mutable_schema_version(); }));
  add(TextCases("memory.reads[0].record_id", 128, [=](T* t) {
    return memory(t)->mutable_reads(0)->mutable_record_id();
  }));
  add(FiniteCases("memory.reads[0].score", [=](T* t, double v) {
    memory(t)->mutable_reads(0)->set_score(v);
  }));
  add(DurationCases("memory.reads[0].age", [=](T* t) {
    return memory(t)->mutable_reads(0)->mutable_age();
  }));
  add(TextCases("memory.reads[0].version", 64, [=](T* t) {
    return memory(t)->mutable_reads(0)->mutable_version();
  }));
  add(TextCases("memory.reads[0].record_class", 128, [=](T* t) {
    return memory(t)->mutable_reads(0)->mutable_record_class();
  }));
  add(TextCases("memory.writes[0].record_id", 128, [=](T* t) {
    return memory(t)->mutable_writes(0)->mutable_record_id();
  }));
  add(TextCases("memory.writes[0].version", 64, [=](T* t) {
    return memory(t)->mutable_writes(0)->mutable_version();
  }));
  add(TextCases("memory.writes[0].record_class", 128, [=](T* t) {
    return memory(t)->mutable_writes(0)->mutable_record_class();
  }));
  add(TextCases("memory.skipped[0].record_id", 128, [=](T* t) {
    return memory(t)->mutable_skipped(0)->mutable_record_id();
  }));
  add(TextCases("memory.skipped[0].reason", 256, [=](T* t) {
    return memory(t)->mutable_skipped(0)->mutable_reason();
  }));
  add(FiniteCases("memory.stats[\"x\"]", [=](T* t, double v) {
    (*memory(t)->mutable_stats())["x"] = v;
  }));

  const auto evaluation = [](T* t) { return t->mutable_evaluation(); };
  add({{"evaluation.outcome", ErrorDetail::REASON_UNKNOWN_ENUM,
        [=](T* t) { evaluation(t)->set_outcome(static_cast<v1::Outcome>(4)); }},
       {"evaluation.signals", ErrorDetail::REASON_MALFORMED,
        [=](T* t) { (*evaluation(t)->mutable_signals())["Upper"] = 0; }},
       TooMany("evaluation.signals", 64, [=](T* t) {
         (*evaluation(t)->mutable_signals())[absl::StrCat(
             evaluation(t)->signals_size())] = 0;
       })});
  add(FiniteCases("evaluation.score",
                  [=](T* t, double v) { evaluation(t)->set_score(v); }));
  add(TextCases("evaluation.evaluator", 128,
                [=](T* t) { return evaluation(t)->mutable_evaluator(); }));
  add(FiniteCases("evaluation.signals[\"x\"]", [=](T* t, double v) {
    (*evaluation(t)->mutable_signals())["x"] = v;
  }));
  add(RangeCases("evaluation.signals[\"confidence\"]", {-0.1, 1.1, 80},
                 [=](T* t, double v) {
                   (*evaluation(t)->mutable_signals())["confidence"] = v;
                 }));
  add(RangeCases("evaluation.cost", {-1},
                 [=](T* t, double v) { evaluation(t)->set_cost(v); }));
  add(DurationCases("evaluation.latency",
                    [=](T* t) { return evaluation(t)->mutable_latency(); }));

  const auto exposed = [](T* t) {
    return t->mutable_exposure()->mutable_interventions(0);
  };
  add({TooMany("exposure.interventions", 128,
               [=](T* t) { t->mutable_exposure()->add_interventions(); }),
       Required("exposure.interventions[0].intervention_id",
                [=](T* t) { exposed(t)->clear_intervention_id(); }),
       Required("exposure.interventions[0].arm",
                [=](T* t) { exposed(t)->clear_arm(); }),
       {"exposure.interventions[0].arm", ErrorDetail::REASON_UNKNOWN_ENUM,
        [=](T* t) { exposed(t)->set_arm(static_cast<v1::Arm>(3)); }}});
  add(TextCases("exposure.interventions[0].intervention_id", 128,
                [=](T* t) { return exposed(t)->mutable_intervention_id(); }));
  add(TextCases("exposure.interventions[0].assignment_key", 256,
                [=](T* t) { return exposed(t)->mutable_assignment_key(); }));
  add(RangeCases(
      "exposure.interventions[0].treatment_probability", {0, 2},
      [=](T* t, double v) { exposed(t)->set_treatment_probability(v); }));

  const auto annotation = [](T* t) { return t->mutable_annotations(0); };
  add({Required("annotations[0].annotator",
                [=](T* t) { annotation(t)->clear_annotator(); }),
       {"annotations[0].culprit_step", ErrorDetail::REASON_OUT_OF_RANGE,
        [=](T* t) { annotation(t)->set_culprit_step(-1); }},
       {"annotations[0].culprit_step", ErrorDetail::REASON_OUT_OF_RANGE,
        [=](T* t) { annotation(t)->set_culprit_step(2); }}});
  add(TextCases("annotations[0].failure_mode", 128,
                [=](T* t) { return annotation(t)->mutable_failure_mode(); }));
  add(TextCases("annotations[0].culprit_component", 128, [=](T* t) {
    return annotation(t)->mutable_culprit_component();
  }));
  add(TextCases("annotations[0].note", 4096,
                [=](T* t) { return annotation(t)->mutable_note(); }));
  add(TextCases("annotations[0].annotator", 128,
                [=](T* t) { return annotation(t)->mutable_annotator(); }));
  return all;
}

INSTANTIATE_TEST_SUITE_P(TopLevel, TraceFaultTest,
                         ::testing::ValuesIn(TopLevelCases()));
INSTANTIATE_TEST_SUITE_P(Parts, TraceFaultTest,
                         ::testing::ValuesIn(PartCases()));

TEST(TraceValidatorTest, AGoodTraceHasNoFaultAndCostsNoAllocation) {
  // As it comes from the wire: a trace from text still builds its maps.
  v1::Trace trace;
  ASSERT_TRUE(trace.ParseFromString(GoodTrace().SerializeAsString()));
  const TraceValidator validator = MakeValidator();
  const int before = testing::AllocationCount();
  const auto fault =
      validator.CheckTrace(trace, "p", 2, absl::FromUnixSeconds(kNow));
  const int after = testing::AllocationCount();
  EXPECT_EQ(after - before, 0);
  EXPECT_FALSE(fault.has_value()) << Describe(fault);
}

TEST(TraceValidatorTest, TheLeastTraceHasAnIdAndAStart) {
  v1::Trace trace;
  trace.set_trace_id("~!");
  trace.mutable_start_time()->set_seconds(946'684'800);
  EXPECT_EQ(Describe(Check(trace)), "no fault");
}

TEST(TraceValidatorTest, EveryLimitItselfIsAllowed) {
  v1::Trace trace = GoodTrace();
  trace.set_trace_id(std::string(128, 'x'));
  trace.mutable_start_time()->set_seconds(kNow + kDay);
  trace.mutable_end_time()->set_seconds(253'402'300'799);
  trace.mutable_task()->set_id(std::string(512, 'x'));
  trace.mutable_task()->set_input(std::string(65536, 'x'));
  auto& labels = *trace.mutable_task()->mutable_labels();
  for (int i = labels.size(); i < 64; ++i) {
    labels[absl::StrCat(std::string(60, 'k'), i)] = std::string(256, 'v');
  }
  trace.mutable_decisions(1)->set_propensity(1e-300);
  for (int i = trace.decisions_size(); i < 256; ++i) {
    *trace.add_decisions() = trace.decisions(1);
  }
  for (int i = trace.steps_size(); i < 2048; ++i) {
    trace.add_steps()->set_kind(v1::Step::KIND_USER);
  }
  trace.mutable_steps(0)->mutable_duration()->set_seconds(315'576'000'000);
  EXPECT_EQ(Describe(Check(trace)), "no fault");
}

TEST(TraceValidatorTest, AFaultNamesFieldLimitAndWhatWasSeen) {
  v1::Trace trace = GoodTrace();
  trace.mutable_steps(1)->set_name(std::string(700, 'x'));
  const auto fault = Check(trace);
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->field(), "steps[1].name");
  EXPECT_EQ(fault->limit(), "at most 128 bytes");
  EXPECT_EQ(fault->message(), "has 700 bytes; shorten it");
}

TEST(TraceValidatorTest, AnEmbeddingHasTheProjectsDimension) {
  const v1::Trace trace = GoodTrace();
  EXPECT_EQ(Describe(Check(trace, 2)), "no fault");
  const auto fault = Check(trace, 3);
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->reason(), ErrorDetail::REASON_DIMENSION_MISMATCH);
  EXPECT_EQ(fault->field(), "task.embedding");
  EXPECT_THAT(fault->limit(), HasSubstr("3"));
  EXPECT_THAT(fault->message(), HasSubstr("has 2"));
  v1::Trace without = trace;
  without.mutable_task()->clear_embedding();
  EXPECT_EQ(Describe(Check(without, 3)), "no fault");
}

TEST(TraceValidatorTest, ConfiguredLimitsReplaceTheDefaults) {
  v1::TraceLimits limits;
  limits.set_max_trace_bytes(4096);
  limits.set_max_steps(1);
  limits.set_max_text_bytes(3);
  const TraceValidator validator = MakeValidator(limits);
  const auto check = [&](const v1::Trace& trace) {
    const auto fault =
        validator.CheckTrace(trace, "p", 0, absl::FromUnixSeconds(kNow));
    return fault.has_value() ? fault->field() + ": " + fault->limit() : "";
  };
  v1::Trace trace;
  trace.set_trace_id("a");
  trace.mutable_start_time()->set_seconds(kNow);
  trace.mutable_task()->set_input("1234");
  EXPECT_EQ(check(trace), "task.input: at most 3 bytes");
  trace.mutable_task()->set_input("123");
  EXPECT_EQ(check(trace), "");
  for (int i = 0; i < 2; ++i) trace.add_steps()->set_kind(v1::Step::KIND_LLM);
  EXPECT_EQ(check(trace), "steps: at most 1 elements");
  trace.mutable_steps(0)->set_error_message(std::string(4096, 'x'));
  EXPECT_EQ(check(trace), ": at most 4096 bytes");
}

TEST(TraceValidatorTest, LimitsOutOfTheirRangeAreRefused) {
  v1::TraceLimits limits;
  limits.set_max_trace_bytes(100);
  EXPECT_THAT(TraceValidator::Create(limits),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("max_trace_bytes: is 100")));
  limits.clear_max_trace_bytes();
  limits.set_max_steps(65537);
  EXPECT_THAT(TraceValidator::Create(limits),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("max_steps")));
}

TEST(TraceValidatorTest, Utf8IsWhatUnicodeSaysItIs) {
  v1::Trace trace = GoodTrace();
  const auto holds = [&](const std::string& text) {
    // At several offsets, for the part that reads eight bytes at a time.
    bool all = true;
    bool none = true;
    for (int before = 0; before < 10; ++before) {
      trace.mutable_task()->set_input(std::string(before, 'a') + text + "tail");
      const bool good = !Check(trace).has_value();
      all &= good;
      none &= !good;
    }
    EXPECT_TRUE(all || none) << ::testing::PrintToString(text);
    return all;
  };
  for (const std::string& good :
       {std::string("\x7f"), std::string("\0", 1), std::string("\xc2\x80"),
        std::string("\xdf\xbf"), std::string("\xe0\xa0\x80"),
        std::string("\xed\x9f\xbf"), std::string("\xee\x80\x80"),
        std::string("\xef\xbf\xbf"), std::string("\xf0\x90\x80\x80"),
        std::string("\xf4\x8f\xbf\xbf"), std::string("éééééééé")}) {
    EXPECT_TRUE(holds(good)) << ::testing::PrintToString(good);
  }
  for (const std::string bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41",
        "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "\xfe"}) {
    EXPECT_FALSE(holds(bad)) << ::testing::PrintToString(bad);
  }
  // Cut short by the end of the text.
  for (const std::string cut : {"\xc2", "\xe2\x82", "\xf0\x90\x80"}) {
    trace.mutable_task()->set_input(cut);
    EXPECT_TRUE(Check(trace).has_value());
  }
}

std::string FieldOf(const std::optional<ErrorDetail>& fault) {
  return fault.has_value()
             ? absl::StrCat(fault->field(), " ",
                            ErrorDetail::Reason_Name(fault->reason()))
             : "no fault";
}

TEST(OutcomeTest, IsCheckedFieldByField) {
  const auto good = Parse<v1::OutcomeRecord>(R"pb(
    trace_id: "run-1"
    evaluation { outcome: OUTCOME_PASS evaluator: "judge" score: 1 }
    observe_time { seconds: 1800000000 }
  )pb");
  const auto after =
      [&](const std::function<void(v1::OutcomeRecord*)>& change) {
        v1::OutcomeRecord record = good;
        change(&record);
        return FieldOf(
            MakeValidator().CheckOutcome(record, absl::FromUnixSeconds(kNow)));
      };
  EXPECT_EQ(after([](v1::OutcomeRecord*) {}), "no fault");
  EXPECT_EQ(after([](auto* r) { r->clear_observe_time(); }), "no fault");
  EXPECT_EQ(after([](auto* r) { r->clear_trace_id(); }),
            "trace_id REASON_REQUIRED");
  EXPECT_EQ(after([](auto* r) { r->clear_evaluation(); }),
            "evaluation.outcome REASON_REQUIRED");
  EXPECT_EQ(after([](auto* r) { r->mutable_evaluation()->clear_outcome(); }),
            "evaluation.outcome REASON_REQUIRED");
  EXPECT_EQ(after([](auto* r) {
              r->mutable_evaluation()->set_outcome(static_cast<v1::Outcome>(9));
            }),
            "evaluation.outcome REASON_UNKNOWN_ENUM");
  EXPECT_EQ(after([](auto* r) { r->mutable_evaluation()->set_score(kNan); }),
            "evaluation.score REASON_NOT_FINITE");
  EXPECT_EQ(after([](auto* r) {
              r->mutable_observe_time()->set_seconds(kNow + kDay + 1);
            }),
            "observe_time REASON_BAD_TIME");
}

TEST(AnnotationTest, IsCheckedFieldByField) {
  const auto good = Parse<v1::AnnotationRecord>(R"pb(
    trace_id: "run-1"
    annotation { annotator: "x" culprit_step: 5000 }
  )pb");
  const auto after =
      [&](const std::function<void(v1::AnnotationRecord*)>& change) {
        v1::AnnotationRecord record = good;
        change(&record);
        return FieldOf(MakeValidator().CheckAnnotation(record));
      };
  EXPECT_EQ(after([](v1::AnnotationRecord*) {}), "no fault");
  EXPECT_EQ(after([](auto* r) { r->set_trace_id("a b"); }),
            "trace_id REASON_MALFORMED");
  EXPECT_EQ(after([](auto* r) { r->clear_annotation(); }),
            "annotation REASON_REQUIRED");
  EXPECT_EQ(after([](auto* r) { r->mutable_annotation()->clear_annotator(); }),
            "annotation.annotator REASON_REQUIRED");
  EXPECT_EQ(
      after([](auto* r) { r->mutable_annotation()->set_culprit_step(-1); }),
      "annotation.culprit_step REASON_OUT_OF_RANGE");
}

TEST(ProjectNameTest, HasTheFormThatTraceProtoGives) {
  for (const std::string& good :
       {std::string("p"), std::string("0-a_b"), std::string(63, 'x')}) {
    EXPECT_EQ(FieldOf(CheckProjectName(good)), "no fault") << good;
  }
  EXPECT_EQ(FieldOf(CheckProjectName("")), "project REASON_REQUIRED");
  EXPECT_EQ(FieldOf(CheckProjectName(std::string(64, 'x'))),
            "project REASON_TOO_LONG");
  for (const char* bad : {"-a", "_a", "A", "a b", "a/b", "é", "a\n"}) {
    EXPECT_EQ(FieldOf(CheckProjectName(bad)), "project REASON_MALFORMED")
        << bad;
  }
}

v1::Piece GoodPiece(v1::PieceOrder order) {
  v1::Piece piece;
  piece.set_trace_id("run-1");
  piece.set_id("0000000007");
  piece.set_parent_id("0000000001");
  piece.set_order(order);
  *piece.mutable_part() = GoodTrace();
  return piece;
}

std::optional<ErrorDetail> CheckPiece(const v1::Piece& piece) {
  const auto validator = TraceValidator::Create(v1::TraceLimits());
  EXPECT_OK(validator);
  return validator->CheckPiece(piece, "p", 0, absl::FromUnixSeconds(kNow));
}

TEST(PieceFaultTest, AGoodPieceHasNone) {
  EXPECT_FALSE(CheckPiece(GoodPiece(v1::PIECE_ORDER_ID)).has_value());
  EXPECT_FALSE(CheckPiece(GoodPiece(v1::PIECE_ORDER_TIME)).has_value());
}

TEST(PieceFaultTest, APieceMayLeaveOutWhatTheRunHasOnce) {
  v1::Piece piece = GoodPiece(v1::PIECE_ORDER_ID);
  piece.mutable_part()->clear_start_time();
  piece.mutable_part()->clear_trace_id();
  piece.mutable_part()->clear_project();
  piece.clear_parent_id();
  EXPECT_FALSE(CheckPiece(piece).has_value());
  piece.clear_part();
  EXPECT_FALSE(CheckPiece(piece).has_value());
}

TEST(PieceFaultTest, IsFoundAndNamed) {
  const auto field = [](const std::function<void(v1::Piece*)>& spoil,
                        v1::PieceOrder order = v1::PIECE_ORDER_ID) {
    v1::Piece piece = GoodPiece(order);
    spoil(&piece);
    const auto fault = CheckPiece(piece);
    return fault.has_value() ? fault->field() : "none";
  };
  EXPECT_EQ(field([](auto* p) { p->clear_trace_id(); }), "trace_id");
  EXPECT_EQ(field([](auto* p) { p->set_id("a b"); }), "id");
  EXPECT_EQ(field([](auto* p) { p->set_parent_id("\n"); }), "parent_id");
  EXPECT_EQ(field([](auto* p) { p->mutable_part()->set_trace_id("other"); }),
            "part.trace_id");
  EXPECT_EQ(field([](auto* p) { p->mutable_part()->set_project("other"); }),
            "part.project");
  EXPECT_EQ(
      field([](auto* p) { p->mutable_part()->mutable_steps(1)->clear_kind(); }),
      "part.steps[1].kind");
  EXPECT_EQ(field([](auto* p) {
              p->mutable_part()->mutable_decisions(1)->set_step(2);
            }),
            "part.decisions[1].step");
  EXPECT_EQ(
      field([](auto* p) {
        p->mutable_part()->mutable_task()->set_input(std::string(2 << 20, 'x'));
      }),
      "part");
  // A span has its own times, and what it had to cut.
  const auto no_start = [](auto* p) { p->mutable_part()->clear_start_time(); };
  const auto cut = [](auto* p) { p->mutable_part()->set_left_out(1); };
  EXPECT_EQ(field(no_start, v1::PIECE_ORDER_TIME), "part.start_time");
  EXPECT_EQ(field(cut, v1::PIECE_ORDER_TIME), "none");
  EXPECT_EQ(field(cut), "part.left_out");
}

TEST(ServerFieldTest, MustBeEmptyInWhatIsSent) {
  const auto validator = TraceValidator::Create(v1::TraceLimits());
  ASSERT_OK(validator);
  const absl::Time now = absl::FromUnixSeconds(kNow);
  v1::Trace trace = GoodTrace();
  trace.set_closing(v1::CLOSING_IDLE);
  EXPECT_EQ(validator->CheckTrace(trace, "p", 0, now)->field(), "closing");
  trace.clear_closing();
  trace.set_left_out(1);
  EXPECT_EQ(validator->CheckTrace(trace, "p", 0, now)->field(), "left_out");
}

}  // namespace
}  // namespace faultline::trace
