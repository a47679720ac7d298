#include "absl/strings/str_cat.h"
#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

// Confidence above which a failure is a confident one (METHODS 1.1).
constexpr double kHighConfidence = 0.8;

void Extract(const TraceView& view, TokenSink* sink) {
  for (const auto& [key, value] : view.trace.evaluation().signals()) {
    if (value < 0 || value > 1) {
      sink->Add({key, "=", NumberBucket(value)});
    } else {
      // The nearer two values are, the more tokens they share. One bucket each
      // would tear clusters apart along a signal that says nothing (ADR 0003).
      for (int fifth = 1; fifth < 5; ++fifth) {
        sink->Add(
            {key, 5 * value >= fifth ? ">=" : "<", absl::StrCat(fifth, "/5")});
      }
    }
    if (key == "confidence" && value > kHighConfidence) sink->Add({"hiconf"});
  }
}

}  // namespace

const FeatureChannel kSignalChannel = {Channel::kSignal, "signal",
                                       Role::kSignal, 2, Extract};

}  // namespace faultline::embedding
