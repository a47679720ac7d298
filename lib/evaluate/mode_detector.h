#ifndef FAULTLINE_LIB_EVALUATE_MODE_DETECTOR_H_
#define FAULTLINE_LIB_EVALUATE_MODE_DETECTOR_H_

#include "faultline/v1/evaluation.pb.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"
#include "lib/embedding/run.h"

namespace faultline::evaluate {

// Learns to tell failures of a mode from other failures of the discovery side
// in scope by their tasks, which no treatment changes: log-odds of the presence
// of tokens, clipped, the 40 most
// significant; the threshold gives the best F1 in training (METHODS 5.1).
// `members`: runs of the window that are the mode's; those out of scope or of
// the held-out side are not looked at. Pure.
v1::ModeDetector TrainModeDetector(const diagnose::Window& window,
                                   const diagnose::RunSet& members,
                                   const diagnose::RunSet& scope);

// Whether a failed run failed in the mode. Reads no exposure. Pure.
bool IsOfMode(const v1::ModeDetector& detector, const embedding::Run& run);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_MODE_DETECTOR_H_
