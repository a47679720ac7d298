#ifndef FAULTLINE_CLIENT_LAB_RUN_RECORDER_H_
#define FAULTLINE_CLIENT_LAB_RUN_RECORDER_H_

#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/lab/problem.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/random.h"

namespace faultline::lab {

// What a step takes: median time and price in US dollars.
struct Price {
  double milliseconds;
  double dollars;
};

// What every run takes before its first step: most of its time and money, as
// with a real agent, whose prompt is read whatever it then does. So what a fix
// costs beyond it stays below the tenth at which the guards of a trial act.
inline constexpr Price kPromptPrice = {100, .001};
inline constexpr Price kAnswerPrice = {2, .00002};
inline constexpr Price kCheckPrice = {.2, 0};

// One run while it goes on: the trace, the time and the money. Not thread-safe.
class RunRecorder {
 public:
  RunRecorder(const Problem& problem, absl::Time start);

  v1::Trace& trace() { return trace_; }
  const v1::Trace& trace() const { return trace_; }
  base::Random& random() { return random_; }

  v1::Step* AddStep(v1::Step::Kind kind, absl::string_view name, Price price,
                    absl::string_view input, absl::string_view output);
  static void SetError(absl::string_view type, absl::string_view message,
                       v1::Step* step);

  // Of a name that is there already the first value stays: a check may have
  // read it.
  void AddSignal(absl::string_view name, double value) {
    trace_.mutable_evaluation()->mutable_signals()->insert(
        {std::string(name), value});
  }

  // Until the result dies, steps are the policy's and not the agent's own.
  auto BeginPolicyWork() {
    const bool before = for_policy_;
    for_policy_ = true;
    return absl::MakeCleanup([this, before] { for_policy_ = before; });
  }
  // What a policy adds must not trip a limit.
  int own_steps() const { return own_steps_; }

  // Whether a step of that kind, and of that name unless empty, was done.
  bool Succeeded(v1::Step::Kind kind, absl::string_view name) const;
  // Length of the longest row of equal steps.
  int LongestRepetition() const;

  // Ends the run and judges it.
  v1::Trace Finish(bool passed) &&;

 private:
  const absl::Time start_;
  base::Random random_;
  v1::Trace trace_;
  absl::Duration elapsed_;
  double cost_;
  int own_steps_ = 0;
  bool for_policy_ = false;
};

void SetDuration(absl::Duration time, google::protobuf::Duration* duration);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_RUN_RECORDER_H_
