#include "lib/evaluate/experiment.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "lib/base/hash.h"
#include "lib/diagnose/scope.h"
#include "lib/evaluate/guard.h"
#include "lib/evaluate/mode_detector.h"
#include "lib/policy/arm_assignment.h"
#include "lib/stats/sequential.h"

namespace faultline::evaluate {
namespace {

using embedding::Run;
using v1::Effect;
using v1::Intervention;

constexpr double kAlpha = 0.05;  // of intervals
// E-values beyond which an intervention is withdrawn, and below which harm to
// all failures must stay for it to be confirmed.
constexpr double kHarmEValue = 20;
constexpr double kSuspectedHarmEValue = 5;
constexpr double kUnsoundEValue = 1000;
// Lower bound of the relative risk above which there is no use in going on.
constexpr double kNoBenefitRisk = 0.8;
// Share of the spared failures of the mode that must not come back as other
// failures, shown by a standard error.
constexpr double kMinNetShare = 0.5;
// Events of one part of the time since confirmation; what two parts without
// benefit in a row look like.
constexpr uint64_t kWindowEvents = 500;
constexpr double kIdleRisk = 0.9;
constexpr uint32_t kMaxIdleWindows = 2;
// Probabilities that differ by less are the same one.
constexpr double kSameProbability = 1e-6;
constexpr int kMaxCountedKeys = 65536;

v1::ArmCount* CountOf(v1::Arm arm, v1::TrialTally* tally) {
  return arm == v1::ARM_TREATMENT ? tally->mutable_treatment()
                                  : tally->mutable_holdout();
}

v1::TrialTally* TallyOf(double probability, Effect* effect) {
  for (v1::TrialTally& tally : *effect->mutable_tallies()) {
    if (tally.treatment_probability() == probability) return &tally;
  }
  v1::TrialTally* added = effect->add_tallies();
  added->set_treatment_probability(probability);
  for (int i = effect->tallies_size() - 1;
       i > 0 && effect->tallies(i - 1).treatment_probability() > probability;
       --i) {
    effect->mutable_tallies()->SwapElements(i, i - 1);
    added = effect->mutable_tallies(i - 1);
  }
  return added;
}

// Counts the runs of one tick for one intervention.
class Counter {
 public:
  explicit Counter(const Experiment& experiment)
      : intervention_(*experiment.intervention),
        trial_(*experiment.trial),
        effect_(*intervention_.mutable_effect()),
        counted_keys_(trial_.counted_keys().begin(),
                      trial_.counted_keys().end()) {
    effect_.mutable_treatment()->clear_pending();
    effect_.mutable_holdout()->clear_pending();
  }

  void CountKnown(const Run& run, const embedding::RunExposure& exposure) {
    const std::optional<double> probability = Admit(run, exposure);
    if (!probability.has_value() || !IsFirstOfKey(run, exposure)) return;
    counted_ = true;
    const bool of_mode = IsOfMode(intervention_.detector(), run);
    v1::ArmCount& count =
        *CountOf(exposure.arm, TallyOf(*probability, &effect_));
    count.set_runs(count.runs() + 1);
    if (run.failed()) count.set_failures(count.failures() + 1);
    if (of_mode) count.set_mode_failures(count.mode_failures() + 1);
    for (v1::Trial::Guard& guard : *trial_.mutable_guards()) {
      CountGuard(run, exposure.arm == v1::ARM_TREATMENT, *probability, &guard);
    }
  }

  void CountPending(const Run& run, const embedding::RunExposure& exposure,
                    uint64_t overdue_until) {
    v1::ArmCount& count =
        *(exposure.arm == v1::ARM_TREATMENT ? effect_.mutable_treatment()
                                            : effect_.mutable_holdout());
    count.set_pending(count.pending() + 1);
    // Runs that share a key are not independent of each other.
    if (run.sequence <= trial_.overdue_watermark() ||
        run.sequence > overdue_until || HasOwnKey(run, exposure)) {
      return;
    }
    const std::optional<double> probability = Find(exposure);
    if (!probability.has_value() || !IsDrawn(run, exposure, *probability)) {
      return;
    }
    v1::ArmCount& overdue =
        *CountOf(exposure.arm, TallyOf(*probability, &effect_));
    overdue.set_overdue(overdue.overdue() + 1);
  }

