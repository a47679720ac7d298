#include "client/cli/trace_table.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/text.h"

namespace faultline::cli {
namespace {

std::vector<Column> Columns(const std::string& measure, bool cluster) {
  std::vector<Column> columns = {
      {"TRACE"},     {measure, Column::Fit::kNumber}, {"OUTCOME"}, {"MODEL"},
      {"TASK TYPE"}, {"STEPS", Column::Fit::kNumber}};
  if (cluster) columns.push_back({"CLUSTER"});
  columns.push_back({"INPUT", Column::Fit::kCut});
  return columns;
}

}  // namespace

TraceTable::TraceTable(const std::string& measure, bool cluster)
    : cluster_(cluster), table_(Columns(measure, cluster)) {}

void TraceTable::AddRow(const v1::Trace& trace, const std::string& measure,
                        const std::string& cluster, v1::Outcome outcome) {
  std::vector<Cell> row = {trace.trace_id(),
                           measure,
                           {EnumWord(outcome), ToneOf(outcome)},
                           OneLine(trace.system().model(), 40),
                           OneLine(trace.task().type(), 40),
                           absl::StrCat(trace.steps_size())};
  if (cluster_) row.emplace_back(cluster.empty() ? "-" : ShortName(cluster));
  row.emplace_back(OneLine(trace.task().input(), 80));
  table_.AddRow(std::move(row));
}

}  // namespace faultline::cli
