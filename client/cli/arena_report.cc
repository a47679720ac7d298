#include "client/cli/arena_report.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/arena/arena_statistics.h"

namespace faultline::cli {
namespace {

using arena::Baselines;
using arena::MeanInterval;
using arena::StreamResult;
using arena::WarningResult;
using Json = nlohmann::ordered_json;

std::string Rate(double rate) { return absl::StrFormat("%.3f", rate); }

std::string Interval(const MeanInterval& interval) {
  return absl::StrFormat("%.3f to %.3f", interval.lower, interval.upper);
}

template <typename Result, typename Value>
MeanInterval MeanOf(const std::vector<Result>& results, const Value& value) {
  std::vector<double> values;
  values.reserve(results.size());
  for (const Result& result : results) values.push_back(value(result));
  return arena::MeanOf(values);
}

Json IntervalJson(const MeanInterval& interval) {
  return {{"mean", interval.mean},
          {"lower", interval.lower},
          {"upper", interval.upper}};
}

Json BaselinesJson(const Baselines& baselines) {
  return {{"uniform", baselines.uniform},
          {"bestModel", baselines.best_model},
          {"bestPerType", baselines.best_per_type},
          {"bestPerTask", baselines.best_per_task}};
}

Json QualityJson(const arena::RiskQuality& quality) {
  return {{"auc", quality.auc},
          {"calibrationError", quality.calibration},
          {"brier", quality.brier}};
}

// A failure rate of a replay, in the order of the summary.
struct Line {
  const char* name;
  const char* key;
  std::function<double(const StreamResult&)> value;
};

const std::vector<Line>& Lines() {
  static const auto* const lines = new std::vector<Line>{
      {"stream, first third, as served", "firstThird",
       [](const StreamResult& it) { return it.first_third; }},
      {"stream, last third, as served", "lastThird",
       [](const StreamResult& it) { return it.last_third; }},
      {"stream, as recommended at the end", "streamRecommended",
       [](const StreamResult& it) { return it.stream_recommended; }},
      {"  uniform", "streamUniform",
       [](const StreamResult& it) { return it.stream.uniform; }},
      {"  best single model", "streamBestModel",
       [](const StreamResult& it) { return it.stream.best_model; }},
      {"  best model per task type", "streamBestPerType",
       [](const StreamResult& it) { return it.stream.best_per_type; }},
      {"  best model per task", "streamBestPerTask",
       [](const StreamResult& it) { return it.stream.best_per_task; }},
      {"unseen tasks, as served", "unseenServed",
       [](const StreamResult& it) { return it.unseen_served; }},
      {"unseen tasks, as recommended", "unseenRecommended",
       [](const StreamResult& it) { return it.unseen_recommended; }},
      {"  per type, by all runs of the stream's tasks", "unseenLearnedPerType",
       [](const StreamResult& it) { return it.unseen_learned_per_type; }},
      {"  uniform", "unseenUniform",
       [](const StreamResult& it) { return it.unseen.uniform; }},
      {"  best single model", "unseenBestModel",
       [](const StreamResult& it) { return it.unseen.best_model; }},
      {"  best model per task type", "unseenBestPerType",
       [](const StreamResult& it) { return it.unseen.best_per_type; }},
      {"  best model per task", "unseenBestPerTask",
       [](const StreamResult& it) { return it.unseen.best_per_task; }},
  };
  return *lines;
}

}  // namespace

std::string StreamJson(const StreamResult& result) {
  Json json = {{"seed", result.seed},
               {"learningTasks", result.learning_tasks},
               {"unseenTasks", result.unseen_tasks},
               {"runs", result.runs},
               {"repeatedRuns", result.repeated_runs},
               {"ticks", result.ticks.size()},
               {"policyVersion", result.policy.version()},
               {"rules", result.policy.rules_size()}};
  for (const Line& line : Lines()) json[line.key] = line.value(result);
  return json.dump();
}

std::string StreamSummaryJson(const std::vector<StreamResult>& results,
                              const Baselines& all) {
  Json json = {{"seeds", results.size()}, {"allTasks", BaselinesJson(all)}};
  for (const Line& line : Lines()) {
    json[line.key] = IntervalJson(MeanOf(results, line.value));
  }
  return Json({{"summary", std::move(json)}}).dump();
}

std::string WarningJson(const WarningResult& result) {
  Json json = {{"seed", result.seed},
               {"learningRuns", result.learning_runs},
               {"unseenRuns", result.unseen_runs},
               {"baseline", QualityJson(result.baseline)}};
  for (const arena::WarningAt& at : result.at) {
    Json quality = QualityJson(at.risk);
    quality["share"] = at.share;
    json["at"].push_back(std::move(quality));
  }
  return json.dump();
}

std::string WarningSummaryJson(const std::vector<WarningResult>& results) {
  Json json = {
      {"seeds", results.size()},
      {"baselineAuc", IntervalJson(MeanOf(results, [](const WarningResult& it) {
         return it.baseline.auc;
       }))}};
  for (size_t c = 0; c < std::size(arena::kCuts); ++c) {
    json["at"].push_back(
        {{"share", arena::kCuts[c]},
         {"auc", IntervalJson(MeanOf(results,
                                     [c](const WarningResult& it) {
                                       return it.at[c].risk.auc;
                                     }))},
         {"gain", IntervalJson(MeanOf(results, [c](const WarningResult& it) {
            return it.at[c].risk.auc - it.baseline.auc;
          }))}});
  }
  return Json({{"summary", std::move(json)}}).dump();
}

Table StreamTable(const std::vector<StreamResult>& results) {
  Table table({{"SEED", Column::Fit::kNumber},
               {"RUNS", Column::Fit::kNumber},
               {"REPEATED", Column::Fit::kNumber},
               {"RULES", Column::Fit::kNumber},
               {"LAST THIRD", Column::Fit::kNumber},
               {"UNSEEN SERVED", Column::Fit::kNumber},
               {"RECOMMENDED", Column::Fit::kNumber},
               {"UNIFORM", Column::Fit::kNumber},
               {"BEST PER TYPE", Column::Fit::kNumber}});
  for (const StreamResult& it : results) {
    table.AddRow({absl::StrCat(it.seed), absl::StrCat(it.runs),
                  absl::StrCat(it.repeated_runs),
                  absl::StrCat(it.policy.rules_size()), Rate(it.last_third),
                  Rate(it.unseen_served), Rate(it.unseen_recommended),
                  Rate(it.unseen.uniform), Rate(it.unseen.best_per_type)});
  }
  return table;
}

Table StreamSummary(const std::vector<StreamResult>& results,
                    const Baselines& all) {
  Table table(
      {{"FAILURE RATE"}, {"MEAN", Column::Fit::kNumber}, {"95 % OVER SEEDS"}});
  for (const Line& line : Lines()) {
    const MeanInterval interval = MeanOf(results, line.value);
    table.AddRow({line.name, Rate(interval.mean), Interval(interval)});
  }
  table.AddRow({"all tasks, uniform", Rate(all.uniform), ""});
  table.AddRow({"  best single model", Rate(all.best_model), ""});
  table.AddRow({"  best model per task type", Rate(all.best_per_type), ""});
  table.AddRow({"  best model per task", Rate(all.best_per_task), ""});
  return table;
}

Table WarningSummary(const std::vector<WarningResult>& results) {
  Table table({{"STEPS SEEN"},
               {"AUC", Column::Fit::kNumber},
               {"95 % OVER SEEDS"},
               {"OVER BASELINE", Column::Fit::kNumber},
               {"95 % OVER SEEDS"},
               {"CALIBRATION ERROR", Column::Fit::kNumber},
               {"BRIER", Column::Fit::kNumber}});
  const auto mean = [&](const auto& value) {
    return Rate(MeanOf(results, value).mean);
  };
  const MeanInterval baseline =
      MeanOf(results, [](const WarningResult& it) { return it.baseline.auc; });
  table.AddRow(
      {"none: rate of task type and model", Rate(baseline.mean),
       Interval(baseline), "", "",
       mean([](const WarningResult& it) { return it.baseline.calibration; }),
       mean([](const WarningResult& it) { return it.baseline.brier; })});
  for (size_t c = 0; c < std::size(arena::kCuts); ++c) {
    const MeanInterval auc = MeanOf(
        results, [c](const WarningResult& it) { return it.at[c].risk.auc; });
    const MeanInterval gain = MeanOf(results, [c](const WarningResult& it) {
      return it.at[c].risk.auc - it.baseline.auc;
    });
    table.AddRow(
        {absl::StrFormat("%.0f %%", 100 * arena::kCuts[c]), Rate(auc.mean),
         Interval(auc), absl::StrFormat("%+.3f", gain.mean), Interval(gain),
         mean([c](const WarningResult& it) {
           return it.at[c].risk.calibration;
         }),
         mean([c](const WarningResult& it) { return it.at[c].risk.brier; })});
  }
  return table;
}

}  // namespace faultline::cli
