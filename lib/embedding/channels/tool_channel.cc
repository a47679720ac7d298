#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

void Extract(const TraceView& view, TokenSink* sink) {
  for (const StepView& step : view.steps) {
    if (!step.action()) continue;
    sink->Add({"t:", step.label});
    if (step.step->kind() == v1::Step::KIND_HANDOFF &&
        !step.step->actor().empty()) {
      sink->Add({"h:", NormalizeName(step.step->actor()), ">", step.label});
    }
  }
}

}  // namespace

const FeatureChannel kToolChannel = {Channel::kTool, "tool", Role::kBehavior, 2,
                                     Extract};

}  // namespace faultline::embedding
