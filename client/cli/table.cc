#include "client/cli/table.h"

#include <libsmartcols/libsmartcols.h>

#include <cstdlib>
#include <memory>

namespace faultline::cli {
namespace {

const char* ColorName(Tone tone) {
  switch (tone) {
    case Tone::kPlain:
      return nullptr;
    case Tone::kGood:
      return "green";
    case Tone::kBad:
      return "red";
    case Tone::kWarning:
      return "yellow";
    case Tone::kDim:
      return "darkgray";
  }
  return nullptr;
}

int Flags(Column::Fit fit) {
  switch (fit) {
    case Column::Fit::kText:
      return 0;
    case Column::Fit::kNumber:
      return SCOLS_FL_RIGHT;
    case Column::Fit::kCut:
      return SCOLS_FL_TRUNC;
  }
  return 0;
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::AddRow(std::vector<Cell> cells) {
  rows_.push_back(std::move(cells));
}

std::string Table::Render(const Terminal& terminal) const {
  scols_init_debug(0);
  const std::unique_ptr<libscols_table, void (*)(libscols_table*)> table(
      scols_new_table(), scols_unref_table);
  if (terminal.interactive) {
    scols_table_set_termforce(table.get(), SCOLS_TERMFORCE_ALWAYS);
    scols_table_set_termwidth(table.get(), terminal.width);
  } else {
    scols_table_set_termforce(table.get(), SCOLS_TERMFORCE_NEVER);
  }
  scols_table_enable_colors(table.get(), terminal.color);
  scols_table_set_column_separator(table.get(), "  ");
  for (const Column& column : columns_) {
    scols_table_new_column(table.get(), column.title.c_str(), 0,
                           Flags(column.fit));
  }
  for (const std::vector<Cell>& row : rows_) {
    libscols_line* line = scols_table_new_line(table.get(), nullptr);
    for (size_t i = 0; i < row.size(); ++i) {
      scols_line_set_data(line, i, row[i].text.c_str());
      if (const char* color = ColorName(row[i].tone)) {
        scols_cell_set_color(scols_line_get_cell(line, i), color);
      }
    }
  }
  char* text = nullptr;
  scols_print_table_to_string(table.get(), &text);
  std::string result = text == nullptr ? "" : text;
  std::free(text);
  if (!result.empty() && result.back() != '\n') result += '\n';
  return result;
}

}  // namespace faultline::cli
