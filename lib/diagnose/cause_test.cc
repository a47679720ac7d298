#include "lib/diagnose/cause_test.h"

#include <algorithm>
#include <cmath>

#include "lib/stats/contingency.h"

namespace faultline::diagnose {
namespace {

constexpr double kMinLowerBound = 1.2;
constexpr double kMinAttributableShare = 0.05;
constexpr double kControlLevel = 0.05;

// The cases and controls of one subject.
struct Groups {
  RunSet cases;
  RunSet successes;
  RunSet other_failures;  // empty inside a scope
};

Groups MakeGroups(const ContextTable& table, const CauseSubject& subject) {
  const RunSet failures = table.held_out() & table.failed();
  const RunSet successes = table.held_out() & ~table.failed();
  if (subject.trajectory_only) {
    return {failures & subject.scope_runs, successes & subject.scope_runs,
            RunSet(table.size())};
  }
  return {subject.held_out_members, successes,
          failures & ~subject.held_out_members};
}

v1::Association Associate(const RunSet& cases, const RunSet& controls,
                          const RunSet& feature,
                          absl::Span<const RunSet> strata) {
  std::vector<stats::Table> tables;
  stats::Table sum;
  for (const RunSet& stratum : strata) {
    stats::Table& cell = tables.emplace_back();
    cell.a = static_cast<double>(cases.CountAll(stratum, feature));
    cell.b = static_cast<double>(cases.CountBoth(stratum)) - cell.a;
    cell.c = static_cast<double>(controls.CountAll(stratum, feature));
    cell.d = static_cast<double>(controls.CountBoth(stratum)) - cell.c;
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
                                  absl::Span<const CauseSubject> subjects) {
  std::vector<CauseTest> tests;
  for (size_t s = 0; s < subjects.size(); ++s) {
    const CauseSubject& subject = subjects[s];
    const Groups groups = MakeGroups(table, subject);
    for (const Feature& feature : table.features()) {
      if (subject.trajectory_only &&
          (feature.about_task || InScope(feature, subject.scope))) {
        continue;
      }
      const auto strata = table.Strata(feature.variable);
      CauseTest& test = tests.emplace_back();
      test.subject = s;
      test.feature = &feature;
      test.against_successes =
          Associate(groups.cases, groups.successes, feature.runs, strata);
      test.p_value = test.against_successes.p_value();
      test.attributable_share = AttributableShare(test.against_successes);
      if (subject.trajectory_only) continue;
      test.has_against_failures = true;
      test.against_failures =
          Associate(groups.cases, groups.other_failures, feature.runs, strata);
      const bool same_sign = (test.against_successes.odds_ratio() > 1) ==
                             (test.against_failures.odds_ratio() > 1);
      test.p_value =
          same_sign ? std::max(test.p_value, test.against_failures.p_value())
                    : 1;
    }
  }
  std::vector<double> p_values;
  p_values.reserve(tests.size());
  for (const CauseTest& test : tests) p_values.push_back(test.p_value);
  const std::vector<double> adjusted = stats::AdjustBenjaminiHochberg(p_values);
  for (size_t i = 0; i < tests.size(); ++i) tests[i].adjusted_p = adjusted[i];
  return tests;
}

double NegativeControlRate(const ContextTable& table,
                           absl::Span<const CauseSubject> subjects) {
  size_t tests = 0;
  size_t significant = 0;
  for (const CauseSubject& subject : subjects) {
    const Groups groups = MakeGroups(table, subject);
    for (const RunSet& control : table.controls()) {
      const v1::Association association =
          Associate(groups.cases, groups.successes, control,
                    table.Strata(Prognostic::kNone));
      ++tests;
      significant += association.p_value() < kControlLevel ? 1 : 0;
    }
  }
  return tests == 0 ? 0 : static_cast<double>(significant) / tests;
}

}  // namespace faultline::diagnose
