#include "lib/risk/risk_model.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "lib/base/hash.h"
#include "lib/embedding/run.h"
#include "lib/stats/contingency.h"

namespace faultline::risk {
namespace {

constexpr size_t kMinOutcomes = 30;  // in each half
// Strength of the pull of a slice towards the rate of all (METHODS 3.2).
constexpr double kSliceShrinkage = 5;
constexpr double kRidge = 50;
// Share of the prefixes that a feature must be in, and may not be beyond.
constexpr double kMinSupport = 0.02;
// Strength of the pull of the calibration's slope towards 1: scores that are
// nearly all the same say nothing about it.
constexpr double kSlopePrior = 16;
constexpr int kMaxPasses = 30;
constexpr int kSweeps = 3;  // over the coordinates, in each pass
constexpr double kTolerance = 5e-3;
// Longest step of one weight, so that separable data cannot throw it far.
constexpr double kMaxStep = 1;
constexpr size_t kMaxLevels = 10;
constexpr size_t kMinLevelRuns = 50;
constexpr int kMinSteps[] = {4, 6, 8, 10, 14, 20, 28, 40, 56, 80, 112};
constexpr uint64_t kStepSeed = 0x57e95;
constexpr uint64_t kSliceSeed = 0x511ce;

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double LogOdds(double p) { return std::log(p / (1 - p)); }

// What one prefix of the training set adds.
struct Row {
  Row(double log_odds, bool has_failed) : score(log_odds), failed(has_failed) {}

  void Move(double by) {
    score += by;
    gradient -= curvature * by;
  }

