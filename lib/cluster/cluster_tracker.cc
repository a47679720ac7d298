#include "lib/cluster/cluster_tracker.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "lib/base/status_macros.h"
#include "lib/cluster/neighbor_vote.h"

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
absl::Span<const uint64_t> Within(const std::vector<uint64_t>& members,
                                  uint64_t first, uint64_t last) {
  const auto begin = std::lower_bound(members.begin(), members.end(), first);
  const auto end =
      std::max(begin, std::upper_bound(members.begin(), members.end(), last));
  return absl::MakeConstSpan(members).subspan(begin - members.begin(),
                                              end - begin);
}

// Points of each label.
std::vector<double> CountLabels(const LabelledPoints& points, size_t labels) {
  std::vector<double> count(labels);
  for (const int32_t label : points.label) {
    if (label >= 0) ++count[label];
  }
  return count;
}

// The cluster of each group in the best one-to-one assignment, or -1.
std::vector<int32_t> Assign(const OverlapTable& overlaps, size_t groups) {
  const size_t known = overlaps.known();
  // A column of its own for each group: it may stay without a match.
  const int columns = static_cast<int>(known + groups);
  Matrix cost(groups, std::vector<double>(columns));
  for (size_t g = 0; g < groups; ++g) {
    for (size_t k = 0; k < known; ++k) {
      const double o = overlaps.at(g, k).o;
      cost[g][k] = o >= kLeastOverlap ? -o : 0;
    }
  }
  std::vector<int32_t> cluster = AssignRows(cost, columns);
  for (size_t g = 0; g < groups; ++g) {
    const bool matched =
        cluster[g] < static_cast<int32_t>(known) && cost[g][cluster[g]] < 0;
    if (!matched) cluster[g] = -1;
  }
  return cluster;
}

bool IsPart(const Overlap& overlap) {
  return overlap.p >= kMostlyPart && overlap.q >= kLeastReturn;
}

bool IsTakenIn(const Overlap& overlap) {
  return overlap.q >= kMostlyPart && overlap.p >= kLeastReturn;
}

void Split(const std::vector<size_t>& size, const OverlapTable& overlaps,
           Tracking* tracking) {
  for (size_t k = 0; k < overlaps.known(); ++k) {
    const auto known = static_cast<int32_t>(k);
    std::vector<size_t> parts;
    for (size_t g = 0; g < size.size(); ++g) {
      const bool free = tracking->cluster[g] == -1 && tracking->parent[g] == -1;
      if ((free || tracking->cluster[g] == known) &&
          IsPart(overlaps.at(g, k))) {
        parts.push_back(g);
      }
    }
    if (parts.size() < 2) continue;
    const size_t largest = *std::max_element(
        parts.begin(), parts.end(),
        [&](size_t a, size_t b) { return size[a] < size[b]; });
    std::replace(tracking->cluster.begin(), tracking->cluster.end(), known, -1);
    for (const size_t g : parts) tracking->parent[g] = known;
    tracking->cluster[largest] = known;
    tracking->parent[largest] = -1;
  }
}

void Merge(const std::vector<KnownCluster>& known, const OverlapTable& overlaps,
           const std::vector<std::vector<bool>>& apart, Tracking* tracking) {
  std::vector<bool> lives(known.size());  // under its own id
  for (const int32_t cluster : tracking->cluster) {
    if (cluster >= 0) lives[cluster] = true;
  }
  for (size_t g = 0; g < tracking->cluster.size(); ++g) {
    std::vector<size_t> within;
    for (size_t k = 0; k < known.size(); ++k) {
      const bool free = !lives[k] && tracking->merged_in[k] == -1;
      const bool same = tracking->cluster[g] == static_cast<int32_t>(k);
      if ((free || same) && known[k].may_merge &&
          IsTakenIn(overlaps.at(g, k))) {
        within.push_back(k);
      }
    }
    if (within.size() < 2) continue;
    const size_t oldest = *std::min_element(
        within.begin(), within.end(), [&](size_t a, size_t b) {
          const auto rank = [&](size_t k) {
            return std::make_tuple(known[k].birth_tick, -1.0 * known[k].size,
                                   known[k].id);
          };
          return rank(a) < rank(b);
        });
    // What it was matched to must be among those that merge, or it is that.
    const int32_t matched = tracking->cluster[g];
    if (matched >= 0 &&
        std::find(within.begin(), within.end(), matched) == within.end()) {
      continue;
    }
    if (matched >= 0 && apart[oldest][matched]) continue;
    for (const size_t k : within) {
      if (k != oldest && !apart[oldest][k]) {
        tracking->merged_in[k] = static_cast<int32_t>(g);
      }
    }
    tracking->cluster[g] = static_cast<int32_t>(oldest);
    tracking->parent[g] = -1;
    lives[oldest] = true;
  }
}

}  // namespace

