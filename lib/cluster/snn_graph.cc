#include "lib/cluster/snn_graph.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "lib/space/parallel.h"

namespace faultline::cluster {
namespace {

// Calls `work` for disjoint ranges that cover [0, n).
template <typename Work>
void ForRanges(int32_t n, int threads, const Work& work) {
  const int64_t parts = std::clamp(threads, 1, std::max(1, n));
  space::ParallelFor(parts, threads, [&](int64_t i) {
    work(static_cast<int32_t>(n * i / parts),
         static_cast<int32_t>(n * (i + 1) / parts));
  });
}

}  // namespace

int SnnNeighbors(size_t n) {
  if (n < 2) return 0;
  const double k =
      std::round(15 * std::pow(static_cast<double>(n) / 1000, .35));
  return static_cast<int>(
      std::min(static_cast<double>(n - 1), std::clamp(k, 12.0, 64.0)));
}

Graph BuildSnnGraph(const space::KnnGraph& knn, int threads) {
  const int k = knn.k;
  const int32_t n = k > 0 ? static_cast<int32_t>(knn.neighbors.size() / k) : 0;
  const auto neighbors_of = [&knn, k](int32_t v) {
    return knn.neighbors.data() + static_cast<int64_t>(v) * k;
  };

  // Similarity of each point to each of its neighbours, and whether that
  // neighbour has the point, too.
  std::vector<float> similarity(knn.neighbors.size());
  std::vector<uint8_t> mutual(knn.neighbors.size());
  ForRanges(n, threads, [&](int32_t begin, int32_t end) {
    std::vector<int32_t> mark(n, -1);  // v: in the neighbourhood of v
    for (int32_t v = begin; v < end; ++v) {
      const int32_t* row = neighbors_of(v);
      mark[v] = v;
      int size = 1;
      for (int i = 0; i < k && row[i] >= 0; ++i, ++size) mark[row[i]] = v;
      for (int i = 0; i < k && row[i] >= 0; ++i) {
        const int32_t* other = neighbors_of(row[i]);
        int other_size = 1;
        int shared = 1;  // the neighbour itself
        for (int j = 0; j < k && other[j] >= 0; ++j, ++other_size) {
          shared += mark[other[j]] == v;
          if (other[j] == v) mutual[static_cast<int64_t>(v) * k + i] = 1;
        }
        similarity[static_cast<int64_t>(v) * k + i] =
            static_cast<float>(shared) /
            static_cast<float>(size + other_size - shared);
      }
    }
  });

  // A one-sided edge belongs to the other row as well.
  Graph graph;
  graph.row_begin.assign(n + 1, 0);
  const auto for_edges = [&](auto visit) {
    for (int32_t v = 0; v < n; ++v) {
      for (int i = 0; i < k && neighbors_of(v)[i] >= 0; ++i) {
        const int64_t at = static_cast<int64_t>(v) * k + i;
        visit(v, knn.neighbors[at], similarity[at]);
        if (!mutual[at]) visit(knn.neighbors[at], v, similarity[at]);
      }
    }
  };
  for_edges([&](int32_t from, int32_t, float) { ++graph.row_begin[from + 1]; });
  std::partial_sum(graph.row_begin.begin(), graph.row_begin.end(),
                   graph.row_begin.begin());
  std::vector<std::pair<int32_t, float>> edges(graph.row_begin[n]);
  std::vector<int64_t> next(graph.row_begin.begin(), graph.row_begin.end() - 1);
  for_edges([&](int32_t from, int32_t to, float weight) {
    edges[next[from]++] = {to, weight};
  });
  graph.column.resize(edges.size());
  graph.weight.resize(edges.size());
  ForRanges(n, threads, [&](int32_t begin, int32_t end) {
    for (int32_t v = begin; v < end; ++v) {
      const auto first = edges.begin() + graph.row_begin[v];
      const auto last = edges.begin() + graph.row_begin[v + 1];
      std::sort(first, last);
      int64_t at = graph.row_begin[v];
      for (auto edge = first; edge != last; ++edge, ++at) {
        graph.column[at] = edge->first;
        graph.weight[at] = edge->second;
      }
    }
  });
  return graph;
}

}  // namespace faultline::cluster
