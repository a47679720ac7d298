#include "lib/diagnose/cause_test.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <optional>
#include <utility>

#include "lib/base/parallel.h"
#include "lib/stats/contingency.h"

namespace faultline::diagnose {
namespace {

constexpr double kMinLowerBound = 1.2;
constexpr double kMinAttributableShare = 0.05;
constexpr double kControlLevel = 0.05;
constexpr double kAlarmTail = 0.001;

// Runs in each stratum; the last are in none.
using StratumCounts = std::vector<uint32_t>;

StratumCounts operator-(StratumCounts counts, const StratumCounts& less) {
  for (size_t s = 0; s < counts.size(); ++s) counts[s] -= less[s];
  return counts;
}

// Runs of the window to be counted by stratum.
class Group {
 public:
  Group(const ContextTable& table, RunSet runs)
      : table_(table), runs_(std::move(runs)) {
    for (int left_out = 0; left_out < kPrognosticCount; ++left_out) {
      all_[left_out] = With(runs_, static_cast<Prognostic>(left_out));
    }
  }

  const StratumCounts& All(Prognostic left_out) const {
    return all_[static_cast<int>(left_out)];
  }
  StratumCounts With(const RunSet& feature, Prognostic left_out) const {
    StratumCounts counts(table_.Strata(left_out).size() + 1);
    const absl::Span<const uint32_t> stratum = table_.StratumOf(left_out);
    runs_.ForEachOfAll(feature, feature,
                       [&](size_t run) { ++counts[stratum[run]]; });
    return counts;
  }

 private:
  const ContextTable& table_;
  RunSet runs_;
  std::array<StratumCounts, kPrognosticCount> all_;
};

// Held-out failures and successes that have one feature or control.
struct OutcomesWith {
  StratumCounts failures;
  StratumCounts successes;
};

// Counts a feature on the cases and the controls of one subject.
class Groups {
 public:
  // `failures`, `successes`: of the held-out side; outlive this.
  Groups(const ContextTable& table, const CauseSubject& subject,
         const Group& failures, const Group& successes)
      : table_(table),
        failures_(failures),
        successes_(successes),
        cases_(table,
               subject.trajectory_only
                   ? table.held_out() & table.failed() & subject.scope_runs
                   : subject.held_out_members) {
    if (subject.trajectory_only) {
      scope_successes_.emplace(
          table, (table.held_out() & ~table.failed()) & subject.scope_runs);
    }
  }

  StratumCounts CasesWith(const RunSet& feature, Prognostic left_out) const {
    return cases_.With(feature, left_out);
  }

  v1::Association AgainstSuccesses(const RunSet& feature, Prognostic left_out,
                                   const StratumCounts& cases_with,
                                   const OutcomesWith& with) const {
    return scope_successes_
               ? Associate(left_out, cases_with,
                           scope_successes_->All(left_out),
                           scope_successes_->With(feature, left_out))
               : Associate(left_out, cases_with, successes_.All(left_out),
                           with.successes);
  }

  // Not inside a scope.
  v1::Association AgainstFailures(Prognostic left_out,
                                  const StratumCounts& cases_with,
                                  const OutcomesWith& with) const {
    return Associate(left_out, cases_with,
                     failures_.All(left_out) - cases_.All(left_out),
                     with.failures - cases_with);
  }

 private:
  v1::Association Associate(Prognostic left_out,
                            const StratumCounts& cases_with,
                            const StratumCounts& controls,
                            const StratumCounts& controls_with) const {
    const StratumCounts& cases = cases_.All(left_out);
    std::vector<stats::Table> tables(table_.Strata(left_out).size());
    stats::Table sum;
    for (size_t s = 0; s < tables.size(); ++s) {
      stats::Table& cell = tables[s];
      cell.a = cases_with[s];
      cell.b = cases[s] - cases_with[s];
      cell.c = controls_with[s];
      cell.d = controls[s] - controls_with[s];
      sum.a += cell.a;
      sum.b += cell.b;
      sum.c += cell.c;
      sum.d += cell.d;
    }
    const stats::OddsRatio odds = stats::MantelHaenszel(tables);
    v1::Association association;
    association.set_cases_with(static_cast<uint64_t>(sum.a));
    association.set_cases_without(static_cast<uint64_t>(sum.b));
    association.set_controls_with(static_cast<uint64_t>(sum.c));
    association.set_controls_without(static_cast<uint64_t>(sum.d));
    association.set_odds_ratio(odds.ratio);
    association.set_odds_ratio_lower(odds.lower);
    association.set_odds_ratio_upper(odds.upper);
    association.set_p_value(odds.p_value);
    return association;
  }

