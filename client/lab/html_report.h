#ifndef FAULTLINE_CLIENT_LAB_HTML_REPORT_H_
#define FAULTLINE_CLIENT_LAB_HTML_REPORT_H_

#include <string>

#include "client/lab/lab.h"
#include "client/lab/report.h"

namespace faultline::lab {

// The results as one HTML page that needs nothing else: curves of the failure
// rates (SVG), in all and by family, and the tables of SummaryText. Text of the
// server is escaped.
std::string HtmlReport(const Lab& lab, const Results& results);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_HTML_REPORT_H_