  void Finish(uint64_t overdue_until, uint64_t watermark) {
    if (counted_) effect_.set_ticks(effect_.ticks() + 1);
    trial_.set_overdue_watermark(
        std::max(trial_.overdue_watermark(), overdue_until));
    std::vector<uint64_t> keys(counted_keys_.begin(), counted_keys_.end());
    std::sort(keys.begin(), keys.end());
    trial_.mutable_counted_keys()->Assign(keys.begin(), keys.end());
    effect_.set_watermark(watermark);
  }

 private:
  static bool HasOwnKey(const Run& run,
                        const embedding::RunExposure& exposure) {
    return !exposure.assignment_key.empty() &&
           exposure.assignment_key != run.trace_id;
  }

  // The published probability that the run was assigned with.
  std::optional<double> Find(const embedding::RunExposure& exposure) const {
    const auto& published = trial_.probabilities();
    if (exposure.treatment_probability == 0) {
      if (published.size() != 1) return std::nullopt;
      return published[0];
    }
    for (const double probability : published) {
      if (std::abs(probability - exposure.treatment_probability) <
          kSameProbability) {
        return probability;
      }
    }
    return std::nullopt;
  }

  bool IsDrawn(const Run& run, const embedding::RunExposure& exposure,
               double probability) const {
    const absl::string_view key = exposure.assignment_key.empty()
                                      ? run.trace_id
                                      : exposure.assignment_key;
    return policy::DrawArm(key, intervention_.intervention_id(),
                           intervention_.salt(), probability) == exposure.arm;
  }

  std::optional<double> Admit(const Run& run,
                              const embedding::RunExposure& exposure) {
    v1::RefusedRuns& refused = *effect_.mutable_refused();
    const std::optional<double> probability = Find(exposure);
    if (!probability.has_value()) {
      refused.set_unpublished_probability(refused.unpublished_probability() +
                                          1);
      return std::nullopt;
    }
    if (!IsDrawn(run, exposure, *probability)) {
      refused.set_other_arm(refused.other_arm() + 1);
      return std::nullopt;
    }
    return probability;
  }

  bool IsFirstOfKey(const Run& run, const embedding::RunExposure& exposure) {
    if (!HasOwnKey(run, exposure)) return true;
    const uint64_t key = base::Hash64(exposure.assignment_key);
    v1::RefusedRuns& refused = *effect_.mutable_refused();
    if (counted_keys_.contains(key)) {
      refused.set_repeated_key(refused.repeated_key() + 1);
      return false;
    }
    if (counted_keys_.size() >= kMaxCountedKeys) {
      refused.set_too_many_keys(refused.too_many_keys() + 1);
      return false;
    }
    counted_keys_.insert(key);
    return true;
  }

