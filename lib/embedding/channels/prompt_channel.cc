#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

void Extract(const TraceView& view, TokenSink* sink) {
  const v1::System& system = view.trace.system();
  if (!system.prompt_strategy().empty()) {
    sink->Add({"strategy=", system.prompt_strategy()});
  }
}

}  // namespace

const FeatureChannel kPromptChannel = {Channel::kPrompt, "prompt",
                                       Role::kContext, 1, Extract};

}  // namespace faultline::embedding
