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
// {"tick", "runs", "none", "random", "bandit", "oracle", "reached", "captured",
// "policy_version", "clusters": [...], "interventions": [...]} on one line.
std::string TickJson(const TickReport& report);

// What a run of the lab came to. Views.
struct Results {
  const std::vector<TickReport>& reports;
  const std::vector<TrialReport>& trials;
  const std::vector<NamingReport>& naming;
};

// Tables of the ticks, of the trials beside the truth and of the accepted
// clusters beside the hidden kinds, then one line for each figure, the figure
// last.
std::string SummaryText(const Results& results);
// {"summary": {...}, "trials": [...], "naming": [...]} on one line.
std::string SummaryJson(const Results& results);

// Failure rate of each route and strategy by hidden kind.
std::string KindsText(const std::vector<KindReport>& reports);
std::string KindsJson(const std::vector<KindReport>& reports);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_REPORT_H_
