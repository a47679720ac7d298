#include "lib/intervene/efficacy.h"

#include "absl/strings/string_view.h"

namespace faultline::intervene {
namespace {
// Who decides by the evidence (Transition.actor).
constexpr absl::string_view kPlanner = "planner";
}  // namespace

void Efficacy::Count(const v1::Intervention& intervention) {
  for (const v1::Intervention::Transition& change : intervention.history()) {
    if (change.to() == v1::Intervention::STATUS_CONFIRMED) {
      successes_ += 1;
    } else if (change.to() == v1::Intervention::STATUS_DISCONFIRMED ||
               (change.to() == v1::Intervention::STATUS_ROLLED_BACK &&
                change.actor() == kPlanner)) {
      failures_ += 1;
    }
  }
}

}  // namespace faultline::intervene
