#ifndef FAULTLINE_CLIENT_CLI_TRACE_TABLE_H_
#define FAULTLINE_CLIENT_CLI_TRACE_TABLE_H_

#include <string>

#include "client/cli/table.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::cli {

// Runs as rows: id, a measure, outcome, model, task. Not thread-safe.
class TraceTable {
 public:
  // `measure`: heading of the second column. `cluster`: whether there is a
  // column for the run's cluster.
  explicit TraceTable(const std::string& measure, bool cluster = false);

  void AddRow(const v1::Trace& trace, const std::string& measure,
              const std::string& cluster, v1::Outcome outcome);
  const Table& table() const { return table_; }

 private:
  const bool cluster_;
  Table table_;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_TRACE_TABLE_H_
