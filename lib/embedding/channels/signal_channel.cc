#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

// Confidence above which a failure is a confident one (METHODS 1.1).
constexpr double kHighConfidence = 0.8;

void Extract(const TraceView& view, TokenSink* sink) {
  for (const auto& [key, value] : view.trace.evaluation().signals()) {
    sink->Add({key, "=", NumberBucket(value)});
    if (key == "confidence" && value > kHighConfidence) sink->Add({"hiconf"});
  }
}

}  // namespace

const FeatureChannel kSignalChannel = {Channel::kSignal, "signal",
                                       Role::kSignal, 2, Extract};

}  // namespace faultline::embedding
