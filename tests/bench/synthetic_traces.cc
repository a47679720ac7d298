#include "tests/bench/synthetic_traces.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace faultline::bench {
namespace {

constexpr const char* kTools[] = {"search",    "fetch_page", "run_query",
                                  "send_mail", "read_file",  "book_ticket",
                                  "calculate", "translate"};
constexpr const char* kErrors[] = {"timeout",      "bad_argument", "denied",
                                   "not_found",    "rate_limit",   "schema",
                                   "empty_result", "conflict"};
constexpr const char* kTypes[] = {"travel",  "support", "coding",
                                  "finance", "search",  "writing"};
constexpr const char* kModels[] = {"small", "medium", "large"};

std::string Words(int count, base::Random* random) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", "word", random->Below(400));
  }
  return text;
}

}  // namespace

v1::Trace MakeSyntheticTrace(uint64_t i, uint64_t seed) {
  base::Random random(base::Mix64(seed) ^ base::Mix64(i));
  v1::Trace trace;
  trace.set_trace_id(absl::StrCat("bench-", seed, "-", i));
  trace.mutable_start_time()->set_seconds(1'700'000'000 +
                                          static_cast<int64_t>(i));
  const auto type = static_cast<int>(random.Below(6));
  const auto model = static_cast<int>(random.Below(3));
  trace.mutable_task()->set_type(kTypes[type]);
  trace.mutable_task()->set_id(absl::StrCat("task-", random.Below(5000)));
  trace.mutable_task()->set_input(Words(40, &random));
  trace.mutable_system()->set_agent("bench-agent");
  trace.mutable_system()->set_model(kModels[model]);
  trace.mutable_system()->set_prompt_strategy("plan");
  v1::Decision& route = *trace.add_decisions();
  route.set_kind(v1::Decision::KIND_ROUTE);
  for (const char* name : kModels) route.add_candidates()->set_name(name);
  route.set_chosen(kModels[model]);
  route.set_propensity(1.0 / 3);

  // A mode strikes where its task type meets its model.
  const int mode = (type + model) % 8;
  const bool struck = random.Bernoulli(mode < 4 ? 0.5 : 0.15);
  const bool failed = struck || random.Bernoulli(0.15);
  for (int step = 0; step < 6; ++step) {
    v1::Step& think = *trace.add_steps();
    think.set_kind(v1::Step::KIND_LLM);
    think.set_name("think");
    think.set_status(v1::Step::STATUS_OK);
    think.set_output(Words(12, &random));
    think.set_input_tokens(500 + random.Below(500));
    think.set_output_tokens(50 + random.Below(100));
    v1::Step& call = *trace.add_steps();
    call.set_kind(v1::Step::KIND_TOOL);
    const bool bad = struck && step >= 2 && step <= 4;
    call.set_name(kTools[bad ? mode : (type + random.Below(3)) % 8]);
    call.set_input(absl::StrCat("{\"query\":\"", Words(3, &random), "\"}"));
    call.set_status(bad ? v1::Step::STATUS_ERROR : v1::Step::STATUS_OK);
    if (bad) call.set_error_type(kErrors[mode]);
    call.set_output(Words(12, &random));
  }
  trace.mutable_evaluation()->set_outcome(failed ? v1::OUTCOME_FAIL
                                                 : v1::OUTCOME_PASS);
  (*trace.mutable_evaluation()->mutable_signals())["confidence"] =
      random.Uniform();
  return trace;
}

}  // namespace faultline::bench
