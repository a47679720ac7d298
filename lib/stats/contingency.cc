#include "lib/stats/contingency.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "lib/stats/normal.h"

namespace faultline::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kMostExactDraws = 5000;

// Probabilities of the values low..high of a distribution with a single peak
// at `mode`, from the ratio f(x + 1) / f(x). Growing outwards from the peak
// keeps the relative precision of the far tails without any factorial, and
// what underflows is below 1e-300.
template <typename Ratio>
std::vector<double> ProbabilitiesFromMode(int64_t low, int64_t high,
                                          int64_t mode, Ratio ratio) {
  std::vector<double> f(high - low + 1);
  f[mode - low] = 1;
  for (int64_t x = mode; x < high; ++x) f[x + 1 - low] = f[x - low] * ratio(x);
  for (int64_t x = mode; x > low; --x) {
    f[x - 1 - low] = f[x - low] / ratio(x - 1);
  }
  const double total = std::accumulate(f.begin(), f.end(), 0.0);
  for (double& value : f) value /= total;
  return f;
}

int64_t LeastSuccesses(const HypergeometricStratum& s) {
  return std::max<int64_t>(0, s.draws - (s.population - s.successes));
}

std::vector<double> HypergeometricProbabilities(
    const HypergeometricStratum& s) {
  const int64_t low = LeastSuccesses(s);
  const int64_t high = std::min(s.draws, s.successes);
  const int64_t mode = static_cast<int64_t>(
      static_cast<double>(s.draws + 1) * static_cast<double>(s.successes + 1) /
      static_cast<double>(s.population + 2));
  return ProbabilitiesFromMode(
      low, high, std::clamp(mode, low, high), [&s](int64_t x) {
        return static_cast<double>(s.successes - x) *
               static_cast<double>(s.draws - x) /
               (static_cast<double>(x + 1) *
                static_cast<double>(s.population - s.successes - s.draws + x +
                                    1));
      });
}

std::vector<double> Convolve(const std::vector<double>& f,
                             const std::vector<double>& g) {
  std::vector<double> sum(f.size() + g.size() - 1);
  for (size_t i = 0; i < f.size(); ++i) {
    for (size_t j = 0; j < g.size(); ++j) sum[i + j] += f[i] * g[j];
  }
  return sum;
}

double AsPValue(double p) {
  return std::clamp(p, std::numeric_limits<double>::min(), 1.0);
}

double NormalTail(absl::Span<const HypergeometricStratum> strata) {
  double excess = 0;
  double variance = 0;
  for (const HypergeometricStratum& s : strata) {
    if (s.population < 2) continue;
    const double n = static_cast<double>(s.population);
    const double rate = static_cast<double>(s.successes) / n;
    const double draws = static_cast<double>(s.draws);
    excess += static_cast<double>(s.observed) - draws * rate;
    variance += draws * rate * (1 - rate) * (n - draws) / (n - 1);
  }
  if (variance <= 0) return 1;
  return AsPValue(NormalCdf(-(excess - 0.5) / std::sqrt(variance)));
}

double TwoSidedZ(double level) { return -NormalQuantile((1 - level) / 2); }

// Mantel-Haenszel sums over strata.
struct OddsSums {
  double r = 0, s = 0;               // of ad/n and bc/n
  double pr = 0, mixed = 0, qs = 0;  // of the variance of the log ratio
  double excess = 0, variance = 0;   // of a, under no association
};

// Strata without cases or without controls say nothing.
bool Informative(const Table& t) {
  return t.a + t.b > 0 && t.c + t.d > 0 && t.a + t.b + t.c + t.d > 1;
}

// With `more` observations in each cell of the whole, shared out over the
// strata by their size.
OddsSums Sum(absl::Span<const Table> strata, double more) {
  double whole = 0;
  for (const Table& t : strata) {
    if (Informative(t)) whole += t.a + t.b + t.c + t.d;
  }
  OddsSums sums;
  for (const Table& t : strata) {
    if (!Informative(t)) continue;
    const double extra = more * (t.a + t.b + t.c + t.d) / whole;
    const double a = t.a + extra, b = t.b + extra;
    const double c = t.c + extra, d = t.d + extra;
    const double n = a + b + c + d;
    const double ri = a * d / n;
    const double si = b * c / n;
    const double p = (a + d) / n;
    const double q = (b + c) / n;
    sums.r += ri;
    sums.s += si;
    sums.pr += p * ri;
    sums.mixed += p * si + q * ri;
    sums.qs += q * si;
    sums.excess += a - (a + b) * (a + c) / n;
    sums.variance += (a + b) * (c + d) * (a + c) * (b + d) / (n * n * (n - 1));
  }
  return sums;
}

// How far the 95 % interval reaches from the ratio, as a factor.
double IntervalFactor(const OddsSums& sums) {
  const auto& [r, s, pr, mixed, qs, excess, variance] = sums;
  return std::exp(
      TwoSidedZ(0.95) *
      std::sqrt(pr / (2 * r * r) + mixed / (2 * r * s) + qs / (2 * s * s)));
}

}  // namespace

