#include "client/arena/early_warning.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/arena/arena_statistics.h"
#include "lib/base/status_macros.h"

namespace faultline::arena {
namespace {

// A decision that the router made uniformly, as it stood when the run began.
void AddRoute(const RecordedRuns& recorded, v1::Trace* run) {
  v1::Decision& route = *run->add_decisions();
  route.set_kind(v1::Decision::KIND_ROUTE);
  for (const std::string& name : recorded.models()) {
    route.add_candidates()->set_name(name);
  }
  route.set_chosen(run->system().model());
  route.set_propensity(1 / static_cast<double>(recorded.models().size()));
}

RiskQuality Judge(const std::vector<Scored>& scored) {
  RiskQuality quality;
  quality.auc = AreaUnderCurve(scored);
  quality.calibration = CalibrationError(scored);
  for (const Scored& it : scored) {
    const double miss = it.score - (it.positive ? 1 : 0);
    quality.brier += miss * miss / static_cast<double>(scored.size());
  }
  return quality;
}

// Calls `visit(task, model, run)` for every recorded run of the tasks.
template <typename Visit>
void VisitRuns(const RecordedRuns& recorded, const std::vector<int>& tasks,
               const Visit& visit) {
  for (const int task : tasks) {
    const RecordedTask& it = recorded.tasks()[task];
    for (size_t model = 0; model < it.runs.size(); ++model) {
      for (const v1::Trace& run : it.runs[model]) visit(task, model, run);
    }
  }
}

struct Counts {
  double runs = 0;
  double failed = 0;

  void Add(bool run_failed) {
    ++runs;
    failed += run_failed ? 1 : 0;
  }
};

// Judges the failure rate of task type and model in the learning tasks.
RiskQuality JudgeBaseline(const RecordedRuns& recorded,
                          const TaskSplit& split) {
  std::map<std::pair<std::string, size_t>, Counts> cells;
  Counts all;
  VisitRuns(recorded, split.learning,
            [&](int task, size_t model, const v1::Trace& run) {
              all.Add(Failed(run));
              cells[{recorded.tasks()[task].type, model}].Add(Failed(run));
            });
  std::vector<Scored> scored;
  VisitRuns(
      recorded, split.unseen,
      [&](int task, size_t model, const v1::Trace& run) {
        const auto cell = cells.find({recorded.tasks()[task].type, model});
        const Counts& counts = cell == cells.end() ? all : cell->second;
        scored.push_back({counts.failed / counts.runs, Failed(run)});
      });
  return Judge(scored);
}

}  // namespace

v1::Trace CutRun(const v1::Trace& run, double share) {
  v1::Trace partial = run;
  const int steps =
      std::max(1, static_cast<int>(std::ceil(share * run.steps_size() - 1e-9)));
  if (steps < run.steps_size()) {
    partial.mutable_steps()->DeleteSubrange(steps, run.steps_size() - steps);
  }
  partial.clear_evaluation();
  return partial;
}

absl::StatusOr<WarningResult> MeasureWarnings(const RecordedRuns& recorded,
                                              const WarningOptions& options,
                                              const base::Clock& clock,
                                              Backend* backend,
                                              const ProgressSink& progress) {
  const TaskSplit split =
      SplitTasks(recorded, options.unseen_share, options.seed);
  WarningResult result;
  result.seed = options.seed;
  result.baseline = JudgeBaseline(recorded, split);

  std::vector<v1::Trace> traces;
  const int64_t now = absl::ToUnixSeconds(clock.Now());
  const auto prepare = [&](const v1::Trace& run, const char* side, int number) {
    v1::Trace copy = run;
    copy.set_trace_id(
        absl::StrFormat("arena-%d-%s-%06d", options.seed, side, number));
    copy.mutable_start_time()->set_seconds(now);
    AddRoute(recorded, &copy);
    return copy;
  };
  VisitRuns(recorded, split.learning, [&](int, size_t, const v1::Trace& run) {
    traces.push_back(prepare(run, "seen", ++result.learning_runs));
  });
  FAULTLINE_RETURN_IF_ERROR(backend->Send(std::move(traces)));
  FAULTLINE_RETURN_IF_ERROR(backend->Tick().status());

  std::vector<v1::Trace> asked;
  VisitRuns(recorded, split.unseen, [&](int, size_t, const v1::Trace& run) {
    asked.push_back(prepare(run, "unseen", ++result.unseen_runs));
  });
  for (const double share : kCuts) {
    std::vector<Scored> scored;
    for (const v1::Trace& run : asked) {
      FAULTLINE_ASSIGN_OR_RETURN(const v1::RecommendResponse advice,
                                 backend->Recommend(CutRun(run, share)));
      scored.push_back({advice.risk(), Failed(run)});
    }
    WarningAt& at = result.at.emplace_back();
    at.share = share;
    at.risk = Judge(scored);
    progress(static_cast<double>(result.at.size()) / std::size(kCuts));
  }
  return result;
}

}  // namespace faultline::arena
