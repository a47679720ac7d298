#include "client/lab/lab_runner.h"

#include <algorithm>
#include <tuple>

#include "lib/base/status_macros.h"

namespace faultline::lab {
namespace {

constexpr int kMaxSummaryTicks = 4;
// Fresh problems by which an intervention is judged.
constexpr int kTruthProblems = 4000;

using v1::Intervention;

}  // namespace

absl::StatusOr<TickReport> LabRunner::RunTick() {
  TickReport report;
  report.number = static_cast<int>(reports_.size()) + 1;
  TickRuns runs = lab_.RunTick(report.number, backend_->policy(), clock_.Now());
  baselines_.RunTick(report.number, runs.problems, &runs.scores);
  for (size_t i = 0; i < runs.problems.size(); ++i) {
    kinds_[runs.problems[i].id] = {runs.problems[i].family,
                                   runs.problems[i].kind};
    if (labels_ != nullptr) {
      *labels_ << LabelLine(runs.problems[i], runs.traces[i]) << '\n';
    }
  }
  if (labels_ != nullptr && !labels_->flush()) {
    return absl::DataLossError("the labels cannot be written");
  }
  report.scores = runs.scores;
  FAULTLINE_RETURN_IF_ERROR(backend_->Send(std::move(runs.traces)));
  FAULTLINE_ASSIGN_OR_RETURN(report.tick, backend_->Tick());
  FAULTLINE_ASSIGN_OR_RETURN(report.clusters, backend_->Clusters());
  FAULTLINE_ASSIGN_OR_RETURN(report.interventions, backend_->Interventions());
  reports_.push_back(report);
  return report;
}

std::vector<TrialReport> LabRunner::Trials() const {
  std::vector<TrialReport> trials;
  if (reports_.empty()) return trials;
  const TickReport& last = reports_.back();
  // The project may have had ticks before the lab's.
  const int64_t before = static_cast<int64_t>(last.tick.tick()) - last.number;
  for (const Intervention& intervention : last.interventions) {
    TrialReport trial;
    for (const Intervention::Transition& change : intervention.history()) {
      const int tick =
          static_cast<int>(static_cast<int64_t>(change.tick()) - before);
      if (change.to() == Intervention::STATUS_TRIAL && trial.start_tick == 0) {
        trial.start_tick = tick;
      } else if (change.from() == Intervention::STATUS_TRIAL &&
                 !trial.verdict_tick.has_value()) {
        trial.verdict_tick = tick;
      }
      trial.confirmed |= change.to() == Intervention::STATUS_CONFIRMED;
    }
    if (trial.start_tick < 1) continue;
    trial.rolled_back =
        intervention.status() == Intervention::STATUS_ROLLED_BACK;
    trial.intervention = intervention;
    trial.truth =
        MeasureTruth(lab_, intervention,
                     trial.verdict_tick.value_or(last.number), kTruthProblems);
    trials.push_back(std::move(trial));
  }
  std::stable_sort(trials.begin(), trials.end(),
                   [](const TrialReport& a, const TrialReport& b) {
                     return a.start_tick < b.start_tick;
                   });
  return trials;
}

absl::StatusOr<std::vector<NamingReport>> LabRunner::Naming() {
  std::vector<NamingReport> naming;
  if (reports_.empty()) return naming;
  for (const v1::Cluster& cluster : reports_.back().clusters) {
    if (cluster.status() != v1::Cluster::STATUS_STABLE) continue;
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<std::string> members,
                               backend_->Members(cluster.name()));
    std::map<std::pair<Family, std::string>, int> counts;
    for (const std::string& member : members) {
      const auto kind = kinds_.find(member);
      if (kind != kinds_.end()) ++counts[kind->second];
    }
    if (counts.empty()) continue;
    const auto most = std::max_element(
        counts.begin(), counts.end(),
        [](const auto& a, const auto& b) { return a.second < b.second; });
    NamingReport& report = naming.emplace_back();
    report.title = cluster.title();
    report.mode = cluster.diagnosis().failure_mode();
    std::tie(report.family, report.kind) = most->first;
    report.share =
        static_cast<double>(most->second) / static_cast<double>(members.size());
    const std::vector<v1::FailureMode> modes =
        ModesOf(report.family, report.kind);
    report.right =
        std::find(modes.begin(), modes.end(), report.mode) != modes.end();
  }
  return naming;
}

Summary Summarize(const std::vector<TickReport>& reports,
                  const std::vector<TrialReport>& trials,
                  const std::vector<NamingReport>& naming) {
  Summary summary;
  if (reports.empty()) return summary;
  const int count = static_cast<int>(reports.size());
  summary.first = reports.front().scores.all;
  summary.last_ticks = std::clamp(count / 3, 1, kMaxSummaryTicks);
  for (int i = 1; i <= summary.last_ticks; ++i) {
    summary.last.Add(reports[count - i].scores.all);
  }
  const Score& last = summary.last;
  summary.captured = Captured(last, last.reached);
  summary.captured_by_random = Captured(last, last.random);
  summary.captured_by_bandit = Captured(last, last.bandit);

  std::vector<int> ticks;
  for (const TrialReport& trial : trials) {
    const bool hurts = trial.truth.effect() == Truth::Effect::kHurts;
    const bool helps = trial.truth.effect() == Truth::Effect::kHelps;
    ++summary.trials;
    summary.confirmed += trial.confirmed ? 1 : 0;
    summary.false_confirmations += trial.confirmed && !helps ? 1 : 0;
    summary.harmful += hurts ? 1 : 0;
    summary.harmful_confirmed +=
        hurts && trial.intervention.status() == Intervention::STATUS_CONFIRMED
            ? 1
            : 0;
    summary.rolled_back += trial.rolled_back ? 1 : 0;
    if (trial.verdict_tick.has_value()) {
      ticks.push_back(*trial.verdict_tick - trial.start_tick);
    }
  }
  if (!ticks.empty()) {
    std::sort(ticks.begin(), ticks.end());
    summary.median_ticks_to_verdict =
        (ticks[(ticks.size() - 1) / 2] + ticks[ticks.size() / 2]) / 2.0;
  }
  summary.accepted_clusters = static_cast<int>(naming.size());
  for (const NamingReport& report : naming) {
    summary.rightly_named += report.right ? 1 : 0;
  }
  return summary;
}

}  // namespace faultline::lab