absl::StatusOr<OverlapTable> VoteOverlaps(const LabelledPoints& known,
                                          size_t known_clusters,
                                          const LabelledPoints& group,
                                          size_t groups, int d, int threads) {
  OverlapTable table(groups, known_clusters);
  if (known.label.empty() || group.label.empty()) return table;
  FAULTLINE_ASSIGN_OR_RETURN(const Votes of_groups,
                             VoteByNeighbors(known.vectors, known.label,
                                             static_cast<int>(known_clusters),
                                             group.vectors, d, threads));
  FAULTLINE_ASSIGN_OR_RETURN(
      const Votes of_known,
      VoteByNeighbors(group.vectors, group.label, static_cast<int>(groups),
                      known.vectors, d, threads));
  const std::vector<double> group_runs = CountLabels(group, groups);
  const std::vector<double> known_runs = CountLabels(known, known_clusters);
  for (size_t i = 0; i < group.label.size(); ++i) {
    const int32_t g = group.label[i];
    if (g < 0 || of_groups.mode[i] < 0) continue;
    table.at(g, of_groups.mode[i]).p += 1 / group_runs[g];
  }
  for (size_t i = 0; i < known.label.size(); ++i) {
    const int32_t k = known.label[i];
    if (k < 0 || of_known.mode[i] < 0) continue;
    table.at(of_known.mode[i], k).q += 1 / known_runs[k];
  }
  for (size_t g = 0; g < groups; ++g) {
    for (size_t k = 0; k < known_clusters; ++k) {
      Overlap& cell = table.at(g, k);
      if (cell.p + cell.q > 0) cell.o = 2 * cell.p * cell.q / (cell.p + cell.q);
    }
  }
  return table;
}

OverlapTable SharedOverlaps(const std::vector<std::vector<uint64_t>>& known,
                            const std::vector<std::vector<uint64_t>>& groups,
                            uint64_t first, uint64_t last) {
  OverlapTable table(groups.size(), known.size());
  absl::flat_hash_map<uint64_t, std::vector<size_t>> clusters_of;
  for (size_t k = 0; k < known.size(); ++k) {
    for (const uint64_t run : Within(known[k], first, last)) {
      clusters_of[run].push_back(k);
    }
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto runs = Within(groups[g], first, last);
    std::vector<size_t> both(known.size());
    for (const uint64_t run : runs) {
      const auto clusters = clusters_of.find(run);
      if (clusters == clusters_of.end()) continue;
      for (const size_t k : clusters->second) ++both[k];
    }
    for (size_t k = 0; k < known.size(); ++k) {
      const size_t old = Within(known[k], first, last).size();
      if (std::min(runs.size(), old) < kLeastShared) continue;
      const auto shared = static_cast<double>(both[k]);
      const auto either = static_cast<double>(runs.size() + old) - shared;
      table.at(g, k) = {shared / static_cast<double>(runs.size()),
                        shared / static_cast<double>(old), shared / either};
    }
  }
  return table;
}

Tracking TrackIdentity(const std::vector<KnownCluster>& known,
                       const std::vector<size_t>& size,
                       const OverlapTable& overlaps,
                       const std::vector<std::vector<bool>>& apart) {
  Tracking tracking;
  tracking.cluster = Assign(overlaps, size.size());
  tracking.parent.assign(size.size(), -1);
  tracking.merged_in.assign(known.size(), -1);
  Split(size, overlaps, &tracking);
  Merge(known, overlaps, apart, &tracking);
  return tracking;
}

}  // namespace faultline::cluster
