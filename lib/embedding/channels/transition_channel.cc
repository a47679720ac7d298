#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/embedding/channels/channels.h"

namespace faultline::embedding {
namespace {

// Longest repetition that is told apart.
constexpr int kMaxRepetition = 6;

// Model turns and handoffs of several agents look alike but for who acts.
void AddActors(const TraceView& view, TokenSink* sink) {
  absl::string_view previous;
  for (const StepView& step : view.steps) {
    if (step.step->kind() != v1::Step::KIND_LLM &&
        step.step->kind() != v1::Step::KIND_HANDOFF) {
      continue;
    }
    const absl::string_view actor = step.step->actor();
    if (!previous.empty() && !actor.empty() && actor != previous) {
      sink->Add({"@", NormalizeName(previous), ">@", NormalizeName(actor)});
    }
    previous = actor;
  }
}

void Extract(const TraceView& view, TokenSink* sink) {
  const auto& steps = view.steps;
  if (steps.empty()) return;
  sink->Add({"start>", steps.front().label});
  sink->Add({steps.back().label, ">end"});
  for (size_t i = 1; i < steps.size(); ++i) {
    sink->Add({steps[i - 1].label, ">", steps[i].label});
    if (i >= 2) {
      sink->Add(
          {steps[i - 2].label, ">", steps[i - 1].label, ">", steps[i].label});
    }
  }
  const int repetition = LongestRepetition(view);
  if (repetition >= 3) {
    sink->Add({"rep", absl::StrCat(std::min(repetition, kMaxRepetition))}, 2);
  }
  AddActors(view, sink);
}

}  // namespace

const FeatureChannel kTransitionChannel = {Channel::kTransition, "transition",
                                           Role::kBehavior, 4, Extract};

}  // namespace faultline::embedding
