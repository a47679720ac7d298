#ifndef FAULTLINE_LIB_DIAGNOSE_CAUSE_TEST_H_
#define FAULTLINE_LIB_DIAGNOSE_CAUSE_TEST_H_

#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/diagnosis.pb.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"

namespace faultline::diagnose {

// What a test of causes needs to know of one cluster.
struct CauseSubject {
  RunSet held_out_members;  // failed
  // Found in the trajectory view only: its tasks are its scope, so the test is
  // made inside `scope`, failures against successes, and not on the features
  // of tasks or of the scope (METHODS 1.5).
  bool trajectory_only = false;
  v1::Predicate scope;
  RunSet scope_runs;
};

// One context feature tested on one cluster.
struct CauseTest {
  size_t subject;
  const Feature* feature;
  v1::Association against_successes;
  // Absent inside a scope, where every failure is a case.
  bool has_against_failures = false;
  v1::Association against_failures;
  double p_value = 1;     // larger of the two; 1 where the signs differ
  double adjusted_p = 1;  // over all tests
  double attributable_share = 0;

  // Least lower bound of the odds ratios.
  double lower() const;
  // Significant at `rate`, lower bounds above 1.2, attributable share at
  // least 0.05.
  bool Passes(double rate) const;
  // Lower-bound log odds ratio times the root of the attributable share.
  double rank() const;
};

// Tests every feature on every subject, held-out side, by Mantel-Haenszel in
// prognostic strata without the tested variable: cases against successes and
// against other failures, as an intersection-union test; Benjamini-Hochberg
// over all of them (METHODS 4.1). By subject, then feature. The same for any
// number of threads.
std::vector<CauseTest> TestCauses(const ContextTable& table,
                                  absl::Span<const CauseSubject> subjects,
                                  int threads = 1);

// Tests of features that cannot matter.
struct NegativeControls {
  uint64_t tests = 0;
  uint64_t significant = 0;  // below .05

  // Near .05 where the tests are calibrated.
  double rate() const;
  // Far more are significant than chance allows (binomial tail below .001).
  bool alarm() const;
};

// Tests the table's negative controls on every subject, against successes.
NegativeControls TestNegativeControls(const ContextTable& table,
                                      absl::Span<const CauseSubject> subjects,
                                      int threads = 1);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_CAUSE_TEST_H_
