#include "client/arena/recorded_runs.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/importers/trace_reader.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"

namespace faultline::arena {
namespace {

absl::Status Invalid(const v1::Trace& run, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("run ", run.trace_id(), " ", problem));
}

absl::Status CheckRun(const v1::Trace& run) {
  if (run.task().id().empty()) return Invalid(run, "has no task.id");
  if (run.system().model().empty()) return Invalid(run, "has no system.model");
  if (run.evaluation().outcome() == v1::OUTCOME_UNSPECIFIED) {
    return Invalid(run, "has no outcome");
  }
  return absl::OkStatus();
}

// What is left of a recorded run.
void LeaveOutAnswers(v1::Trace* run) {
  run->mutable_task()->clear_id();
  run->clear_decisions();
  run->clear_exposure();
  run->clear_annotations();
  run->mutable_evaluation()->clear_cost();
  run->mutable_evaluation()->clear_latency();
  run->clear_end_time();
}

// The index of the least value.
size_t Least(const std::vector<double>& values) {
  return std::min_element(values.begin(), values.end()) - values.begin();
}

// Failures of each model, in tasks: sums of failure rates.
std::vector<double> SumByModel(const RecordedRuns& recorded,
                               const std::vector<int>& tasks) {
  std::vector<double> sums(recorded.models().size());
  for (const int task : tasks) {
    for (size_t m = 0; m < sums.size(); ++m) {
      sums[m] += recorded.FailureRate(task, m);
    }
  }
  return sums;
}

std::map<std::string, std::vector<int>> ByType(const RecordedRuns& recorded,
                                               const std::vector<int>& tasks) {
  std::map<std::string, std::vector<int>> by_type;
  for (const int task : tasks) {
    by_type[recorded.tasks()[task].type].push_back(task);
  }
  return by_type;
}

}  // namespace

bool Failed(const v1::Trace& run) {
  return run.evaluation().outcome() != v1::OUTCOME_PASS;
}

absl::StatusOr<RecordedRuns> RecordedRuns::Create(
    std::vector<v1::Trace> traces) {
  RecordedRuns recorded;
  std::set<std::string> models;
  std::map<std::pair<std::string, std::string>, std::vector<v1::Trace*>>
      by_task;
  for (v1::Trace& trace : traces) {
    FAULTLINE_RETURN_IF_ERROR(CheckRun(trace));
    models.insert(trace.system().model());
    by_task[{trace.task().dataset(), trace.task().id()}].push_back(&trace);
  }
  if (models.size() < 2 || by_task.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("there are runs of ", models.size(), " models on ",
                     by_task.size(), " tasks: at least 2 of each are needed"));
  }
  recorded.models_.assign(models.begin(), models.end());
  for (auto& [key, runs] : by_task) {
    RecordedTask& task = recorded.tasks_.emplace_back();
    task.type = runs.front()->task().type();
    task.runs.resize(models.size());
    std::sort(runs.begin(), runs.end(), [](const auto* a, const auto* b) {
      return a->trace_id() < b->trace_id();
    });
    for (v1::Trace* run : runs) {
      const size_t model =
          std::lower_bound(recorded.models_.begin(), recorded.models_.end(),
                           run->system().model()) -
          recorded.models_.begin();
      LeaveOutAnswers(run);
      task.runs[model].push_back(std::move(*run));
    }
    std::vector<double>& rates = recorded.failure_rate_.emplace_back();
    for (size_t m = 0; m < models.size(); ++m) {
      if (task.runs[m].empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat("task ", key.second, " of dataset ", key.first,
                         " has no run of model ", recorded.models_[m]));
      }
      const auto failed =
          std::count_if(task.runs[m].begin(), task.runs[m].end(), Failed);
      rates.push_back(static_cast<double>(failed) /
                      static_cast<double>(task.runs[m].size()));
    }
  }
  return recorded;
}

absl::StatusOr<RecordedRuns> RecordedRuns::Read(
    const std::vector<std::string>& paths) {
  std::vector<v1::Trace> traces;
  for (const std::string& path : paths) {
    FAULTLINE_ASSIGN_OR_RETURN(const auto reader,
                               importers::OpenTraceFile("runs", path));
    while (true) {
      absl::StatusOr<std::optional<v1::Trace>> trace = reader->Next();
      if (!trace.ok()) {
        return absl::Status(trace.status().code(),
                            absl::StrCat(path, ": ", trace.status().message()));
      }
      if (!trace->has_value()) break;
      traces.push_back(std::move(**trace));
    }
  }
  return Create(std::move(traces));
}

double RecordedRuns::FailureRate(int task,
                                 absl::Span<const double> probabilities) const {
  return std::inner_product(probabilities.begin(), probabilities.end(),
                            failure_rate_[task].begin(), 0.);
}

TaskSplit SplitTasks(const RecordedRuns& recorded, double unseen_share,
                     uint64_t seed) {
  const auto count = static_cast<int>(recorded.tasks().size());
  std::vector<int> tasks(count);
  std::iota(tasks.begin(), tasks.end(), 0);
  base::Random(seed).Shuffle(&tasks);
  const int unseen =
      std::clamp(static_cast<int>(unseen_share * count + 0.5), 1, count - 1);
  TaskSplit split;
  split.unseen.assign(tasks.begin(), tasks.begin() + unseen);
  split.learning.assign(tasks.begin() + unseen, tasks.end());
  std::sort(split.unseen.begin(), split.unseen.end());
  std::sort(split.learning.begin(), split.learning.end());
  return split;
}

Baselines ComputeBaselines(const RecordedRuns& recorded,
                           const std::vector<int>& tasks) {
  const auto size = static_cast<double>(tasks.size());
  const auto models = static_cast<double>(recorded.models().size());
  const std::vector<double> sums = SumByModel(recorded, tasks);
  Baselines baselines;
  baselines.uniform =
      std::accumulate(sums.begin(), sums.end(), 0.) / models / size;
  baselines.best_model = sums[Least(sums)] / size;
  for (const auto& [type, members] : ByType(recorded, tasks)) {
    const std::vector<double> of_type = SumByModel(recorded, members);
    baselines.best_per_type += of_type[Least(of_type)] / size;
  }
  for (const int task : tasks) {
    const std::vector<double> of_task = SumByModel(recorded, {task});
    baselines.best_per_task += of_task[Least(of_task)] / size;
  }
  return baselines;
}

double LearnedPerType(const RecordedRuns& recorded,
                      const std::vector<int>& learning,
                      const std::vector<int>& tasks) {
  const auto learned = ByType(recorded, learning);
  const size_t best = Least(SumByModel(recorded, learning));
  double sum = 0;
  for (const int task : tasks) {
    const auto of_type = learned.find(recorded.tasks()[task].type);
    sum += recorded.FailureRate(
        task, of_type == learned.end()
                  ? best
                  : Least(SumByModel(recorded, of_type->second)));
  }
  return sum / static_cast<double>(tasks.size());
}

}  // namespace faultline::arena