  double score;
  bool failed;
  double gradient = 0;  // of the log-likelihood, by the score
  double curvature = 0;
};

// A feature and the rows that have it.
struct Column {
  uint64_t key;
  double weight = 0;
  std::vector<std::pair<uint32_t, float>> entries;  // row, value
};

uint64_t SliceOf(const v1::Trace& run) {
  uint64_t slice = kSliceSeed;
  const auto add = [&slice](absl::string_view text) {
    slice = base::Hash64(text, slice);
  };
  add(run.task().type());
  add(run.task().dataset());
  add(run.system().model());
  for (const v1::Decision& decision : run.decisions()) {
    if (decision.kind() != v1::Decision::KIND_ROUTE) continue;
    add(decision.chosen());
    break;
  }
  return slice;
}

bool IsOfSlice(embedding::Channel channel) {
  return channel == embedding::Channel::kSystem ||
         channel == embedding::Channel::kRoute;
}

// Half that a run is in.
int HalfOf(const Example& example) {
  return static_cast<int>(example.hash & 1);
}

// Each half has enough of both outcomes.
bool IsEnough(absl::Span<const Example> examples) {
  size_t counts[2][2] = {};
  for (const Example& example : examples) {
    ++counts[HalfOf(example)][example.failed ? 1 : 0];
  }
  for (const auto& half : counts) {
    if (half[0] < kMinOutcomes || half[1] < kMinOutcomes) return false;
  }
  return true;
}

void CountSlices(const std::vector<const Example*>& examples,
                 v1::RiskModel* model) {
  struct Counts {
    double runs = 0;
    double failed = 0;
  };
  Counts all;
  absl::flat_hash_map<uint64_t, Counts> slices;
  for (const Example* example : examples) {
    for (Counts* counts : {&all, &slices[example->prefixes.back().slice]}) {
      ++counts->runs;
      counts->failed += example->failed ? 1 : 0;
    }
  }
  const double rate = all.failed / all.runs;
  model->set_runs(static_cast<uint64_t>(all.runs));
  model->set_log_odds(LogOdds(rate));
  std::vector<std::pair<uint64_t, double>> ordered;
  for (const auto& [key, counts] : slices) {
    ordered.emplace_back(key, LogOdds((counts.failed + kSliceShrinkage * rate) /
                                      (counts.runs + kSliceShrinkage)));
  }
  std::sort(ordered.begin(), ordered.end());
  for (const auto& [key, log_odds] : ordered) {
    v1::RiskModel::Slice& slice = *model->add_slices();
    slice.set_key(key);
    slice.set_log_odds(log_odds);
  }
}

double SliceLogOdds(const v1::RiskModel& model, uint64_t key) {
  const auto slice = std::lower_bound(
      model.slices().begin(), model.slices().end(), key,
      [](const v1::RiskModel::Slice& a, uint64_t b) { return a.key() < b; });
  return slice != model.slices().end() && slice->key() == key
             ? slice->log_odds()
             : model.log_odds();
}

double Score(const v1::RiskModel& model, const Features& features) {
  double score = model.bias() + SliceLogOdds(model, features.slice);
  auto from = model.feature_keys().begin();
  for (const auto& [key, value] : features.values) {
    from = std::lower_bound(from, model.feature_keys().end(), key);
    if (from == model.feature_keys().end()) break;
    if (*from == key) {
      score +=
          model.weights(static_cast<int>(from - model.feature_keys().begin())) *
          value;
    }
  }
  return score;
}

// Columns of the features that are neither rare nor everywhere, by key.
std::vector<Column> MakeColumns(const std::vector<const Example*>& examples,
                                const v1::RiskModel& model,
                                std::vector<Row>* rows) {
  // Most features are rare: they are counted before anything is kept of them.
  absl::flat_hash_map<uint64_t, uint32_t> support;
  for (const Example* example : examples) {
    for (const Features& prefix : example->prefixes) {
      for (const auto& [key, value] : prefix.values) ++support[key];
      rows->emplace_back(SliceLogOdds(model, prefix.slice), example->failed);
    }
  }
  const auto size = static_cast<double>(rows->size());
  std::vector<Column> columns;
  for (const auto& [key, count] : support) {
    if (count < kMinSupport * size || count > (1 - kMinSupport) * size) {
      continue;
    }
    Column& column = columns.emplace_back();
    column.key = key;
    column.entries.reserve(count);
  }
  std::sort(columns.begin(), columns.end(),
            [](const Column& a, const Column& b) { return a.key < b.key; });
  absl::flat_hash_map<uint64_t, Column*> kept;
  for (Column& column : columns) kept[column.key] = &column;
  uint32_t row = 0;
  for (const Example* example : examples) {
    for (const Features& prefix : example->prefixes) {
      for (const auto& [key, value] : prefix.values) {
        const auto column = kept.find(key);
        if (column != kept.end()) {
          column->second->entries.emplace_back(row, value);
        }
      }
      ++row;
    }
  }
  return columns;
}

// Newton's method: in each pass the likelihood is replaced by its quadratic
// form, which is then descended one coordinate after the other. A run counts
// once, however many prefixes stand for it.
void FitWeights(const std::vector<const Example*>& examples,
                v1::RiskModel* model) {
  constexpr double kRowWeight = 1 / static_cast<double>(std::size(kCuts));
  std::vector<Row> rows;
  std::vector<Column> columns = MakeColumns(examples, *model, &rows);
  double bias = 0;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    for (Row& row : rows) {
      const double p = Sigmoid(row.score);
      row.gradient = (row.failed ? 1 : 0) - p;
      row.curvature = p * (1 - p);
    }
    double largest = 0;  // step in the first sweep
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      double gradient = 0;
      double curvature = kTolerance;
      for (const Row& row : rows) {
        gradient += row.gradient;
        curvature += row.curvature;
      }
      const double shift =
          std::clamp(gradient / curvature, -kMaxStep, kMaxStep);
      bias += shift;
      for (Row& row : rows) row.Move(shift);
      if (sweep == 0) largest = std::abs(shift);
      for (Column& column : columns) {
        gradient = -kRidge * column.weight;
        curvature = kRidge;
        for (const auto& [row, value] : column.entries) {
          gradient += kRowWeight * value * rows[row].gradient;
          curvature += kRowWeight * value * value * rows[row].curvature;
        }
        const double step =
            std::clamp(gradient / curvature, -kMaxStep, kMaxStep);
        column.weight += step;
        if (sweep == 0) largest = std::max(largest, std::abs(step));
        for (const auto& [row, value] : column.entries) {
          rows[row].Move(step * value);
        }
      }
    }
    if (largest < kTolerance) break;
  }
  model->set_bias(bias);
  for (const Column& column : columns) {
    model->add_feature_keys(column.key);
    model->add_weights(static_cast<float>(column.weight));
  }
}

// All but the calibration.
v1::RiskModel Fit(const std::vector<const Example*>& examples) {
  v1::RiskModel model;
  CountSlices(examples, &model);
  FitWeights(examples, &model);
  return model;
}

// Platt's calibration: two Newton coordinates at once.
void Calibrate(const std::vector<std::pair<double, bool>>& scored,
               v1::RiskModel* model) {
  double intercept = 0;
  double slope = 1;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    double g0 = 0;
    double g1 = kSlopePrior * (1 - slope);
    double h00 = 0;
    double h01 = 0;
    double h11 = kSlopePrior;
    for (const auto& [score, failed] : scored) {
      const double p = Sigmoid(intercept + slope * score);
      const double miss = (failed ? 1 : 0) - p;
      const double spread = p * (1 - p);
      g0 += miss;
      g1 += miss * score;
      h00 += spread;
      h01 += spread * score;
      h11 += spread * score * score;
    }
    const double determinant = h00 * h11 - h01 * h01;
    if (determinant < 1e-9) break;
    const double step0 =
        std::clamp((h11 * g0 - h01 * g1) / determinant, -kMaxStep, kMaxStep);
    const double step1 =
        std::clamp((h00 * g1 - h01 * g0) / determinant, -kMaxStep, kMaxStep);
    intercept += step0;
    slope += step1;
    if (std::max(std::abs(step0), std::abs(step1)) < kTolerance) break;
  }
  // A score that is no use on other runs must not be turned around.
  model->set_slope(std::max(slope, 0.));
  model->set_intercept(intercept);
}

