#ifndef FAULTLINE_CLIENT_LAB_REPORT_H_
#define FAULTLINE_CLIENT_LAB_REPORT_H_

#include <string>
#include <vector>

#include "client/lab/lab.h"
#include "client/lab/lab_runner.h"

namespace faultline::lab {

// The lab's results as text for a person (tables by libsmartcols) and as JSON
// lines for programs. Text of the server is escaped where it could drive a
// terminal.

// One tick: a line of rates, its clusters with failure mode and status, and the
// interventions. `\n` at the end.
std::string TickText(const TickReport& report);
// {"tick", "runs", "none", "oracle", "reached", "gap_closed", "policy_version",
// "clusters": [...], "interventions": [...]} on one line.
std::string TickJson(const TickReport& report);

// A table of all ticks, then the lines `none`, `oracle`, `reached` and `gap
// closed`, the figure last in each.
std::string SummaryText(const std::vector<TickReport>& reports);
std::string SummaryJson(const std::vector<TickReport>& reports);

// Failure rate of each route by hidden kind.
std::string KindsText(const std::vector<KindReport>& reports);
std::string KindsJson(const std::vector<KindReport>& reports);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_REPORT_H_
