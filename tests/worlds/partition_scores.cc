#include "tests/worlds/partition_scores.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace faultline::worlds {
namespace {

// Contingency table of two labellings.
struct Table {
  Table(const std::vector<int32_t>& truth, const std::vector<int32_t>& found)
      : n(static_cast<double>(truth.size())) {
    for (size_t i = 0; i < truth.size(); ++i) {
      ++cell[{truth[i], found[i]}];
      ++row[truth[i]];
      ++column[found[i]];
    }
  }

  double n;
  std::map<std::pair<int32_t, int32_t>, double> cell;
  std::map<int32_t, double> row;     // sums, by class
  std::map<int32_t, double> column;  // sums, by group
};

double Pairs(double n) { return n * (n - 1) / 2; }

// Natural logarithms throughout.
double Entropy(const std::map<int32_t, double>& sums, double n) {
  double entropy = 0;
  for (const auto& [label, sum] : sums) entropy -= sum / n * std::log(sum / n);
  return entropy;
}

double MutualInformation(const Table& table) {
  double information = 0;
  for (const auto& [labels, both] : table.cell) {
    const double expected =
        table.row.at(labels.first) * table.column.at(labels.second) / table.n;
    information += both / table.n * std::log(both / expected);
  }
  return std::max(0.0, information);
}

double LogFactorial(double n) {
  int sign = 1;
  return lgamma_r(n + 1, &sign);
}

// Of the mutual information, over all tables with these sums.
double ExpectedInformation(const Table& table) {
  const double n = table.n;
  double expected = 0;
  for (const auto& [a_label, a] : table.row) {
    for (const auto& [b_label, b] : table.column) {
      const double fixed = LogFactorial(a) + LogFactorial(b) +
                           LogFactorial(n - a) + LogFactorial(n - b) -
                           LogFactorial(n);
      for (double both = std::max(1.0, a + b - n); both <= std::min(a, b);
           ++both) {
        const double log_probability =
            fixed - LogFactorial(both) - LogFactorial(a - both) -
            LogFactorial(b - both) - LogFactorial(n - a - b + both);
        expected +=
            both / n * std::log(n * both / (a * b)) * std::exp(log_probability);
      }
    }
  }
  return expected;
}

}  // namespace

double AdjustedRandIndex(const std::vector<int32_t>& truth,
                         const std::vector<int32_t>& found) {
  const Table table(truth, found);
  double together = 0;
  for (const auto& [labels, both] : table.cell) together += Pairs(both);
  double rows = 0;
  for (const auto& [label, sum] : table.row) rows += Pairs(sum);
  double columns = 0;
  for (const auto& [label, sum] : table.column) columns += Pairs(sum);
  const double expected = table.n < 2 ? 0 : rows * columns / Pairs(table.n);
  const double largest = (rows + columns) / 2;
  // All in one group, or all apart, in both.
  if (largest == expected) return 1;
  return (together - expected) / (largest - expected);
}

double AdjustedMutualInformation(const std::vector<int32_t>& truth,
                                 const std::vector<int32_t>& found) {
  const Table table(truth, found);
  if (table.row.size() == table.column.size() &&
      (table.row.size() <= 1 ||
       table.row.size() == static_cast<size_t>(table.n))) {
    return 1;
  }
  const double expected = ExpectedInformation(table);
  const double mean =
      (Entropy(table.row, table.n) + Entropy(table.column, table.n)) / 2;
  // One partition has a single group: nothing can be known from it.
  if (mean - expected < 1e-12) return 0;
  return (MutualInformation(table) - expected) / (mean - expected);
}

double VMeasure(const std::vector<int32_t>& truth,
                const std::vector<int32_t>& found) {
  const Table table(truth, found);
  const double sum =
      Entropy(table.row, table.n) + Entropy(table.column, table.n);
  return sum == 0 ? 1 : 2 * MutualInformation(table) / sum;
}

double Purity(const std::vector<int32_t>& truth,
              const std::vector<int32_t>& found) {
  if (truth.empty()) return 1;
  const Table table(truth, found);
  std::map<int32_t, double> largest;
  for (const auto& [labels, both] : table.cell) {
    double& most = largest[labels.second];
    most = std::max(most, both);
  }
  double sum = 0;
  for (const auto& [group, most] : largest) sum += most;
  return sum / table.n;
}

std::vector<double> BestF1(const std::vector<int32_t>& truth,
                           const std::vector<int32_t>& found, int classes) {
  const Table table(truth, found);
  std::vector<double> best(classes);
  for (const auto& [labels, both] : table.cell) {
    const auto [label, group] = labels;
    if (group == -1 || label < 0 || label >= classes) continue;
    best[label] = std::max(
        best[label], 2 * both / (table.row.at(label) + table.column.at(group)));
  }
  return best;
}

}  // namespace faultline::worlds
