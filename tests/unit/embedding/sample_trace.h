#ifndef FAULTLINE_TESTS_UNIT_EMBEDDING_SAMPLE_TRACE_H_
#define FAULTLINE_TESTS_UNIT_EMBEDDING_SAMPLE_TRACE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "faultline/v1/trace.pb.h"
#include "lib/embedding/embedder.h"
#include "lib/embedding/run.h"

namespace faultline::embedding {

inline v1::Step* AddStep(v1::Step::Kind kind, absl::string_view name,
                         v1::Trace* trace) {
  v1::Step* step = trace->add_steps();
  step->set_kind(kind);
  step->set_name(std::string(name));
  step->set_status(v1::Step::STATUS_OK);
  return step;
}

inline void Fail(absl::string_view type, v1::Step* step) {
  step->set_status(v1::Step::STATUS_ERROR);
  step->set_error_type(std::string(type));
}

// A run that gives every channel something to say.
inline v1::Trace SampleTrace() {
  v1::Trace trace;
  trace.set_trace_id("run-1");
  trace.mutable_start_time()->set_seconds(1'700'000'000);
  trace.mutable_end_time()->set_seconds(1'700'000'012);

  v1::Task* task = trace.mutable_task();
  task->set_id("task-17");
  task->set_type("refund");
  task->set_dataset("shop");
  task->set_input("Is Ann not taller than Bob?");
  (*task->mutable_labels())["language"] = "en";

  v1::System* system = trace.mutable_system();
  system->set_agent("clerk");
  system->set_model("small");
  system->set_prompt_strategy("terse");
  system->set_prompt_version("3");
  (*system->mutable_config())["temperature"] = "0";

  v1::Decision* decision = trace.add_decisions();
  decision->set_kind(v1::Decision::KIND_ROUTE);
  decision->set_chosen("small");

  AddStep(v1::Step::KIND_USER, "", &trace);
  AddStep(v1::Step::KIND_LLM, "respond", &trace)->set_output_tokens(40);
  Fail("bad_argument", AddStep(v1::Step::KIND_TOOL, "get_order_17", &trace));
  AddStep(v1::Step::KIND_LLM, "respond", &trace)->set_output_tokens(30);
  AddStep(v1::Step::KIND_TOOL, "get_order_18", &trace);
  v1::Step* search = AddStep(v1::Step::KIND_RETRIEVAL, "Search", &trace);
  (*search->mutable_attributes())["retrieval.hits"] = "0";

  v1::MemoryState* memory = trace.mutable_memory();
  memory->set_snapshot_id("snapshot-9");
  memory->set_schema_version("2");
  memory->set_size(120);
  (*memory->mutable_stats())["stale_share"] = 0.3;
  v1::MemoryState::Read* read = memory->add_reads();
  read->set_record_id("r1");
  read->mutable_age()->set_seconds(7200);
  read->set_used(true);

  v1::Evaluation* evaluation = trace.mutable_evaluation();
  evaluation->set_outcome(v1::OUTCOME_FAIL);
  (*evaluation->mutable_signals())["confidence"] = 0.9;
  return trace;
}

inline std::vector<const Run*> Pointers(const std::vector<Run>& runs) {
  std::vector<const Run*> pointers;
  pointers.reserve(runs.size());
  for (const Run& run : runs) pointers.push_back(&run);
  return pointers;
}

inline std::vector<float> EmbedRun(const Embedder& embedder, const Run& run,
                                   Map map,
                                   const ContrastWeights* contrast = nullptr) {
  std::vector<float> vector(embedder.dimension());
  embedder.Embed(run, map, contrast, absl::MakeSpan(vector));
  return vector;
}

inline double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

}  // namespace faultline::embedding

#endif  // FAULTLINE_TESTS_UNIT_EMBEDDING_SAMPLE_TRACE_H_
