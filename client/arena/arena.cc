#include "client/arena/arena.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/sdk/route_choice.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/policy/policy_matcher.h"

namespace faultline::arena {
namespace {

std::vector<double> Uniform(size_t models) {
  return std::vector<double>(models, 1 / static_cast<double>(models));
}

// The models that an action names, without its exploration floor.
std::vector<double> WithoutFloor(absl::Span<const std::string> models,
                                 v1::Action action) {
  if (action.has_routing_policy()) {
    action.mutable_routing_policy()->set_exploration_floor(0);
  } else {
    action.mutable_bandit_weights()->set_floor(0);
  }
  return sdk::RouteProbabilities(models, action);
}

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

double MeanFailures(const std::vector<bool>& failed, size_t begin, size_t end) {
  const auto count =
      std::count(failed.begin() + static_cast<int64_t>(begin),
                 failed.begin() + static_cast<int64_t>(end), true);
  return end == begin
             ? 0
             : static_cast<double>(count) / static_cast<double>(end - begin);
}

// One replay.
class Stream {
 public:
  Stream(const RecordedRuns& recorded, const StreamOptions& options,
         const base::Clock& clock, Backend* backend)
      : recorded_(recorded),
        options_(options),
        clock_(clock),
        backend_(*backend),
        split_(SplitTasks(recorded, options.unseen_share, options.seed)),
        random_(base::Mix64(options.seed)) {
    for (const RecordedTask& task : recorded.tasks()) {
      contexts_.push_back(MakeContext(task));
      std::vector<std::vector<size_t>>& fresh = fresh_.emplace_back();
      for (const std::vector<v1::Trace>& runs : task.runs) {
        std::vector<size_t>& left = fresh.emplace_back(runs.size());
        for (size_t i = 0; i < left.size(); ++i) left[i] = i;
        random_.Shuffle(&left);
      }
    }
  }

  absl::StatusOr<StreamResult> Run(const ProgressSink& progress) {
    std::vector<int> tasks = split_.learning;
    const size_t total = tasks.size() * static_cast<size_t>(options_.epochs);
    std::vector<v1::Trace> batch;
    for (int epoch = 0; epoch < options_.epochs; ++epoch) {
      random_.Shuffle(&tasks);
      for (const int task : tasks) {
        batch.push_back(Serve(task));
        const bool last = failed_.size() == total;
        if (!last &&
            batch.size() < static_cast<size_t>(options_.runs_per_tick)) {
          continue;
        }
        FAULTLINE_RETURN_IF_ERROR(backend_.Send(std::move(batch)));
        batch.clear();
        FAULTLINE_ASSIGN_OR_RETURN(v1::Tick tick, backend_.Tick());
        result_.ticks.push_back(std::move(tick));
        progress(static_cast<double>(failed_.size()) /
                 static_cast<double>(total));
      }
    }
    Judge();
    return std::move(result_);
  }

 private:
  // One arrival of a task: the run that came of it.
  v1::Trace Serve(int task) {
    const std::string id =
        absl::StrFormat("arena-%d-%06d", options_.seed, failed_.size() + 1);
    v1::Trace context = contexts_[task];
    context.set_trace_id(id);
    const sdk::Decision decision = backend_.Decide(context, id);
    std::vector<double> probabilities;
    bool by_policy = false;
    for (const policy::RuleMatch& match : decision.matches) {
      if (!match.applies || !sdk::IsRouting(match.rule->action())) continue;
      probabilities =
          sdk::RouteProbabilities(recorded_.models(), match.rule->action());
      by_policy = !probabilities.empty();
      if (by_policy) break;
    }
    if (!by_policy) probabilities = Uniform(recorded_.models().size());
    const size_t model = sdk::DrawIndex(probabilities, random_.Uniform());

    v1::Trace run = DrawRun(task, model);
    run.set_trace_id(id);
    SetTime(clock_.Now(), run.mutable_start_time());
    v1::Decision& route = *run.add_decisions();
    route.set_kind(v1::Decision::KIND_ROUTE);
    for (const std::string& name : recorded_.models()) {
      route.add_candidates()->set_name(name);
    }
    route.set_chosen(recorded_.models()[model]);
    route.set_propensity(probabilities[model]);
    route.set_reason(by_policy ? "policy" : "uniform");
    if (by_policy) route.set_policy_version(decision.policy_version);
    *run.mutable_exposure() = decision.exposure;
    failed_.push_back(Failed(run));
    return run;
  }

