#include "lib/stats/information.h"

#include <algorithm>
#include <cmath>

namespace faultline::stats {
namespace {

// Numbers the labels that occur, in order of the labels.
std::vector<int32_t> NumberLabels(absl::Span<const int32_t> labels,
                                  const std::vector<bool>& known,
                                  size_t* count) {
  std::vector<int32_t> number;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (!known[i]) continue;
    const auto label = static_cast<size_t>(labels[i]);
    if (number.size() <= label) number.resize(label + 1, -1);
    number[label] = 0;
  }
  *count = 0;
  for (int32_t& n : number) {
    if (n == 0) n = static_cast<int32_t>((*count)++);
  }
  return number;
}

// Natural logarithms from here on.
double Entropy(const std::vector<int64_t>& sums, double n) {
  double entropy = 0;
  for (const int64_t sum : sums) {
    const double share = static_cast<double>(sum) / n;
    entropy -= share * std::log(share);
  }
  return entropy;
}

double Information(const CrossTable& table) {
  const auto n = static_cast<double>(table.total);
  double information = 0;
  for (size_t r = 0; r < table.row.size(); ++r) {
    for (size_t c = 0; c < table.column.size(); ++c) {
      const auto both =
          static_cast<double>(table.cell[r * table.column.size() + c]);
      if (both == 0) continue;
      information += both / n *
                     std::log(both * n / static_cast<double>(table.row[r]) /
                              static_cast<double>(table.column[c]));
    }
  }
  return information;
}

// Of the mutual information, over all tables with these sums: each cell is
// hypergeometric.
double ExpectedInformation(const CrossTable& table) {
  const int64_t n = table.total;
  std::vector<double> log_factorial(n + 1);
  for (int64_t i = 1; i <= n; ++i) {
    log_factorial[i] = log_factorial[i - 1] + std::log(static_cast<double>(i));
  }
  const auto& f = log_factorial;
  const auto size = static_cast<double>(n);
  double expected = 0;
  for (const int64_t a : table.row) {
    for (const int64_t b : table.column) {
      const double fixed = f[a] + f[b] + f[n - a] + f[n - b] - f[n];
      const double product = static_cast<double>(a) * static_cast<double>(b);
      for (int64_t x = std::max<int64_t>(1, a + b - n); x <= std::min(a, b);
           ++x) {
        const auto both = static_cast<double>(x);
        expected +=
            both / size * std::log(size * both / product) *
            std::exp(fixed - f[x] - f[a - x] - f[b - x] - f[n - a - b + x]);
      }
    }
  }
  return expected;
}

}  // namespace

CrossTable CrossTabulate(absl::Span<const int32_t> a,
                         absl::Span<const int32_t> b) {
  std::vector<bool> known;
  known.reserve(a.size());
  for (size_t i = 0; i < a.size(); ++i) known.push_back(a[i] >= 0 && b[i] >= 0);
  size_t rows = 0, columns = 0;
  const std::vector<int32_t> row_of = NumberLabels(a, known, &rows);
  const std::vector<int32_t> column_of = NumberLabels(b, known, &columns);
  CrossTable table;
  table.row.resize(rows);
  table.column.resize(columns);
  table.cell.resize(rows * columns);
  for (size_t i = 0; i < a.size(); ++i) {
    if (!known[i]) continue;
    const int32_t row = row_of[a[i]];
    const int32_t column = column_of[b[i]];
    ++table.total;
    ++table.row[row];
    ++table.column[column];
    ++table.cell[row * columns + column];
  }
  return table;
}

double MutualInformationBits(const CrossTable& table) {
  if (table.row.size() < 2 || table.column.size() < 2) return 0;
  const double bias = static_cast<double>(table.row.size() - 1) *
                      static_cast<double>(table.column.size() - 1) /
                      (2 * static_cast<double>(table.total));
  return std::max(0.0, Information(table) - bias) / std::log(2.0);
}

double AdjustedMutualInformation(const CrossTable& table) {
  if (table.row.size() < 2 || table.column.size() < 2) return 0;
  const auto n = static_cast<double>(table.total);
  const double expected = ExpectedInformation(table);
  const double mean = (Entropy(table.row, n) + Entropy(table.column, n)) / 2;
  if (mean - expected < 1e-12) return 0;
  return (Information(table) - expected) / (mean - expected);
}

}  // namespace faultline::stats
