#include "lib/evaluate/effects.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "lib/stats/contingency.h"

namespace faultline::evaluate {
namespace {

constexpr double kLevel = 0.95;

v1::RelativeRisk MakeRelativeRisk(uint64_t treated_events, uint64_t treated,
                                  uint64_t held_events, uint64_t held) {
  const stats::Ratio ratio = stats::RelativeRisk(
      static_cast<double>(treated_events), static_cast<double>(treated),
      static_cast<double>(held_events), static_cast<double>(held), kLevel);
  v1::RelativeRisk risk;
  risk.set_level(kLevel);
  risk.set_defined(ratio.defined);
  if (ratio.defined) {
    risk.set_ratio(ratio.ratio);
    risk.set_lower(ratio.lower);
    risk.set_upper(ratio.upper);
  }
  return risk;
}

v1::ArmCount* CountOf(v1::Arm arm, v1::Effect* effect) {
  return arm == v1::ARM_TREATMENT ? effect->mutable_treatment()
                                  : effect->mutable_holdout();
}

}  // namespace

absl::flat_hash_map<std::string, v1::Effect> MeasureEffects(
    absl::Span<const embedding::Run* const> runs,
    const std::function<bool(const embedding::Run& run,
                             const std::string& intervention_id)>& in_mode,
    uint64_t watermark) {
  absl::flat_hash_map<std::string, v1::Effect> effects;
  absl::flat_hash_set<absl::string_view> named;
  for (const embedding::Run* run : runs) {
    named.clear();
    for (const embedding::RunExposure& exposure : run->exposures) {
      if ((exposure.arm != v1::ARM_TREATMENT &&
           exposure.arm != v1::ARM_HOLDOUT) ||
          !named.insert(exposure.intervention_id).second) {
        continue;
      }
      v1::ArmCount& count =
          *CountOf(exposure.arm, &effects[exposure.intervention_id]);
      if (!run->known()) {
        count.set_pending(count.pending() + 1);
        continue;
      }
      count.set_runs(count.runs() + 1);
      if (!run->failed()) continue;
      count.set_failures(count.failures() + 1);
      if (in_mode(*run, exposure.intervention_id)) {
        count.set_mode_failures(count.mode_failures() + 1);
      }
    }
  }
  for (auto& [id, effect] : effects) {
    // Both arms are present in the message, also where one is empty.
    const v1::ArmCount& treated = *effect.mutable_treatment();
    const v1::ArmCount& held = *effect.mutable_holdout();
    *effect.mutable_mode_failure() =
        MakeRelativeRisk(treated.mode_failures(), treated.runs(),
                         held.mode_failures(), held.runs());
    *effect.mutable_any_failure() = MakeRelativeRisk(
        treated.failures(), treated.runs(), held.failures(), held.runs());
    effect.set_watermark(watermark);
  }
  return effects;
}

}  // namespace faultline::evaluate
