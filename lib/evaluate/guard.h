#ifndef FAULTLINE_LIB_EVALUATE_GUARD_H_
#define FAULTLINE_LIB_EVALUATE_GUARD_H_

#include <vector>

#include "faultline/v1/config.pb.h"
#include "faultline/v1/evaluation.pb.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"
#include "lib/embedding/run.h"

// Cost and latency of a trial: no intervention may pay for fewer failures with
// more of either than the project allows (METHODS 5.3). Pure functions.

namespace faultline::evaluate {

// What is known of cost and latency before a trial, from the runs in scope: the
// mean, that of each task type, and the value that larger ones count as: the
// 99.5 % quantile, or what twice the increase that the project allows would
// come to, where that is more: else a dear route would count as a cheap one.
// What fewer than 100 runs tell is not guarded.
std::vector<v1::Trial::Guard> StartGuards(const diagnose::Window& window,
                                          const diagnose::RunSet& scope,
                                          const v1::ProjectConfig& config);

// Counts a run that was assigned with `treatment_probability`, where it tells
// the metric. Runs assigned with more than .8 are left out: with few held out
// the interval is not to be trusted.
void CountGuard(const embedding::Run& run, bool treated,
                double treatment_probability, v1::Trial::Guard* guard);

// Change so far, and the limit that the project sets. The bounds are equal to
// those of no knowledge (0 runs, no limit crossed) until 200 runs are counted.
v1::GuardMetric ReadGuard(const v1::Trial::Guard& guard,
                          const v1::ProjectConfig& config);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_GUARD_H_
