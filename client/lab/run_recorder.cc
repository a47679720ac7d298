#include "client/lab/run_recorder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/lab/arithmetic_agent.h"

namespace faultline::lab {
namespace {

constexpr int kMaxNumbers = 5;  // that the label `numbers` tells apart

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

// To the microsecond, so that offsets and durations add up.
absl::Duration Draw(Price price, base::Random* random) {
  return absl::Microseconds(static_cast<int64_t>(
      1000 * price.milliseconds * (.8 + .4 * random->Uniform())));
}

}  // namespace

void SetDuration(absl::Duration time, google::protobuf::Duration* duration) {
  const int64_t nanos = absl::ToInt64Nanoseconds(time);
  duration->set_seconds(nanos / 1000000000);
  duration->set_nanos(static_cast<int32_t>(nanos % 1000000000));
}

RunRecorder::RunRecorder(const Problem& problem, absl::Time start)
    : start_(start),
      random_(problem.seed),
      elapsed_(Draw(kPromptPrice, &random_)),
      cost_(kPromptPrice.dollars) {
  trace_.set_trace_id(problem.id);
  SetTime(start, trace_.mutable_start_time());
  v1::Task* task = trace_.mutable_task();
  task->set_id(problem.id);
  task->set_type(FamilyName(problem.family));
  task->set_dataset("lab");
  task->set_input(problem.question);
  (*task->mutable_labels())["numbers"] =
      absl::StrCat(std::min(CountNumbers(problem.question), kMaxNumbers));
  v1::System* system = trace_.mutable_system();
  system->set_agent("lab");
  system->set_agent_version("1");
}

v1::Step* RunRecorder::AddStep(v1::Step::Kind kind, absl::string_view name,
                               Price price, absl::string_view input,
                               absl::string_view output) {
  v1::Step* step = trace_.add_steps();
  step->set_kind(kind);
  step->set_name(name.data(), name.size());
  step->set_actor(trace_.system().model());
  step->set_status(v1::Step::STATUS_OK);
  step->set_input(input.data(), input.size());
  step->set_output(output.data(), output.size());
  step->set_cost(price.dollars);
  const absl::Duration time = Draw(price, &random_);
  SetDuration(elapsed_, step->mutable_start_offset());
  SetDuration(time, step->mutable_duration());
  elapsed_ += time;
  cost_ += price.dollars;
  own_steps_ += for_policy_ ? 0 : 1;
  return step;
}

void RunRecorder::SetError(absl::string_view type, absl::string_view message,
                           v1::Step* step) {
  step->set_status(v1::Step::STATUS_ERROR);
  step->set_error_type(type.data(), type.size());
  step->set_error_message(message.data(), message.size());
}

bool RunRecorder::Succeeded(v1::Step::Kind kind, absl::string_view name) const {
  return std::any_of(
      trace_.steps().begin(), trace_.steps().end(), [&](const v1::Step& step) {
        return step.kind() == kind && step.status() == v1::Step::STATUS_OK &&
               (name.empty() || step.name() == name);
      });
}

int RunRecorder::LongestRepetition() const {
  int longest = 0;
  int run = 0;
  for (int i = 0; i < trace_.steps_size(); ++i) {
    const v1::Step& step = trace_.steps(i);
    const bool same = i > 0 && step.name() == trace_.steps(i - 1).name() &&
                      step.input() == trace_.steps(i - 1).input();
    run = same ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  return longest;
}

v1::Trace RunRecorder::Finish(bool passed) && {
  v1::Evaluation* evaluation = trace_.mutable_evaluation();
  evaluation->set_outcome(passed ? v1::OUTCOME_PASS : v1::OUTCOME_FAIL);
  evaluation->set_score(passed ? 1 : 0);
  evaluation->set_evaluator("lab/answer_key");
  evaluation->set_cost(cost_);
  SetDuration(elapsed_, evaluation->mutable_latency());
  SetTime(start_ + elapsed_, trace_.mutable_end_time());
  return std::move(trace_);
}

}  // namespace faultline::lab
