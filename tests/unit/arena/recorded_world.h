#ifndef FAULTLINE_TESTS_UNIT_ARENA_RECORDED_WORLD_H_
#define FAULTLINE_TESTS_UNIT_ARENA_RECORDED_WORLD_H_

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::testing {

// A recorded run of `model` on task `id` of `type`.
inline v1::Trace MakeRun(const std::string& type, const std::string& id,
                         const std::string& model, int trial, bool failed) {
  v1::Trace run;
  run.set_trace_id(absl::StrCat(type, "/", id, "/", model, "/", trial));
  run.mutable_task()->set_id(id);
  run.mutable_task()->set_type(type);
  run.mutable_task()->set_dataset("made up");
  run.mutable_task()->set_input(absl::StrCat("do the ", type));
  run.mutable_system()->set_model(model);
  run.mutable_system()->set_agent("agent");
  run.mutable_system()->set_prompt_strategy("plain");
  run.mutable_evaluation()->set_outcome(failed ? v1::OUTCOME_FAIL
                                               : v1::OUTCOME_PASS);
  return run;
}

// Tasks of two types, `per_type` each, two trials of models a and b. Model a
// fails on every task of type x, b on every one of type y, and both do in the
// first trial of each fourth task.
inline std::vector<v1::Trace> MakeRuns(int per_type) {
  std::vector<v1::Trace> runs;
  for (int task = 0; task < per_type; ++task) {
    for (const char* type : {"x", "y"}) {
      for (const char* model : {"a", "b"}) {
        const bool weak = (*type == 'x') == (*model == 'a');
        for (int trial = 0; trial < 2; ++trial) {
          runs.push_back(MakeRun(type, absl::StrCat(type, task), model, trial,
                                 weak || (trial == 0 && task % 4 == 0)));
        }
      }
    }
  }
  return runs;
}

}  // namespace faultline::testing

#endif  // FAULTLINE_TESTS_UNIT_ARENA_RECORDED_WORLD_H_