OddsRatio MantelHaenszel(absl::Span<const Table> strata) {
  const OddsSums sums = Sum(strata, 0);
  OddsRatio result;
  if (sums.variance > 0) {
    const double distance = std::max(0.0, std::abs(sums.excess) - 0.5);
    result.p_value = std::erfc(distance / std::sqrt(2 * sums.variance));
  }
  if (sums.r > 0 && sums.s > 0) {
    const double factor = IntervalFactor(sums);
    result.ratio = sums.r / sums.s;
    result.lower = result.ratio / factor;
    result.upper = result.ratio * factor;
  } else if (sums.r > 0 || sums.s > 0) {
    const OddsSums corrected = Sum(strata, 0.5);
    const double ratio = corrected.r / corrected.s;
    const double factor = IntervalFactor(corrected);
    if (sums.r > 0) {
      result.ratio = kInfinity;
      result.lower = ratio / factor;
    } else {
      result.ratio = 0;
      result.upper = ratio * factor;
    }
  }
  return result;
}

double StratifiedEnrichmentPValue(
    absl::Span<const HypergeometricStratum> strata) {
  int64_t draws = 0;
  for (const HypergeometricStratum& s : strata) draws += s.draws;
  if (draws > kMostExactDraws) return NormalTail(strata);

  std::vector<double> sum = {1};
  int64_t above_least = 0;  // observed, counted from the least possible sum
  for (const HypergeometricStratum& s : strata) {
    if (s.draws == 0) continue;
    sum = Convolve(sum, HypergeometricProbabilities(s));
    above_least += s.observed - LeastSuccesses(s);
  }
  if (above_least <= 0) return 1;
  double tail = 0;
  for (int64_t x = static_cast<int64_t>(sum.size()) - 1; x >= above_least;
       --x) {
    tail += sum[x];
  }
  return AsPValue(tail);
}

std::vector<double> AdjustBenjaminiHochberg(absl::Span<const double> p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) {
    return p_values[i] < p_values[j];
  });
  std::vector<double> adjusted(p_values.size());
  double smallest = 1;
  for (size_t rank = order.size(); rank > 0; --rank) {
    const size_t i = order[rank - 1];
    smallest =
        std::min(smallest, p_values[i] * static_cast<double>(order.size()) /
                               static_cast<double>(rank));
    adjusted[i] = smallest;
  }
  return adjusted;
}

Interval WilsonInterval(double events, double n, double level) {
  if (n <= 0) return {0, 1};
  const double z = TwoSidedZ(level);
  const double rate = events / n;
  const double center = rate + z * z / (2 * n);
  const double spread =
      z * std::sqrt(rate * (1 - rate) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  return {events <= 0 ? 0 : std::max(0.0, (center - spread) / scale),
          events >= n ? 1 : std::min(1.0, (center + spread) / scale)};
}

Ratio RelativeRisk(double events_1, double n_1, double events_2, double n_2,
                   double level) {
  Ratio result;
  if (n_1 <= 0 || n_2 <= 0 || events_2 <= 0) return result;
  result.defined = true;
  result.ratio = (events_1 / n_1) / (events_2 / n_2);
  // No event has no logarithm: half an event in each arm bounds from above.
  const double add = events_1 <= 0 ? 0.5 : 0;
  const double x1 = events_1 + add, m1 = n_1 + add;
  const double x2 = events_2 + add, m2 = n_2 + add;
  const double center = (x1 / m1) / (x2 / m2);
  const double spread =
      TwoSidedZ(level) *
      std::sqrt(std::max(0.0, 1 / x1 - 1 / m1 + 1 / x2 - 1 / m2));
  result.lower = events_1 <= 0 ? 0 : center * std::exp(-spread);
  result.upper = center * std::exp(spread);
  return result;
}

Difference ProportionDifference(double events_1, double n_1, double events_2,
                                double n_2) {
  Difference result;
  if (n_1 <= 0 || n_2 <= 0) return result;
  const double p1 = events_1 / n_1, p2 = events_2 / n_2;
  const Interval first = WilsonInterval(events_1, n_1);
  const Interval second = WilsonInterval(events_2, n_2);
  result.defined = true;
  result.value = p1 - p2;
  result.lower = result.value - std::hypot(p1 - first.lower, second.upper - p2);
  result.upper = result.value + std::hypot(first.upper - p1, p2 - second.lower);
  return result;
}

double BinomialTail(int64_t n, double p, int64_t k) {
  if (k <= 0) return 1;
  if (k > n || p <= 0) return 0;
  if (p >= 1) return 1;
  const double odds = p / (1 - p);
  const int64_t mode =
      std::min(n, static_cast<int64_t>(static_cast<double>(n + 1) * p));
  const std::vector<double> f =
      ProbabilitiesFromMode(0, n, mode, [n, odds](int64_t x) {
        return static_cast<double>(n - x) / static_cast<double>(x + 1) * odds;
      });
  double tail = 0;
  for (int64_t x = n; x >= k; --x) tail += f[x];
  return std::min(tail, 1.0);
}

}  // namespace faultline::stats