// Levels of equal size.
void CountLevels(std::vector<std::pair<double, bool>> scored,
                 v1::RiskModel* model) {
  std::sort(scored.begin(), scored.end());
  const size_t count =
      std::clamp<size_t>(scored.size() / kMinLevelRuns, 1, kMaxLevels);
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * scored.size() / count;
    const size_t end = (i + 1) * scored.size() / count;
    v1::RiskModel::Level& level = *model->add_levels();
    level.set_score(scored[end - 1].first);
    level.set_runs(end - begin);
    for (size_t k = begin; k < end; ++k) {
      level.set_failed(level.failed() + (scored[k].second ? 1 : 0));
    }
  }
}

int StepsOf(const v1::Trace& run, double share) {
  if (share >= 1 || run.steps().empty()) return run.steps_size();
  return std::max(1, static_cast<int>(std::ceil(share * run.steps_size())));
}

// Leaves a run that has no more steps as it is.
void CutAfter(int steps, v1::Trace* run) {
  if (steps >= run->steps_size()) return;
  run->mutable_steps()->DeleteSubrange(steps, run->steps_size() - steps);
  auto& decisions = *run->mutable_decisions();
  decisions.erase(std::remove_if(decisions.begin(), decisions.end(),
                                 [steps](const v1::Decision& decision) {
                                   return decision.step() >= steps;
                                 }),
                  decisions.end());
  run->mutable_memory()->clear_writes();
  run->mutable_evaluation()->clear_signals();
}

// `scratch` saves allocations.
Features Read(const v1::Trace& run, embedding::Run* scratch) {
  embedding::ExtractFeatures(run, scratch);
  Features features;
  features.slice = SliceOf(run);
  features.values.reserve(scratch->tokens.size() + std::size(kMinSteps));
  for (const embedding::TokenCount& token : scratch->tokens) {
    if (IsOfSlice(token.channel)) continue;
    features.values.emplace_back(token.key, std::log1p(token.count));
  }
  for (const int steps : kMinSteps) {
    if (run.steps_size() < steps) break;
    features.values.emplace_back(
        base::Mix64(kStepSeed + static_cast<uint64_t>(steps)), 1.F);
  }
  std::sort(features.values.begin(), features.values.end());
  return features;
}

}  // namespace

Features ReadFeatures(const v1::Trace& run) {
  embedding::Run scratch;
  return Read(run, &scratch);
}

v1::Trace CutRun(v1::Trace run, double share) {
  CutAfter(StepsOf(run, share), &run);
  return run;
}

std::vector<Features> ReadPrefixes(v1::Trace run) {
  std::vector<int> steps;
  for (const double share : kCuts) steps.push_back(StepsOf(run, share));
  embedding::Run scratch;
  std::vector<Features> prefixes(steps.size());
  for (size_t i = steps.size(); i-- > 0;) {
    CutAfter(steps[i], &run);
    prefixes[i] = Read(run, &scratch);
  }
  return prefixes;
}

v1::RiskModel Train(absl::Span<const Example> examples, uint64_t watermark) {
  v1::RiskModel model;
  model.set_watermark(watermark);
  if (!IsEnough(examples)) return model;
  std::vector<const Example*> halves[2];
  std::vector<const Example*> all;
  for (const Example& example : examples) {
    halves[HalfOf(example)].push_back(&example);
    all.push_back(&example);
  }
  std::vector<std::pair<double, bool>> scored;
  for (int half = 0; half < 2; ++half) {
    const v1::RiskModel of_half = Fit(halves[half]);
    for (const Example* example : halves[1 - half]) {
      const size_t prefix = (example->hash >> 1) % example->prefixes.size();
      scored.emplace_back(Score(of_half, example->prefixes[prefix]),
                          example->failed);
    }
  }
  model = Fit(all);
  model.set_watermark(watermark);
  Calibrate(scored, &model);
  CountLevels(std::move(scored), &model);
  return model;
}

Risk Assess(const v1::RiskModel& model, const Features& features) {
  const double score = Score(model, features);
  Risk risk;
  risk.risk = Sigmoid(model.intercept() + model.slope() * score);
  auto level = std::lower_bound(
      model.levels().begin(), model.levels().end(), score,
      [](const v1::RiskModel::Level& a, double b) { return a.score() < b; });
  if (level == model.levels().end()) --level;
  const stats::Interval interval = stats::WilsonInterval(
      static_cast<double>(level->failed()), static_cast<double>(level->runs()));
  risk.lower = std::min(interval.lower, risk.risk);
  risk.upper = std::max(interval.upper, risk.risk);
  risk.runs = level->runs();
  return risk;
}

}  // namespace faultline::risk
