#include "lib/evaluate/guard.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <optional>

#include "lib/stats/sequential.h"

namespace faultline::evaluate {
namespace {

using embedding::Run;
using v1::GuardMetric;

constexpr double kAlpha = 0.05;
constexpr double kCapQuantile = 0.995;
// Increases that must show, in those that are allowed.
constexpr double kHeadroom = 2;
constexpr size_t kMinBaselineRuns = 100;
constexpr size_t kMinSliceRuns = 20;
constexpr size_t kMaxSlices = 64;
// Where the asymptotic interval is nominal (METHODS 5.3).
constexpr int64_t kMinRuns = 200;
constexpr double kMaxProbability = 0.8;
constexpr char kSliceField[] = "task.type";

std::optional<double> ValueOf(const Run& run, GuardMetric::Kind kind) {
  return kind == GuardMetric::KIND_COST ? run.told_cost() : run.latency();
}

double MaxIncrease(GuardMetric::Kind kind, const v1::ProjectConfig& config) {
  return kind == GuardMetric::KIND_COST ? config.max_cost_increase()
                                        : config.max_latency_increase();
}

struct Mean {
  double sum = 0;
  size_t count = 0;

  void Add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return sum / static_cast<double>(count); }
};

}  // namespace

std::vector<v1::Trial::Guard> StartGuards(const diagnose::Window& window,
                                          const diagnose::RunSet& scope,
                                          const v1::ProjectConfig& config) {
  std::vector<v1::Trial::Guard> guards;
  for (const GuardMetric::Kind kind :
       {GuardMetric::KIND_COST, GuardMetric::KIND_LATENCY}) {
    std::vector<double> values;
    scope.ForEach([&](size_t row) {
      const auto value = ValueOf(*window.runs[row], kind);
      if (value.has_value()) values.push_back(*value);
    });
    if (values.size() < kMinBaselineRuns) continue;
    const auto cap =
        values.begin() + static_cast<int64_t>(kCapQuantile * values.size());
    std::nth_element(values.begin(), cap, values.end());

    v1::Trial::Guard& guard = guards.emplace_back();
    guard.set_kind(kind);
    const double quantile = *cap;
    const double mean_value =
        std::accumulate(values.begin(), values.end(), 0.0) /
        static_cast<double>(values.size());
    guard.set_cap(std::max(
        quantile, (1 + kHeadroom * MaxIncrease(kind, config)) * mean_value));
    Mean mean;
    std::map<uint64_t, Mean> slices;
    scope.ForEach([&](size_t row) {
      const Run& run = *window.runs[row];
      const auto value = ValueOf(run, kind);
      if (!value.has_value()) return;
      const double capped = std::min(*value, guard.cap());
      mean.Add(capped);
      for (const uint64_t key : run.context) {
        const auto name = window.names->context.find(key);
        if (name != window.names->context.end() && !name->second.word &&
            name->second.field == kSliceField) {
          slices[key].Add(capped);
        }
      }
    });
    guard.set_baseline(mean.value());
    if (guard.baseline() <= 0) {
      guards.pop_back();
      continue;
    }
    for (const auto& [key, slice] : slices) {
      if (slice.count < kMinSliceRuns) continue;
      if (static_cast<size_t>(guard.slices_size()) == kMaxSlices) break;
      v1::Trial::Guard::Slice& stored = *guard.add_slices();
      stored.set_key(key);
      stored.set_mean(slice.value());
    }
  }
  return guards;
}

void CountGuard(const Run& run, bool treated, double treatment_probability,
                v1::Trial::Guard* guard) {
  if (treatment_probability > kMaxProbability) return;
  const auto value = ValueOf(run, guard->kind());
  if (!value.has_value()) return;
  double expected = guard->baseline();
  for (const v1::Trial::Guard::Slice& slice : guard->slices()) {
    if (std::binary_search(run.context.begin(), run.context.end(),
                           slice.key())) {
      expected = slice.mean();
      break;
    }
  }
  // Weighted by the inverse probability of the arm: its mean is the change.
  const double weight =
      treated ? 1 / treatment_probability : -1 / (1 - treatment_probability);
  const double z = (std::min(*value, guard->cap()) - expected) * weight;
  guard->set_count(guard->count() + 1);
  guard->set_sum(guard->sum() + z);
  guard->set_sum_of_squares(guard->sum_of_squares() + z * z);
}

GuardMetric ReadGuard(const v1::Trial::Guard& guard,
                      const v1::ProjectConfig& config) {
  GuardMetric metric;
  metric.set_kind(guard.kind());
  metric.set_baseline(guard.baseline());
  metric.set_runs(guard.count());
  metric.set_limit(guard.baseline() * MaxIncrease(guard.kind(), config));
  metric.set_lower(-std::numeric_limits<double>::infinity());
  metric.set_upper(std::numeric_limits<double>::infinity());
  if (guard.count() > 0) {
    metric.set_change(guard.sum() / static_cast<double>(guard.count()));
  }
  if (guard.count() >= kMinRuns) {
    const stats::Moments moments{guard.count(), guard.sum(),
                                 guard.sum_of_squares()};
    const stats::Interval interval = stats::AsymptoticSequence(moments, kAlpha);
    metric.set_lower(interval.lower);
    metric.set_upper(interval.upper);
  }
  return metric;
}

}  // namespace faultline::evaluate
