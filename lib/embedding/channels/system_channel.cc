#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

void Extract(const TraceView& view, TokenSink* sink) {
  const v1::System& system = view.trace.system();
  const auto add = [sink](absl::string_view field, absl::string_view value) {
    if (!value.empty()) sink->Add({field, "=", value});
  };
  add("agent", system.agent());
  add("agent_version", system.agent_version());
  add("model", system.model());
  add("prompt_version", system.prompt_version());
  add("toolset", system.toolset());
  for (const auto& [key, value] : system.config()) {
    sink->Add({"config:", key, "=", value});
  }
}

}  // namespace

const FeatureChannel kSystemChannel = {Channel::kSystem, "system",
                                       Role::kContext, 2, Extract};

}  // namespace faultline::embedding
