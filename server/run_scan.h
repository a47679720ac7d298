#ifndef FAULTLINE_SERVER_RUN_SCAN_H_
#define FAULTLINE_SERVER_RUN_SCAN_H_

#include <string>

#include "absl/status/statusor.h"
#include "faultline/v1/evaluation_service.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/evaluate/judged_runs.h"
#include "lib/trace/trace_log.h"

namespace faultline::server {

// Hands the stretch of the log that EvaluationService is about to `runs`: the
// last 200000 records up to the watermark of `tick`. Of the result, the counts
// of runs are not filled in. Takes seconds. Returns the log's errors.
absl::StatusOr<v1::RunStretch> ScanRuns(const trace::TraceLog& log,
                                        const std::string& project,
                                        const v1::Tick& tick,
                                        evaluate::JudgedRuns* runs);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_RUN_SCAN_H_
