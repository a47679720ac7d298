// How often the sequential tests of lib/stats err, and how soon they decide, on
// simulated streams of runs that are looked at every 25 runs. One JSON object a
// setting and line; probabilities are shares of the streams.
//   sequential_bench --streams 4000 --runs 4000 --seed 1000

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "lib/base/parallel.h"
#include "lib/stats/sequential.h"
#include "tests/worlds/dice.h"

namespace faultline::bench {
namespace {

using worlds::Dice;

constexpr double kAlpha = 0.05;
constexpr int kLook = 25;         // runs between two looks
constexpr int kGuardStart = 200;  // values from which the guards are judged

struct Options {
  int streams = 4000;
  int runs = 4000;
  uint64_t seed = 1000;
  int threads = 2;
};

// How the rate of events changes over a stream.
enum class Drift { kNone, kRise, kWave, kBursts };

// What one stream is like.
struct Setting {
  std::string name;
  double base = 0.2;  // rate of events in the holdout arm, mean over time
  double risk = 1;    // relative risk in the treatment arm
  double probability = 0.5;        // of treatment
  double later_probability = 0.5;  // from the middle on
  Drift drift = Drift::kNone;
};

// What became of it. Runs are those at the first look; 0: never.
struct Verdict {
  int benefit = 0;
  int harm = 0;
  int z_test = 0;  // a fixed-sample test at the same looks
  bool missed = false;
};

double RateAt(const Setting& setting, double time) {
  switch (setting.drift) {
    case Drift::kNone:
      return setting.base;
    case Drift::kRise:
      return setting.base * (0.25 + 1.5 * time);
    case Drift::kWave:
      return setting.base * (1 + 0.9 * std::sin(40 * time));
    case Drift::kBursts:
      return setting.base * (std::fmod(time * 10, 1) < 0.2 ? 4.5 : 0.125);
  }
  return setting.base;
}

Verdict RunStream(const Setting& setting, int runs, Dice dice) {
  std::vector<stats::ArmTally> events = {{setting.probability, 0, 0}};
  const bool ramps = setting.later_probability != setting.probability;
  if (ramps) events.push_back({setting.later_probability, 0, 0});
  double treated = 0, held = 0;
  Verdict verdict;
  for (int run = 1; run <= runs; ++run) {
    stats::ArmTally& tally = events[ramps && 2 * run > runs ? 1 : 0];
    const bool treat = dice.Chance(tally.treatment_probability);
    (treat ? treated : held) += 1;
    const double rate = RateAt(setting, static_cast<double>(run) / runs);
    if (dice.Chance(rate * (treat ? setting.risk : 1))) {
      ++(treat ? tally.treated : tally.held);
    }
    if (run % kLook != 0) continue;
    const auto note = [run](bool crossed, int* first) {
      if (crossed && *first == 0) *first = run;
    };
    note(stats::LogBenefitEValue(events) >= -std::log(kAlpha),
         &verdict.benefit);
    note(stats::LogHarmEValue(events) >= -std::log(kAlpha), &verdict.harm);
    const stats::Interval interval =
        stats::RelativeRiskSequence(events, kAlpha);
    verdict.missed = verdict.missed || interval.lower > setting.risk ||
                     interval.upper < setting.risk;
    if (treated > 0 && held > 0) {
      double a = 0, b = 0;  // events of the arms
      for (const stats::ArmTally& part : events) {
        a += static_cast<double>(part.treated);
        b += static_cast<double>(part.held);
      }
      const double pooled = (a + b) / run;
      const double error =
          std::sqrt(pooled * (1 - pooled) * (1 / treated + 1 / held));
      note(error > 0 && (b / held - a / treated) / error > 1.645,
           &verdict.z_test);
    }
  }
  return verdict;
}

// Calls `one(stream)` for each, on all threads.
template <typename Result>
std::vector<Result> ForStreams(const Options& options,
                               const std::function<Result(Dice)>& one,
                               uint64_t label) {
  std::vector<Result> results(options.streams);
  base::ParallelFor(results.size(), options.threads, [&](size_t stream) {
    results[stream] = one(Dice(options.seed, label, stream));
  });
  return results;
}

// Share of streams that crossed, and the median of all streams, where one that
// did not counts as beyond every number (-1).
void Summarise(const std::vector<Verdict>& verdicts, int Verdict::*first,
               double* share, int* median) {
  std::vector<int> runs;
  for (const Verdict& verdict : verdicts) {
    if (verdict.*first > 0) runs.push_back(verdict.*first);
  }
  std::sort(runs.begin(), runs.end());
  *share =
      static_cast<double>(runs.size()) / static_cast<double>(verdicts.size());
  const size_t middle = verdicts.size() / 2;
  *median = middle < runs.size() ? runs[middle] : -1;
}

void Report(const Options& options, const Setting& setting, uint64_t label) {
  const std::vector<Verdict> verdicts = ForStreams<Verdict>(
      options,
      [&](Dice dice) { return RunStream(setting, options.runs, dice); }, label);
  double benefit, harm, z_test;
  int benefit_runs, harm_runs, z_runs;
  Summarise(verdicts, &Verdict::benefit, &benefit, &benefit_runs);
  Summarise(verdicts, &Verdict::harm, &harm, &harm_runs);
  Summarise(verdicts, &Verdict::z_test, &z_test, &z_runs);
  const auto missed = std::count_if(verdicts.begin(), verdicts.end(),
                                    [](const Verdict& v) { return v.missed; });
  absl::PrintF(
      "{\"test\": \"relative risk\", \"setting\": \"%s\", \"base\": %g, "
      "\"risk\": %g, \"probability\": %g, \"benefit\": %.4f, "
      "\"benefit_runs\": %d, \"harm\": %.4f, \"harm_runs\": %d, "
      "\"missed\": %.4f, \"z_test\": %.4f}\n",
      setting.name, setting.base, setting.risk, setting.probability, benefit,
      benefit_runs, harm, harm_runs,
      static_cast<double>(missed) / static_cast<double>(verdicts.size()),
      z_test);
  std::fflush(stdout);
}

void ReportShare(const Options& options, const char* test, const char* setting,
                 const std::function<bool(Dice)>& one, uint64_t label) {
  const std::vector<char> crossed = ForStreams<char>(
      options, [&](Dice dice) { return static_cast<char>(one(dice)); }, label);
  absl::PrintF(
      "{\"test\": \"%s\", \"setting\": \"%s\", \"share\": %.4f}\n", test,
      setting,
      static_cast<double>(std::count(crossed.begin(), crossed.end(), 1)) /
          static_cast<double>(crossed.size()));
  std::fflush(stdout);
}

// Whether the imbalance test ever crosses; runs of the treatment arm get lost
// with probability `lost`.
bool ImbalanceStream(const Options& options, double probability, double lost,
                     Dice dice) {
  stats::ArmTally runs{probability, 0, 0};
  for (int run = 1; run <= options.runs; ++run) {
    if (!dice.Chance(probability)) {
      ++runs.held;
    } else if (!dice.Chance(lost)) {
      ++runs.treated;
    }
    if (run % kLook == 0 &&
        stats::LogImbalanceEValue({runs}) >= std::log(1000)) {
      return true;
    }
  }
  return false;
}

// Whether the test of units ever crosses, looked at after each of 300 units. A
// unit fails 0 to 10 times, and units differ: half of them rarely fail.
bool UnitStream(double probability, double risk, Dice dice) {
  constexpr int kBound = 10;
  std::vector<stats::UnitTally> units;
  for (int outcome = 0; outcome <= kBound; ++outcome) {
    for (const bool treated : {false, true}) {
      units.push_back({probability, treated, static_cast<double>(outcome), 0});
    }
  }
  for (int unit = 0; unit < 300; ++unit) {
    const bool treated = dice.Chance(probability);
    const double rate = (dice.Chance(0.5) ? 0.1 : 0.5) * (treated ? risk : 1);
    size_t outcome = 0;
    for (int i = 0; i < kBound; ++i) outcome += dice.Chance(rate) ? 1 : 0;
    ++units[2 * outcome + (treated ? 1 : 0)].units;
    if (stats::LogUnitBenefitEValue(units, kBound) >= -std::log(kAlpha)) {
      return true;
    }
  }
  return false;
}

// Whether the asymptotic confidence sequence ever misses the mean of a skewed
// cost, weighted by arm: exp of a sum of uniform numbers, winsorised.
bool GuardStream(const Options& options, double probability, Dice dice) {
  const auto cost = [&dice] {
    double sum = 0;
    for (int i = 0; i < 12; ++i) {
      sum += static_cast<double>(dice.Next() >> 11) * 0x1p-53;
    }
    return std::min(std::exp(0.8 * (sum - 6)), 8.0);
  };
  const double mean = 1.36;  // near that of `cost`; any constant would be valid
  stats::Moments moments;
  for (int run = 1; run <= options.runs; ++run) {
    const bool treated = dice.Chance(probability);
    const double centred = cost() - mean;
    moments.Add(treated ? centred / probability : -centred / (1 - probability));
    if (run < kGuardStart || run % kLook != 0) continue;
    const stats::Interval interval = stats::AsymptoticSequence(moments, kAlpha);
    if (interval.lower > 0 || interval.upper < 0) return true;
  }
  return false;
}

void RunAll(const Options& options) {
  uint64_t label = 0;
  const std::pair<Drift, const char*> drifts[] = {{Drift::kNone, "steady"},
                                                  {Drift::kRise, "rise"},
                                                  {Drift::kWave, "wave"},
                                                  {Drift::kBursts, "bursts"}};
  for (const double base : {.05, .2}) {
    for (const auto& [drift, name] : drifts) {
      for (const auto& [first, later] :
           {std::pair{.5, .5}, std::pair{.9, .9}, std::pair{.5, .9}}) {
        Setting setting{name, base, 1, first, later, drift};
        if (first != later) setting.name += ", ramp to .9";
        Report(options, setting, ++label);
      }
    }
    for (const double risk : {.3, .5, .7, 1.5, 2.}) {
      for (const auto& [drift, name] : {drifts[0], drifts[1]}) {
        Report(options, {name, base, risk, .5, .5, drift}, ++label);
      }
    }
  }
  for (const double p : {.5, .9}) {
    const std::string at = absl::StrFormat("treated %g", p);
    ReportShare(
        options, "imbalance", at.c_str(),
        [&](Dice dice) { return ImbalanceStream(options, p, 0, dice); },
        ++label);
    ReportShare(
        options, "imbalance, one of ten lost", at.c_str(),
        [&](Dice dice) { return ImbalanceStream(options, p, .1, dice); },
        ++label);
  }
  for (const double p : {.5, .8}) {
    const std::string at = absl::StrFormat("treated %g", p);
    ReportShare(
        options, "units", at.c_str(),
        [&](Dice dice) { return UnitStream(p, 1, dice); }, ++label);
    ReportShare(
        options, "units, halved", at.c_str(),
        [&](Dice dice) { return UnitStream(p, .5, dice); }, ++label);
    ReportShare(
        options, "guard", at.c_str(),
        [&](Dice dice) { return GuardStream(options, p, dice); }, ++label);
  }
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) {
  faultline::bench::Options options;
  CLI::App app{"Errors and speed of the sequential tests on simulated streams"};
  app.add_option("--streams", options.streams, "streams of each setting");
  app.add_option("--runs", options.runs, "runs of each stream");
  app.add_option("--seed", options.seed, "seed of the streams");
  app.add_option("--threads", options.threads, "threads");
  CLI11_PARSE(app, argc, argv);
  faultline::bench::RunAll(options);
  return 0;
}
