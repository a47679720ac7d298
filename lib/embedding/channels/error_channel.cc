#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

constexpr int kMaxErrors = 4;

void Extract(const TraceView& view, TokenSink* sink) {
  int errors = 0;
  const StepView* last = nullptr;
  const StepView* action = nullptr;  // last action, failed or not
  for (const StepView& step : view.steps) {
    if (step.action()) {
      // What the run did after a failure, whatever it thought in between.
      if (action && action->failed()) {
        sink->Add({action->label, "!>", step.label});
      }
      action = &step;
    }
    if (!step.failed()) continue;
    ++errors;
    last = &step;
    sink->Add({"e:", step.error});
    sink->Add({"te:", step.label, ":", step.error});
  }
  if (errors == 0) return;
  sink->Add({"nerr", absl::StrCat(std::min(errors, kMaxErrors))});
  sink->Add({"last:", last->error});
}

}  // namespace

const FeatureChannel kErrorChannel = {Channel::kError, "error", Role::kBehavior,
                                      4, Extract};

}  // namespace faultline::embedding