  const ContextTable& table_;
  const Group& failures_;
  const Group& successes_;
  const Group cases_;
  std::optional<Group> scope_successes_;
};

bool InScope(const Feature& feature, const v1::Predicate& scope) {
  if (scope.has_comparison()) {
    return scope.comparison().field() == feature.comparison.field();
  }
  return std::any_of(
      scope.all().predicates().begin(), scope.all().predicates().end(),
      [&](const v1::Predicate& term) { return InScope(feature, term); });
}

double AttributableShare(const v1::Association& association) {
  const double cases = static_cast<double>(association.cases_with() +
                                           association.cases_without());
  const double ratio = association.odds_ratio();
  if (cases == 0 || ratio <= 1) return 0;
  const double exposed = static_cast<double>(association.cases_with()) / cases;
  return std::isinf(ratio) ? exposed : exposed * (ratio - 1) / ratio;
}

}  // namespace

double CauseTest::lower() const {
  const double lower = against_successes.odds_ratio_lower();
  return has_against_failures
             ? std::min(lower, against_failures.odds_ratio_lower())
             : lower;
}

bool CauseTest::Passes(double rate) const {
  return adjusted_p <= rate && lower() > kMinLowerBound &&
         attributable_share >= kMinAttributableShare;
}

double CauseTest::rank() const {
  return std::log(lower()) * std::sqrt(attributable_share);
}

std::vector<CauseTest> TestCauses(const ContextTable& table,
                                  absl::Span<const CauseSubject> subjects,
                                  int threads) {
  if (subjects.empty()) return {};
  const std::vector<Feature>& features = table.features();
  const Group failures(table, table.held_out() & table.failed());
  const Group successes(table, table.held_out() & ~table.failed());
  std::vector<OutcomesWith> with(features.size());
  base::ParallelFor(features.size(), threads, [&](size_t f) {
    with[f] = {failures.With(features[f].runs, features[f].variable),
               successes.With(features[f].runs, features[f].variable)};
  });

  std::vector<std::vector<CauseTest>> tests_of(subjects.size());
  base::ParallelFor(subjects.size(), threads, [&](size_t s) {
    const CauseSubject& subject = subjects[s];
    const Groups groups(table, subject, failures, successes);
    for (size_t f = 0; f < features.size(); ++f) {
      const Feature& feature = features[f];
      if (subject.trajectory_only &&
          (feature.about_task || InScope(feature, subject.scope))) {
        continue;
      }
      const StratumCounts cases_with =
          groups.CasesWith(feature.runs, feature.variable);
      CauseTest& test = tests_of[s].emplace_back();
      test.subject = s;
      test.feature = &feature;
      test.against_successes = groups.AgainstSuccesses(
          feature.runs, feature.variable, cases_with, with[f]);
      test.p_value = test.against_successes.p_value();
      test.attributable_share = AttributableShare(test.against_successes);
      if (subject.trajectory_only) continue;
      test.has_against_failures = true;
      test.against_failures =
          groups.AgainstFailures(feature.variable, cases_with, with[f]);
      const bool same_sign = (test.against_successes.odds_ratio() > 1) ==
                             (test.against_failures.odds_ratio() > 1);
      test.p_value =
          same_sign ? std::max(test.p_value, test.against_failures.p_value())
                    : 1;
    }
  });
  std::vector<CauseTest> tests;
  std::vector<double> p_values;
  for (std::vector<CauseTest>& some : tests_of) {
    for (CauseTest& test : some) {
      p_values.push_back(test.p_value);
      tests.push_back(std::move(test));
    }
  }
  const std::vector<double> adjusted = stats::AdjustBenjaminiHochberg(p_values);
  for (size_t i = 0; i < tests.size(); ++i) tests[i].adjusted_p = adjusted[i];
  return tests;
}

double NegativeControls::rate() const {
  return tests == 0
             ? 0
             : static_cast<double>(significant) / static_cast<double>(tests);
}

bool NegativeControls::alarm() const {
  return stats::BinomialTail(static_cast<int64_t>(tests), kControlLevel,
                             static_cast<int64_t>(significant)) < kAlarmTail;
}

NegativeControls TestNegativeControls(const ContextTable& table,
                                      absl::Span<const CauseSubject> subjects,
                                      int threads) {
  const std::vector<RunSet>& controls = table.controls();
  const size_t tests = subjects.size() * controls.size();
  if (tests == 0) return {};
  const Group failures(table, table.held_out() & table.failed());
  const Group successes(table, table.held_out() & ~table.failed());
  std::vector<OutcomesWith> with(controls.size());
  base::ParallelFor(controls.size(), threads, [&](size_t c) {
    with[c].successes = successes.With(controls[c], Prognostic::kNone);
  });
  std::atomic<size_t> significant = 0;
  base::ParallelFor(subjects.size(), threads, [&](size_t s) {
    const Groups groups(table, subjects[s], failures, successes);
    for (size_t c = 0; c < controls.size(); ++c) {
      const v1::Association association = groups.AgainstSuccesses(
          controls[c], Prognostic::kNone,
          groups.CasesWith(controls[c], Prognostic::kNone), with[c]);
      if (association.p_value() < kControlLevel) ++significant;
    }
  });
  return {tests, significant};
}

}  // namespace faultline::diagnose
