#include "lib/stats/off_policy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace faultline::stats {
namespace {

constexpr double kNormal95 = 1.959963984540054;
constexpr double kMaxWeight = 20;
constexpr double kShrinkage = 10;
constexpr double kMaxWeightErrors = 3;
constexpr double kMinEffective = 100;
constexpr double kMinEffectiveShare = 0.05;
constexpr double kMaxWeightShare = 0.05;

double StandardError(const Moments& moments) {
  const auto n = static_cast<double>(moments.count);
  if (moments.count < 2) return 0;
  const double mean = moments.sum / n;
  const double variance = (moments.sum_of_squares - n * mean * mean) / (n - 1);
  return std::sqrt(std::max(0.0, variance) / n);
}

MeanEstimate Estimate(double mean, double error) {
  return {mean, mean - kNormal95 * error, mean + kNormal95 * error};
}

MeanEstimate Estimate(const Moments& moments) {
  return Estimate(moments.sum / static_cast<double>(moments.count),
                  StandardError(moments));
}

// Mean loss of cells and arms, learnt on one half.
class LossModel {
 public:
  LossModel(absl::Span<const LoggedChoice> choices, size_t half,
            const ChoicePolicy& policy)
      : arms_(policy.arms),
        cells_(policy.probability.size()),
        arm_means_(static_cast<size_t>(policy.arms)) {
    std::vector<Mean> by_arm(arm_means_.size());
    Mean all;
    for (size_t i = half; i < choices.size(); i += 2) {
      const LoggedChoice& choice = choices[i];
      for (Mean* mean : {&cells_[Index(choice.cell, choice.arm)],
                         &by_arm[static_cast<size_t>(choice.arm)], &all}) {
        mean->sum += choice.loss;
        mean->count += 1;
      }
    }
    const double overall = all.count > 0 ? all.sum / all.count : 0;
    for (size_t arm = 0; arm < by_arm.size(); ++arm) {
      arm_means_[arm] =
          by_arm[arm].count > 0 ? by_arm[arm].sum / by_arm[arm].count : overall;
    }
  }

  double Predict(int32_t cell, int32_t arm) const {
    const Mean& mean = cells_[Index(cell, arm)];
    return (mean.sum + kShrinkage * arm_means_[static_cast<size_t>(arm)]) /
           (mean.count + kShrinkage);
  }

 private:
  struct Mean {
    double sum = 0;
    double count = 0;
  };

  size_t Index(int32_t cell, int32_t arm) const {
    return static_cast<size_t>(cell) * static_cast<size_t>(arms_) +
           static_cast<size_t>(arm);
  }

  int32_t arms_;
  std::vector<Mean> cells_;
  std::vector<double> arm_means_;
};

Support JudgeSupport(const OffPolicyReport& report, double n) {
  if (std::abs(report.mean_weight - 1) >
      kMaxWeightErrors * report.mean_weight_error) {
    return Support::kWrongWeights;
  }
  if (report.effective_size < std::max(kMinEffective, kMinEffectiveShare * n)) {
    return Support::kFewEffective;
  }
  if (report.largest_weight_share > kMaxWeightShare) {
    return Support::kOneWeightRules;
  }
  return Support::kSufficient;
}

}  // namespace

OffPolicyReport EvaluateOffPolicy(absl::Span<const LoggedChoice> choices,
                                  const ChoicePolicy& policy) {
  OffPolicyReport report;
  if (choices.size() < 2) return report;
  // models[h] is applied to half h, so learnt on the other.
  const std::array<LossModel, 2> models = {LossModel(choices, 1, policy),
                                           LossModel(choices, 0, policy)};
  Moments logged, weights, ips, dr;
  std::vector<double> weight_of;  // by choice
  weight_of.reserve(choices.size());
  double largest = 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    const LoggedChoice& choice = choices[i];
    const LossModel& model = models[i % 2];
    const double* probability =
        policy.probability.data() +
        static_cast<ptrdiff_t>(choice.cell) * policy.arms;
    const double ratio = probability[choice.arm] / choice.propensity;
    const double weight = std::min(ratio, kMaxWeight);
    report.clipped += ratio > kMaxWeight ? 1 : 0;
    largest = std::max(largest, weight);
    weight_of.push_back(weight);
    double expected = 0;
    for (int32_t arm = 0; arm < policy.arms; ++arm) {
      expected += probability[arm] * model.Predict(choice.cell, arm);
    }
    const double robust =
        expected +
        weight * (choice.loss - model.Predict(choice.cell, choice.arm));
    logged.Add(choice.loss);
    weights.Add(weight);
    ips.Add(weight * choice.loss);
    dr.Add(robust);
    report.change_moments.Add(robust - choice.loss);
  }
  const auto n = static_cast<double>(choices.size());
  report.logged = Estimate(logged);
  report.ips = Estimate(ips);
  report.dr = Estimate(dr);
  report.change = Estimate(report.change_moments);
  report.mean_weight = weights.sum / n;
  report.mean_weight_error = StandardError(weights);
  if (weights.sum > 0) {
    report.effective_size = weights.sum * weights.sum / weights.sum_of_squares;
    report.largest_weight_share = largest / weights.sum;
    const double snips = ips.sum / weights.sum;
    Moments residuals;  // of the ratio, to first order
    for (size_t i = 0; i < choices.size(); ++i) {
      residuals.Add(weight_of[i] * (choices[i].loss - snips) /
                    report.mean_weight);
    }
    report.snips = Estimate(snips, StandardError(residuals));
  }
  report.support = JudgeSupport(report, n);
  return report;
}

}  // namespace faultline::stats
