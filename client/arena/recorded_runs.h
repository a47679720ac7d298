#ifndef FAULTLINE_CLIENT_ARENA_RECORDED_RUNS_H_
#define FAULTLINE_CLIENT_ARENA_RECORDED_RUNS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::arena {

// A task that every model has run.
struct RecordedTask {
  std::string type;
  // By model, in the order of RecordedRuns::models(); at least one each.
  std::vector<std::vector<v1::Trace>> runs;
};

// Runs of several models on the same tasks, whose outcomes are all known.
// Immutable, so thread-safe.
class RecordedRuns {
 public:
  // Sorts runs by dataset and task id. What would tell an answer, or is not the
  // arena's to say, is left out of them: task id, decisions, exposure,
  // annotations; and cost and latency, so that the guards of the server judge
  // nothing: the arena is about failures. INVALID_ARGUMENT names the run
  // without task, model or outcome, the task that a model has not run, or says
  // that there are fewer than two models or tasks.
  static absl::StatusOr<RecordedRuns> Create(std::vector<v1::Trace> traces);

  // Of files in the format `runs` (client/importers). NOT_FOUND where one
  // cannot be opened; INVALID_ARGUMENT names file and record.
  static absl::StatusOr<RecordedRuns> Read(
      const std::vector<std::string>& paths);

  const std::vector<std::string>& models() const { return models_; }
  // In a fixed order, whatever that of the traces.
  const std::vector<RecordedTask>& tasks() const { return tasks_; }

  // Share of failures among the runs of one model on one task.
  double FailureRate(int task, size_t model) const {
    return failure_rate_[task][model];
  }
  // The same, of a model that is drawn with these probabilities.
  double FailureRate(int task, absl::Span<const double> probabilities) const;

 private:
  std::vector<std::string> models_;  // ascending
  std::vector<RecordedTask> tasks_;
  std::vector<std::vector<double>> failure_rate_;  // tasks x models
};

bool Failed(const v1::Trace& run);

// Tasks by index. A task is on one side with all of its runs.
struct TaskSplit {
  std::vector<int> learning;
  std::vector<int> unseen;
};

// `unseen_share`, in (0, 1), of the tasks are unseen; at least one on each
// side.
TaskSplit SplitTasks(const RecordedRuns& recorded, double unseen_share,
                     uint64_t seed);

// Failure rates on some tasks, a mean over them, of routers that know every
// recorded outcome of these very tasks, and of one that knows nothing.
struct Baselines {
  double uniform = 0;
  double best_model = 0;     // the one that fails least on all of them
  double best_per_type = 0;  // for each task.type
  double best_per_task = 0;  // the oracle
};
Baselines ComputeBaselines(const RecordedRuns& recorded,
                           const std::vector<int>& tasks);

// Failure rate on `tasks` of the model of each type that fails least in all
// recorded runs of the tasks `learning`; what a rule by type can know of tasks
// that it has not seen. A type without learning tasks gets the best model of
// all.
double LearnedPerType(const RecordedRuns& recorded,
                      const std::vector<int>& learning,
                      const std::vector<int>& tasks);

}  // namespace faultline::arena

#endif  // FAULTLINE_CLIENT_ARENA_RECORDED_RUNS_H_