  v1::Trace DrawRun(int task, size_t model) {
    const std::vector<v1::Trace>& runs = recorded_.tasks()[task].runs[model];
    std::vector<size_t>& fresh = fresh_[task][model];
    if (fresh.empty()) {
      ++result_.repeated_runs;
      return runs[random_.Below(runs.size())];
    }
    const size_t drawn = fresh.back();
    fresh.pop_back();
    return runs[drawn];
  }

  void Judge() {
    result_.seed = options_.seed;
    result_.learning_tasks = static_cast<int>(split_.learning.size());
    result_.unseen_tasks = static_cast<int>(split_.unseen.size());
    result_.runs = static_cast<int>(failed_.size());
    const size_t third = failed_.size() / 3;
    result_.first_third = MeanFailures(failed_, 0, third);
    result_.last_third =
        MeanFailures(failed_, failed_.size() - third, failed_.size());
    v1::Trace nothing;
    result_.policy = backend_.Decide(nothing, "policy").matcher->policy();
    for (const int task : split_.unseen) {
      const PolicyView view = View(task);
      result_.unseen_served += recorded_.FailureRate(task, view.served);
      result_.unseen_recommended +=
          recorded_.FailureRate(task, view.recommended);
    }
    result_.unseen_served /= result_.unseen_tasks;
    result_.unseen_recommended /= result_.unseen_tasks;
    for (const int task : split_.learning) {
      result_.stream_recommended +=
          recorded_.FailureRate(task, View(task).recommended);
    }
    result_.stream_recommended /= result_.learning_tasks;
    result_.unseen = ComputeBaselines(recorded_, split_.unseen);
    result_.stream = ComputeBaselines(recorded_, split_.learning);
    result_.unseen_learned_per_type =
        LearnedPerType(recorded_, split_.learning, split_.unseen);
  }

  PolicyView View(int task) const {
    return ViewPolicy(result_.policy, contexts_[task], recorded_.models(),
                      clock_.Now());
  }

  const RecordedRuns& recorded_;
  const StreamOptions& options_;
  const base::Clock& clock_;
  Backend& backend_;
  const TaskSplit split_;
  base::Random random_;
  std::vector<v1::Trace> contexts_;  // by task
  // Recorded runs that have not been in the stream: by task, then model.
  std::vector<std::vector<std::vector<size_t>>> fresh_;
  std::vector<bool> failed_;  // of each run so far
  StreamResult result_;
};

}  // namespace

v1::Trace MakeContext(const RecordedTask& task) {
  const v1::Trace& run = task.runs.front().front();
  v1::Trace context;
  *context.mutable_task() = run.task();
  context.mutable_system()->set_agent(run.system().agent());
  context.mutable_system()->set_prompt_strategy(run.system().prompt_strategy());
  return context;
}

PolicyView ViewPolicy(const v1::Policy& policy, const v1::Trace& context,
                      absl::Span<const std::string> models, absl::Time now) {
  v1::Policy for_all = policy;
  for_all.set_global_holdout(0);
  const auto matcher = policy::PolicyMatcher::Create(std::move(for_all));
  PolicyView view;
  view.served.resize(models.size());
  double left = 1;  // share of the keys that no rule so far has treated
  for (const policy::RuleMatch& match : matcher->Match(context, "key", now)) {
    const v1::Action& action = match.rule->action();
    if (!sdk::IsRouting(action)) continue;
    const std::vector<double> probabilities =
        sdk::RouteProbabilities(models, action);
    if (probabilities.empty()) continue;
    if (view.recommended.empty()) {
      view.recommended = WithoutFloor(models, action);
    }
    const double treated = left * match.rule->treatment_probability();
    left -= treated;
    for (size_t m = 0; m < models.size(); ++m) {
      view.served[m] += treated * probabilities[m];
    }
  }
  const std::vector<double> uniform = Uniform(models.size());
  if (view.recommended.empty()) view.recommended = uniform;
  const double holdout = policy.global_holdout();
  for (size_t m = 0; m < models.size(); ++m) {
    view.served[m] = holdout * uniform[m] +
                     (1 - holdout) * (view.served[m] + left * uniform[m]);
  }
  return view;
}

absl::StatusOr<StreamResult> RunStream(const RecordedRuns& recorded,
                                       const StreamOptions& options,
                                       const base::Clock& clock,
                                       Backend* backend,
                                       const ProgressSink& progress) {
  return Stream(recorded, options, clock, backend).Run(progress);
}

}  // namespace faultline::arena
