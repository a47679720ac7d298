#include "lib/stats/sequential.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace faultline::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr std::array<double, 9> kBenefitRisks = {.1, .2, .3, .4, .5,
                                                 .6, .7, .8, .9};
constexpr std::array<double, 6> kHarmRisks = {1.1, 1.25, 1.5, 2, 3, 5};

// Values of ln rho that the confidence sequence mixes over.
constexpr int kMixturePoints = 41;
constexpr double kMixtureReach = 3;

// Bets on units, as shares of the largest one that cannot lose everything.
constexpr std::array<double, 7> kBets = {.02, .05, .1, .2, .3, .5, .8};

constexpr double kImbalancePriorRuns = 100;
// Count at which the asymptotic confidence sequence is tightest.
constexpr double kTightestCount = 1000;

// ln of a weighted mean of exponentials.
class LogMean {
 public:
  void Add(double log_value, double weight) {
    if (log_value > largest_) {
      sum_ *= std::exp(largest_ - log_value);
      largest_ = log_value;
    }
    sum_ += weight * std::exp(log_value - largest_);
    weights_ += weight;
  }
  double Value() const { return largest_ + std::log(sum_ / weights_); }

 private:
  double largest_ = -kInfinity;
  double sum_ = 0;
  double weights_ = 0;
};

// ln of the likelihood ratio of exp(theta) against 1; concave in theta.
double LogLikelihoodRatio(absl::Span<const ArmTally> events, double theta) {
  double sum = 0;
  for (const ArmTally& tally : events) {
    const double p = tally.treatment_probability;
    sum += static_cast<double>(tally.treated) * theta -
           static_cast<double>(tally.treated + tally.held) *
               std::log1p(p * std::expm1(theta));
  }
  return sum;
}

template <size_t kSize>
double LogMixture(absl::Span<const ArmTally> events,
                  const std::array<double, kSize>& risks) {
  LogMean mean;
  for (const double risk : risks) {
    mean.Add(LogLikelihoodRatio(events, std::log(risk)), 1);
  }
  return mean.Value();
}

struct Events {
  int64_t treated = 0;
  int64_t held = 0;
};

Events Sum(absl::Span<const ArmTally> events) {
  Events sum;
  for (const ArmTally& tally : events) {
    sum.treated += tally.treated;
    sum.held += tally.held;
  }
  return sum;
}

// theta in (from, to) where `before(theta)` turns from true to false.
template <typename Before>
double Bisect(double from, double to, Before before) {
  for (int i = 0; i < 60; ++i) {
    const double middle = (from + to) / 2;
    (before(middle) ? from : to) = middle;
  }
  return (from + to) / 2;
}

// Beyond it exp(theta) says nothing that a count could contradict.
constexpr double kMaxTheta = 40;

double MostLikelyTheta(absl::Span<const ArmTally> events) {
  const Events sum = Sum(events);
  if (sum.treated == 0) return -kMaxTheta;
  if (sum.held == 0) return kMaxTheta;
  return Bisect(-kMaxTheta, kMaxTheta, [&](double theta) {
    double expected = 0;  // treated, of these events
    for (const ArmTally& tally : events) {
      const double odds = tally.treatment_probability /
                          (1 - tally.treatment_probability) * std::exp(theta);
      expected +=
          static_cast<double>(tally.treated + tally.held) * odds / (1 + odds);
    }
    return expected < static_cast<double>(sum.treated);
  });
}

}  // namespace

double LogBenefitEValue(absl::Span<const ArmTally> events) {
  return LogMixture(events, kBenefitRisks);
}

double LogHarmEValue(absl::Span<const ArmTally> events) {
  return LogMixture(events, kHarmRisks);
}

double RelativeRiskEstimate(absl::Span<const ArmTally> events) {
  const Events sum = Sum(events);
  if (sum.treated + sum.held == 0) return 1;
  if (sum.treated == 0) return 0;
  if (sum.held == 0) return kInfinity;
  return std::exp(MostLikelyTheta(events));
}

Interval RelativeRiskSequence(absl::Span<const ArmTally> events, double alpha) {
  const Events sum = Sum(events);
  if (sum.treated + sum.held == 0) return {0, kInfinity};
  LogMean mixture;
  for (int i = 0; i < kMixturePoints; ++i) {
    const double theta = kMixtureReach * (2.0 * i / (kMixturePoints - 1) - 1);
    mixture.Add(LogLikelihoodRatio(events, theta),
                std::exp(-theta * theta / 2));
  }
  const double least = mixture.Value() + std::log(alpha);
  const auto inside = [&](double theta) {
    return LogLikelihoodRatio(events, theta) > least;
  };
  const double top = MostLikelyTheta(events);
  Interval interval{0, kInfinity};
  if (!inside(-kMaxTheta)) {
    interval.lower = std::exp(
        Bisect(-kMaxTheta, top, [&](double theta) { return !inside(theta); }));
  }
  if (!inside(kMaxTheta)) {
    interval.upper = std::exp(Bisect(top, kMaxTheta, inside));
  }
  return interval;
}

double LogImbalanceEValue(absl::Span<const ArmTally> runs) {
  const auto log_beta = [](double a, double b) {
    return std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b);
  };
  double sum = 0;
  for (const ArmTally& tally : runs) {
    const double p = tally.treatment_probability;
    const auto treated = static_cast<double>(tally.treated);
    const auto held = static_cast<double>(tally.held);
    const double a = kImbalancePriorRuns * p;
    const double b = kImbalancePriorRuns * (1 - p);
    sum += log_beta(a + treated, b + held) - log_beta(a, b) -
           treated * std::log(p) - held * std::log1p(-p);
  }
  return sum;
}

double LogUnitBenefitEValue(absl::Span<const UnitTally> units, double bound) {
  LogMean mean;
  for (const double bet : kBets) {
    double sum = 0;
    for (const UnitTally& tally : units) {
      const double p = tally.treatment_probability;
      // The largest loss is that of a treated unit with the largest outcome.
      const double loss = bet * tally.outcome / bound;
      const double factor = tally.treated ? 1 - loss : 1 + loss * p / (1 - p);
      sum += static_cast<double>(tally.units) * std::log(factor);
    }
    mean.Add(sum, 1);
  }
  return mean.Value();
}

Interval AsymptoticSequence(const Moments& moments, double alpha) {
  if (moments.count < 2) return {-kInfinity, kInfinity};
  const auto t = static_cast<double>(moments.count);
  const double mean = moments.sum / t;
  const double variance =
      std::max(0.0, moments.sum_of_squares / t - mean * mean);
  const double log_level = -2 * std::log(alpha);
  const double r2 = (log_level + std::log(log_level + 1)) / kTightestCount;
  const double half = std::sqrt(variance * 2 * (t * r2 + 1) / (t * t * r2) *
                                std::log(std::sqrt(t * r2 + 1) / alpha));
  return {mean - half, mean + half};
}

}  // namespace faultline::stats
