#include "lib/cluster/cluster_tracker.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "lib/base/random.h"
#include "lib/base/ulid.h"

namespace faultline::cluster {
namespace {

using Matrix = std::vector<std::vector<double>>;

// Column of each row in the one-to-one assignment with the least total cost.
// Rows must not outnumber columns. Kuhn's Hungarian method with potentials,
// one shortest augmenting path a row: O(rows^2 columns).
std::vector<int> AssignRows(const Matrix& cost, int columns) {
  const int rows = static_cast<int>(cost.size());
  constexpr int kNone = -1;
  std::vector<double> row_potential(rows), column_potential(columns + 1);
  std::vector<int> row_of(columns + 1, kNone);  // the last column is a start
  for (int row = 0; row < rows; ++row) {
    std::vector<double> slack(columns, std::numeric_limits<double>::infinity());
    std::vector<int> previous(columns, columns);
    std::vector<bool> visited(columns + 1);
    int column = columns;
    row_of[column] = row;
    while (row_of[column] != kNone) {
      visited[column] = true;
      const int from = row_of[column];
      int nearest = kNone;
      for (int c = 0; c < columns; ++c) {
        if (visited[c]) continue;
        const double reduced =
            cost[from][c] - row_potential[from] - column_potential[c];
        if (reduced < slack[c]) {
          slack[c] = reduced;
          previous[c] = column;
        }
        if (nearest == kNone || slack[c] < slack[nearest]) nearest = c;
      }
      const double step = slack[nearest];
      for (int c = 0; c <= columns; ++c) {
        if (visited[c]) {
          row_potential[row_of[c]] += step;
          column_potential[c] -= step;
        } else {
          slack[c] -= step;
        }
      }
      column = nearest;
    }
    while (column != columns) {
      row_of[column] = row_of[previous[column]];
      column = previous[column];
    }
  }
  std::vector<int> column_of(rows, kNone);
  for (int c = 0; c < columns; ++c) {
    if (row_of[c] != kNone) column_of[row_of[c]] = c;
  }
  return column_of;
}

// Members within [first, last].
size_t CountShared(const std::vector<uint64_t>& members, uint64_t first,
                   uint64_t last) {
  const auto begin = std::lower_bound(members.begin(), members.end(), first);
  return std::upper_bound(begin, members.end(), last) - begin;
}

// Overlap of each group (row) with each known cluster (column), 0 where it is
// below `least`.
Matrix Overlaps(const std::vector<KnownCluster>& known,
                const std::vector<std::vector<uint64_t>>& groups,
                uint64_t first, uint64_t last, double least) {
  std::vector<std::pair<uint64_t, size_t>> cluster_of;  // by sequence
  for (size_t k = 0; k < known.size(); ++k) {
    for (const uint64_t sequence : known[k].members) {
      if (sequence < first || sequence > last) continue;
      cluster_of.emplace_back(sequence, k);
    }
  }
  std::sort(cluster_of.begin(), cluster_of.end());

  Matrix overlap(groups.size(), std::vector<double>(known.size()));
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const uint64_t sequence : groups[g]) {
      auto entry = std::lower_bound(cluster_of.begin(), cluster_of.end(),
                                    std::make_pair(sequence, size_t{0}));
      for (; entry != cluster_of.end() && entry->first == sequence; ++entry) {
        overlap[g][entry->second] += 1;
      }
    }
    const size_t size = CountShared(groups[g], first, last);
    for (size_t k = 0; k < known.size(); ++k) {
      // 2PQ / (P + Q) with P and Q written out.
      const size_t both = size + CountShared(known[k].members, first, last);
      if (both > 0) overlap[g][k] *= 2 / static_cast<double>(both);
      if (overlap[g][k] < least) overlap[g][k] = 0;
    }
  }
  return overlap;
}

}  // namespace

std::vector<Identity> TrackIdentity(
    const std::vector<KnownCluster>& known,
    const std::vector<std::vector<uint64_t>>& groups, uint64_t first_shared,
    uint64_t last_shared, double min_overlap, absl::Time now, uint64_t seed) {
  const Matrix overlap =
      Overlaps(known, groups, first_shared, last_shared, min_overlap);
  // A column of its own for each group: it may stay without a match.
  const int columns = static_cast<int>(known.size() + groups.size());
  Matrix cost(groups.size(), std::vector<double>(columns));
  for (size_t g = 0; g < groups.size(); ++g) {
    std::transform(overlap[g].begin(), overlap[g].end(), cost[g].begin(),
                   [](double o) { return -o; });
  }
  const std::vector<int> column_of = AssignRows(cost, columns);

  base::Random random(seed);
  std::vector<Identity> identities(groups.size());
  for (size_t g = 0; g < groups.size(); ++g) {
    const size_t column = column_of[g];
    if (column < known.size() && overlap[g][column] > 0) {
      identities[g].id = known[column].id;
      identities[g].overlap = overlap[g][column];
    } else {
      identities[g].id = base::MakeUlid(now, &random);
      identities[g].born = true;
    }
  }
  return identities;
}

}  // namespace faultline::cluster
