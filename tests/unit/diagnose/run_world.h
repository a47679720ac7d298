#ifndef FAULTLINE_TESTS_UNIT_DIAGNOSE_RUN_WORLD_H_
#define FAULTLINE_TESTS_UNIT_DIAGNOSE_RUN_WORLD_H_

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/diagnoser.h"
#include "lib/embedding/run.h"

namespace faultline::testing {

// A window of synthetic runs. A test draws traces, fills them in and adds
// them; the world extracts the runs and deals out the sides. Not thread-safe.
class RunWorld {
 public:
  explicit RunWorld(uint64_t seed) : random_(seed), seed_(seed) {}

  base::Random& random() { return random_; }

  // One of the items.
  std::string Pick(const std::vector<std::string>& items) {
    return items[random_.Below(items.size())];
  }

  // A run with task type, input and model; it also says that it was routed to
  // the model.
  v1::Trace Draw(const std::string& type, const std::string& input,
                 const std::string& model) {
    v1::Trace trace;
    trace.set_trace_id(absl::StrCat("w", seed_, "-", traces_.size()));
    trace.mutable_task()->set_type(type);
    trace.mutable_task()->set_input(input);
    trace.mutable_system()->set_model(model);
    v1::Decision& route = *trace.add_decisions();
    route.set_kind(v1::Decision::KIND_ROUTE);
    route.set_chosen(model);
    return trace;
  }

  static v1::Step& AddStep(v1::Step::Kind kind, const std::string& name,
                           v1::Trace* trace) {
    v1::Step& step = *trace->add_steps();
    step.set_kind(kind);
    step.set_name(name);
    step.set_status(v1::Step::STATUS_OK);
    return step;
  }

  static v1::Step& AddFailedStep(v1::Step::Kind kind, const std::string& name,
                                 const std::string& error, v1::Trace* trace) {
    v1::Step& step = AddStep(kind, name, trace);
    step.set_status(v1::Step::STATUS_ERROR);
    step.set_error_type(error);
    return step;
  }

  // Adds the run with its outcome.
  void Add(v1::Trace trace, bool failed) {
    trace.mutable_evaluation()->set_outcome(failed ? v1::OUTCOME_FAIL
                                                   : v1::OUTCOME_PASS);
    runs_.push_back(embedding::ExtractRun(trace, &names_));
    runs_.back().sequence = runs_.size();
    discovery_.push_back(IsDiscovery(trace));
    traces_.push_back(std::move(trace));
  }

  // The side that the run is dealt.
  static bool IsDiscovery(const v1::Trace& trace) {
    return base::ToUnitInterval(base::Hash64(trace.trace_id(), 7)) < 0.6;
  }

  using Choice = std::function<bool(const v1::Trace& trace)>;

  // Failed runs that `chosen` picks, as a cluster.
  diagnose::Subject MakeSubject(const Choice& chosen) const {
    diagnose::Subject subject;
    subject.cluster = "projects/p/clusters/c";
    subject.cohesion = 0.9;
    subject.enrichment_p = 0.001;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (!runs_[i].failed() || !chosen(traces_[i])) continue;
      (discovery_[i] ? subject.members : subject.held_out_members)
          .push_back(static_cast<int32_t>(i));
    }
    subject.region = subject.members;
    return subject;
  }

  std::vector<const embedding::Run*> runs() const {
    std::vector<const embedding::Run*> runs;
    for (const embedding::Run& run : runs_) runs.push_back(&run);
    return runs;
  }
  const std::vector<bool>& discovery() const { return discovery_; }
  const embedding::FeatureNames& names() const { return names_; }
  const std::deque<v1::Trace>& traces() const { return traces_; }

  diagnose::Window window() const { return {runs(), discovery_, &names_}; }

  diagnose::DiagnosisInput input() const {
    diagnose::DiagnosisInput input;
    input.runs = runs();
    input.discovery = discovery_;
    input.names = &names_;
    input.tick = 3;
    return input;
  }

 private:
  base::Random random_;
  const uint64_t seed_;
  std::deque<v1::Trace> traces_;  // addresses stay
  std::deque<embedding::Run> runs_;
  std::vector<bool> discovery_;
  embedding::FeatureNames names_;
};

}  // namespace faultline::testing

#endif  // FAULTLINE_TESTS_UNIT_DIAGNOSE_RUN_WORLD_H_
