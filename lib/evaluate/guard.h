#ifndef FAULTLINE_LIB_EVALUATE_GUARD_H_
#define FAULTLINE_LIB_EVALUATE_GUARD_H_

#include <vector>

#include "faultline/v1/evaluation.pb.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"
#include "lib/embedding/run.h"

// Cost and latency of a trial: no intervention may pay for fewer failures with
// a tenth more of either (METHODS 5.3). Pure functions.

namespace faultline::evaluate {

// What is known of cost and latency before a trial, from the runs in scope: the
// mean, that of each task type, and the value that larger ones count as. What
// fewer than 100 runs tell is not guarded.
std::vector<v1::Trial::Guard> StartGuards(const diagnose::Window& window,
                                          const diagnose::RunSet& scope);

// Counts a run that was assigned with `treatment_probability`, where it tells
// the metric. Runs assigned with more than .8 are left out: with few held out
// the interval is not to be trusted.
void CountGuard(const embedding::Run& run, bool treated,
                double treatment_probability, v1::Trial::Guard* guard);

// Change so far. The bounds are equal to those of no knowledge (0 runs, no
// limit crossed) until 200 runs are counted.
v1::GuardMetric ReadGuard(const v1::Trial::Guard& guard);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_GUARD_H_
