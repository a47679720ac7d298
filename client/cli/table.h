#ifndef FAULTLINE_CLIENT_CLI_TABLE_H_
#define FAULTLINE_CLIENT_CLI_TABLE_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/terminal.h"

namespace faultline::cli {

// How a cell reads at a glance; colour only, never the only carrier of meaning.
enum class Tone { kPlain, kGood, kBad, kWarning, kDim };

// Text of one cell.
struct Cell {
  Cell(std::string content, Tone look = Tone::kPlain)  // NOLINT: reads as text
      : text(std::move(content)), tone(look) {}
  Cell(const char* content) : text(content) {}  // NOLINT: reads as text

  std::string text;
  Tone tone = Tone::kPlain;
};

// One column.
struct Column {
  enum class Fit {
    kText,    // to the left, whole
    kNumber,  // to the right, whole
    kCut,     // to the left, cut where the terminal is too narrow
  };
  std::string title;
  Fit fit = Fit::kText;
};

// A table for a person (libsmartcols). Control characters in cells come out
// escaped, so that text of traces cannot drive the terminal. Not thread-safe.
class Table {
 public:
  explicit Table(std::vector<Column> columns);

  // As many cells as there are columns.
  void AddRow(std::vector<Cell> cells);
  size_t rows() const { return rows_.size(); }

  // Headings and rows. Text is cut, and coloured, only where `terminal` is one.
  std::string Render(const Terminal& terminal) const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_TABLE_H_
