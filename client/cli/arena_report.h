#ifndef FAULTLINE_CLIENT_CLI_ARENA_REPORT_H_
#define FAULTLINE_CLIENT_CLI_ARENA_REPORT_H_

#include <string>
#include <vector>

#include "client/arena/arena.h"
#include "client/arena/early_warning.h"
#include "client/arena/recorded_runs.h"
#include "client/cli/table.h"

// What the arena measured, for people and for programs. Pure functions.

namespace faultline::cli {

// One JSON object, without the end of the line.
std::string StreamJson(const arena::StreamResult& result);
std::string WarningJson(const arena::WarningResult& result);

// Means over seeds with 95 % t-intervals: over draws of the split, the order
// and the arms, given the recorded runs. `all`: of every task.
std::string StreamSummaryJson(const std::vector<arena::StreamResult>& results,
                              const arena::Baselines& all);
std::string WarningSummaryJson(
    const std::vector<arena::WarningResult>& results);

// One row for each seed; the same means.
Table StreamTable(const std::vector<arena::StreamResult>& results);
Table StreamSummary(const std::vector<arena::StreamResult>& results,
                    const arena::Baselines& all);
Table WarningSummary(const std::vector<arena::WarningResult>& results);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_ARENA_REPORT_H_
