#include "client/cli/trace_table.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/text.h"

namespace faultline::cli {
namespace {

std::vector<Column> Columns(std::vector<Column> measures, bool cluster) {
  std::vector<Column> columns = {{"TRACE"}};
  const auto add = [&columns](std::vector<Column> more) {
    columns.insert(columns.end(), more.begin(), more.end());
  };
  add(std::move(measures));
  add({{"OUTCOME"}, {"MODEL"}, {"TASK TYPE"}, {"STEPS", Column::Fit::kNumber}});
  if (cluster) add({{"CLUSTER"}});
  add({{"INPUT", Column::Fit::kCut}});
  return columns;
}

}  // namespace

TraceTable::TraceTable(std::vector<Column> measures, bool cluster)
    : cluster_(cluster), table_(Columns(std::move(measures), cluster)) {}

void TraceTable::AddRow(const v1::Trace& trace,
                        const std::vector<std::string>& measures,
                        const std::string& cluster, v1::Outcome outcome) {
  std::vector<Cell> row = {trace.trace_id()};
  row.insert(row.end(), measures.begin(), measures.end());
  row.insert(row.end(), {{EnumWord(outcome), ToneOf(outcome)},
                         OneLine(trace.system().model(), 40),
                         OneLine(trace.task().type(), 40),
                         absl::StrCat(trace.steps_size())});
  if (cluster_) row.emplace_back(cluster.empty() ? "-" : ShortName(cluster));
  row.emplace_back(OneLine(trace.task().input(), 80));
  table_.AddRow(std::move(row));
}

}  // namespace faultline::cli
