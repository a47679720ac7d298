#ifndef FAULTLINE_CLIENT_CLI_TRACE_TABLE_H_
#define FAULTLINE_CLIENT_CLI_TRACE_TABLE_H_

#include <string>
#include <vector>

#include "client/cli/table.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::cli {

// Runs as rows: id, measures, outcome, model, task. Not thread-safe.
class TraceTable {
 public:
  // `measures`: headings of the columns after the first. `cluster`: whether
  // there is a column for the run's cluster.
  explicit TraceTable(std::vector<Column> measures, bool cluster = false);

  // `measures`: as many as there are columns for them.
  void AddRow(const v1::Trace& trace, const std::vector<std::string>& measures,
              const std::string& cluster, v1::Outcome outcome);
  const Table& table() const { return table_; }

 private:
  const bool cluster_;
  Table table_;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_TRACE_TABLE_H_
