#include "client/lab/lab_runner.h"

#include <algorithm>
#include <utility>

#include "lib/base/status_macros.h"

namespace faultline::lab {
namespace {

constexpr int kMaxSummaryTicks = 4;

void Add(const Score& from, Score* to) {
  to->problems += from.problems;
  to->none += from.none;
  to->oracle += from.oracle;
  to->reached += from.reached;
}

}  // namespace

absl::StatusOr<TickReport> LabRunner::RunTick() {
  TickReport report;
  report.number = ++ticks_;
  TickRuns runs = lab_.RunTick(report.number, backend_->policy(), clock_.Now());
  if (labels_ != nullptr) {
    for (size_t i = 0; i < runs.problems.size(); ++i) {
      *labels_ << LabelLine(runs.problems[i], runs.traces[i]) << '\n';
    }
    if (!labels_->flush()) {
      return absl::DataLossError("the labels cannot be written");
    }
  }
  report.score = runs.score;
  report.by_family = runs.by_family;
  FAULTLINE_RETURN_IF_ERROR(backend_->Send(std::move(runs.traces)));
  FAULTLINE_ASSIGN_OR_RETURN(report.tick, backend_->Tick());
  FAULTLINE_ASSIGN_OR_RETURN(report.clusters, backend_->Clusters());
  FAULTLINE_ASSIGN_OR_RETURN(report.interventions, backend_->Interventions());
  return report;
}

Summary Summarize(const std::vector<TickReport>& reports) {
  Summary summary;
  if (reports.empty()) return summary;
  const int count = static_cast<int>(reports.size());
  summary.first = reports.front().score;
  summary.last_ticks = std::clamp(count / 3, 1, kMaxSummaryTicks);
  for (int i = 1; i <= summary.last_ticks; ++i) {
    Add(reports[count - i].score, &summary.last);
  }
  summary.gap_closed = GapClosed(summary.last);
  return summary;
}

}  // namespace faultline::lab