  Intervention& intervention_;
  v1::Trial& trial_;
  Effect& effect_;
  absl::flat_hash_set<uint64_t> counted_keys_;
  bool counted_ = false;
};

// A count of each arm, by probability.
std::vector<stats::ArmTally> Tallies(const Effect& effect,
                                     uint64_t (v1::ArmCount::*count)() const) {
  std::vector<stats::ArmTally> tallies;
  for (const v1::TrialTally& tally : effect.tallies()) {
    tallies.push_back({tally.treatment_probability(),
                       static_cast<int64_t>((tally.treatment().*count)()),
                       static_cast<int64_t>((tally.holdout().*count)())});
  }
  return tallies;
}

v1::RelativeRisk ReadRisk(absl::Span<const stats::ArmTally> events) {
  v1::RelativeRisk risk;
  risk.set_level(1 - kAlpha);
  for (const stats::ArmTally& tally : events) {
    if (tally.treated + tally.held > 0) risk.set_defined(true);
  }
  if (!risk.defined()) return risk;
  const stats::Interval interval = stats::RelativeRiskSequence(events, kAlpha);
  risk.set_ratio(stats::RelativeRiskEstimate(events));
  risk.set_lower(interval.lower);
  risk.set_upper(interval.upper);
  return risk;
}

struct SparedEvents {
  double count = 0;
  double error = 0;  // standard error
};

// Events that treating every run would spare against holding out every run, by
// the rates of the arms: that one arm got more runs by chance spares nothing.
SparedEvents Spared(const Effect& effect,
                    uint64_t (v1::ArmCount::*count)() const) {
  SparedEvents spared;
  double variance = 0;
  for (const v1::TrialTally& tally : effect.tallies()) {
    const auto treated = static_cast<double>(tally.treatment().runs());
    const auto held = static_cast<double>(tally.holdout().runs());
    if (treated == 0 || held == 0) continue;
    const double treated_rate = (tally.treatment().*count)() / treated;
    const double held_rate = (tally.holdout().*count)() / held;
    const double runs = treated + held;
    spared.count += runs * (held_rate - treated_rate);
    variance += runs * runs *
                (treated_rate * (1 - treated_rate) / treated +
                 held_rate * (1 - held_rate) / held);
  }
  spared.error = std::sqrt(variance);
  return spared;
}

void AddArm(const v1::ArmCount& part, v1::ArmCount* sum) {
  sum->set_runs(sum->runs() + part.runs());
  sum->set_mode_failures(sum->mode_failures() + part.mode_failures());
  sum->set_failures(sum->failures() + part.failures());
  sum->set_overdue(sum->overdue() + part.overdue());
}

void ResetArm(v1::ArmCount* arm) {
  const uint64_t pending = arm->pending();
  arm->Clear();
  arm->set_pending(pending);
}

uint64_t ModeEvents(const Effect& effect) {
  return effect.treatment().mode_failures() + effect.holdout().mode_failures();
}

// Fills in what follows from the counts; without verdict.
void ReadEffect(const v1::Trial& trial, const v1::ProjectConfig& config,
                Effect* effect) {
  effect->clear_verdict();
  effect->clear_verdict_reason();
  ResetArm(effect->mutable_treatment());
  ResetArm(effect->mutable_holdout());
  for (const v1::TrialTally& tally : effect->tallies()) {
    AddArm(tally.treatment(), effect->mutable_treatment());
    AddArm(tally.holdout(), effect->mutable_holdout());
  }
  const auto mode = Tallies(*effect, &v1::ArmCount::mode_failures);
  const auto any = Tallies(*effect, &v1::ArmCount::failures);
  *effect->mutable_mode_failure() = ReadRisk(mode);
  *effect->mutable_any_failure() = ReadRisk(any);
  effect->set_log_benefit(stats::LogBenefitEValue(mode));
  effect->set_log_harm(stats::LogHarmEValue(mode));
  effect->set_log_any_harm(stats::LogHarmEValue(any));
  effect->set_log_imbalance(
      stats::LogImbalanceEValue(Tallies(*effect, &v1::ArmCount::runs)));
  effect->set_log_missing(
      stats::LogImbalanceEValue(Tallies(*effect, &v1::ArmCount::overdue)));
  effect->clear_guards();
  for (const v1::Trial::Guard& guard : trial.guards()) {
    *effect->add_guards() = ReadGuard(guard, config);
  }
}

void Conclude(Effect::Verdict verdict, std::string reason, Effect* effect) {
  effect->set_verdict(verdict);
  effect->set_verdict_reason(std::move(reason));
}

std::string RiskText(const v1::RelativeRisk& risk) {
  return absl::StrFormat("relative risk %.2f (%.2f to %.2f)", risk.ratio(),
                         risk.lower(), risk.upper());
}

// Verdicts that end a trial and undo a confirmation alike. Whether there is
// one.
bool JudgeSafety(Effect* effect) {
  const double unsound = std::log(kUnsoundEValue);
  const double harm = std::log(kHarmEValue);
  if (effect->log_imbalance() >= unsound) {
    Conclude(
        Effect::VERDICT_UNSOUND,
        absl::StrFormat("%d treated and %d held-out runs do not fit their "
                        "probabilities: runs of one arm are missing",
                        effect->treatment().runs(), effect->holdout().runs()),
        effect);
    return true;
  }
  if (effect->log_missing() >= unsound) {
    Conclude(Effect::VERDICT_UNSOUND,
             absl::StrFormat("%d treated and %d held-out runs have no outcome: "
                             "outcomes of one arm are missing",
                             effect->treatment().overdue(),
                             effect->holdout().overdue()),
             effect);
    return true;
  }
  if (effect->log_harm() >= harm) {
    Conclude(Effect::VERDICT_HARMS,
             absl::StrCat("more failures of the mode: ",
                          RiskText(effect->mode_failure())),
             effect);
    return true;
  }
  if (effect->log_any_harm() >= harm) {
    Conclude(Effect::VERDICT_HARMS,
             absl::StrCat("more failures of all kinds: ",
                          RiskText(effect->any_failure())),
             effect);
    return true;
  }
  for (const v1::GuardMetric& guard : effect->guards()) {
    if (guard.lower() <= guard.limit()) continue;
    Conclude(
        Effect::VERDICT_HARMS,
        absl::StrFormat(
            "%s rises by %.3g %s a run (at least %.3g), %.3g was usual",
            guard.kind() == v1::GuardMetric::KIND_COST ? "cost" : "latency",
            guard.change(),
            guard.kind() == v1::GuardMetric::KIND_COST ? "US dollars" : "s",
            guard.lower(), guard.baseline()),
        effect);
    return true;
  }
  return false;
}

void JudgeTrial(const Intervention& intervention,
                const v1::ProjectConfig& config, Effect* effect) {
  const SparedEvents spared_mode =
      Spared(*effect, &v1::ArmCount::mode_failures);
  const SparedEvents spared = Spared(*effect, &v1::ArmCount::failures);
  const bool reduces =
      effect->log_benefit() >= -std::log(intervention.confirmation_level());
  const bool displaces =
      spared.count - spared.error < kMinNetShare * spared_mode.count;
  if (reduces && !displaces &&
      effect->log_any_harm() < std::log(kSuspectedHarmEValue)) {
    Conclude(Effect::VERDICT_HELPS,
             absl::StrCat("fewer failures of the mode: ",
                          RiskText(effect->mode_failure()),
                          "; of all kinds: ", RiskText(effect->any_failure())),
             effect);
    return;
  }
  if (effect->mode_failure().lower() > kNoBenefitRisk) {
    Conclude(Effect::VERDICT_NO_BENEFIT,
             absl::StrCat("hardly fewer failures of the mode: ",
                          RiskText(effect->mode_failure())),
             effect);
    return;
  }
  if (ModeEvents(*effect) < config.max_trial_events() &&
      effect->ticks() < config.max_trial_ticks()) {
    return;
  }
  if (reduces) {
    Conclude(
        Effect::VERDICT_DISPLACES,
        absl::StrCat(
            "fewer failures of the mode: ", RiskText(effect->mode_failure()),
            ", but not of all kinds: ", RiskText(effect->any_failure())),
        effect);
    return;
  }
  Conclude(Effect::VERDICT_INCONCLUSIVE,
           absl::StrFormat("%d failures of the mode in %d ticks show nothing: "
                           "%s",
                           ModeEvents(*effect), effect->ticks(),
                           RiskText(effect->mode_failure())),
           effect);
}

void JudgeConfirmed(const Experiment& experiment) {
  Effect& effect = *experiment.intervention->mutable_effect();
  if (ModeEvents(effect) < kWindowEvents) return;
  const v1::RelativeRisk& risk = effect.mode_failure();
  const bool idle =
      risk.lower() <= 1 && risk.upper() >= 1 && risk.ratio() > kIdleRisk;
  v1::Trial& trial = *experiment.trial;
  trial.set_idle_windows(idle ? trial.idle_windows() + 1 : 0);
  if (trial.idle_windows() >= kMaxIdleWindows) {
    Conclude(Effect::VERDICT_DECAYED,
             absl::StrFormat("no benefit in the last %d failures of the mode: "
                             "%s",
                             kMaxIdleWindows * kWindowEvents, RiskText(risk)),
             &effect);
  }
}

}  // namespace

void StartTrial(const diagnose::Window& window, const diagnose::RunSet& members,
                const NewRuns& runs, const v1::ProjectConfig& config,
                const Experiment& experiment) {
  Intervention& intervention = *experiment.intervention;
  const diagnose::RunSet scope =
      diagnose::MatchingRuns(window, intervention.scope());
  *intervention.mutable_detector() = TrainModeDetector(window, members, scope);
  v1::Trial& trial = *experiment.trial;
  trial.Clear();
  trial.set_intervention_id(intervention.intervention_id());
  trial.set_overdue_watermark(runs.watermark);
  for (v1::Trial::Guard& guard : StartGuards(window, scope, config)) {
    *trial.add_guards() = std::move(guard);
  }
  StartWindow(runs.tick, experiment);
}

void StartWindow(uint64_t tick, const Experiment& experiment) {
  Effect& effect = *experiment.intervention->mutable_effect();
  effect.Clear();
  effect.set_start_tick(tick);
  // Both arms are present in the message, also where one is empty.
  effect.mutable_treatment();
  effect.mutable_holdout();
  for (v1::Trial::Guard& guard : *experiment.trial->mutable_guards()) {
    guard.clear_count();
    guard.clear_sum();
    guard.clear_sum_of_squares();
  }
}

void NotePublished(const Experiment& experiment) {
  auto& published = *experiment.trial->mutable_probabilities();
  const double probability = experiment.intervention->treatment_probability();
  if (std::find(published.begin(), published.end(), probability) ==
      published.end()) {
    published.Add(probability);
    std::sort(published.begin(), published.end());
  }
}

void MeasureEffects(const NewRuns& runs, const v1::ProjectConfig& config,
                    absl::Span<const Experiment> experiments) {
  if (experiments.empty()) return;
  for (const Experiment& experiment : experiments) {
    Intervention& intervention = *experiment.intervention;
    if (intervention.status() == Intervention::STATUS_CONFIRMED &&
        ModeEvents(intervention.effect()) >= kWindowEvents) {
      *intervention.mutable_decided_effect() = intervention.effect();
      StartWindow(runs.tick, experiment);
    }
  }
  absl::flat_hash_map<absl::string_view, Counter> counters;
  for (const Experiment& experiment : experiments) {
    counters.try_emplace(experiment.intervention->intervention_id(),
                         experiment);
  }
  absl::flat_hash_set<absl::string_view> named;
  // The counter of each intervention that the run carries.
  const auto visit = [&](const Run& run, const auto& count) {
    named.clear();
    for (const embedding::RunExposure& exposure : run.exposures) {
      const auto counter = counters.find(exposure.intervention_id);
      if (counter == counters.end() ||
          (exposure.arm != v1::ARM_TREATMENT &&
           exposure.arm != v1::ARM_HOLDOUT) ||
          !named.insert(exposure.intervention_id).second) {
        continue;
      }
      count(&counter->second, exposure);
    }
  };
  for (const Run* run : runs.known) {
    if (run->known_sequence <= runs.previous_watermark ||
        run->known_sequence > runs.watermark) {
      continue;
    }
    visit(*run, [run](Counter* counter, const auto& exposure) {
      counter->CountKnown(*run, exposure);
    });
  }
  for (const Run* run : runs.pending) {
    visit(*run, [&](Counter* counter, const auto& exposure) {
      counter->CountPending(*run, exposure, runs.previous_watermark);
    });
  }
  for (auto& [id, counter] : counters) {
    counter.Finish(runs.previous_watermark, runs.watermark);
  }
  for (const Experiment& experiment : experiments) {
    Effect& effect = *experiment.intervention->mutable_effect();
    ReadEffect(*experiment.trial, config, &effect);
    if (JudgeSafety(&effect)) continue;
    if (experiment.intervention->status() == Intervention::STATUS_CONFIRMED) {
      JudgeConfirmed(experiment);
    } else {
      JudgeTrial(*experiment.intervention, config, &effect);
    }
  }
}

}  // namespace faultline::evaluate
