#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

absl::string_view KindName(v1::Decision::Kind kind) {
  switch (kind) {
    case v1::Decision::KIND_ROUTE:
      return "route";
    case v1::Decision::KIND_TOOL:
      return "tool";
    case v1::Decision::KIND_MEMORY_READ:
      return "memory_read";
    case v1::Decision::KIND_PROMPT_STRATEGY:
      return "prompt_strategy";
    default:  // unset, or a kind of a later release
      return "decision";
  }
}

void Extract(const TraceView& view, TokenSink* sink) {
  for (const v1::Decision& decision : view.trace.decisions()) {
    if (decision.chosen().empty()) continue;
    sink->Add({KindName(decision.kind()), "=", decision.chosen()});
  }
}

}  // namespace

const FeatureChannel kRouteChannel = {Channel::kRoute, "route", Role::kContext,
                                      2, Extract};

}  // namespace faultline::embedding
