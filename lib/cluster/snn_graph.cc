#include "lib/cluster/snn_graph.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "absl/types/span.h"
#include "lib/base/parallel.h"

namespace faultline::cluster {
namespace {

// Calls `work` for disjoint ranges that cover [0, n).
template <typename Work>
void ForRanges(int32_t n, int threads, const Work& work) {
  const int64_t parts = std::clamp(threads, 1, std::max(1, n));
  base::ParallelFor(parts, threads, [&](int64_t i) {
    work(static_cast<int32_t>(n * i / parts),
         static_cast<int32_t>(n * (i + 1) / parts));
  });
}

// A set of points as bits: small enough to stay near the processor.
class Marks {
 public:
  explicit Marks(int32_t n) : words_((static_cast<size_t>(n) + 63) / 64) {}

  void Add(int32_t v) { words_[v >> 6] |= Bit(v); }
  void Remove(int32_t v) { words_[v >> 6] &= ~Bit(v); }
  size_t Has(int32_t v) const { return words_[v >> 6] >> (v & 63) & 1; }

 private:
  static uint64_t Bit(int32_t v) { return uint64_t{1} << (v & 63); }

  std::vector<uint64_t> words_;
};

// Place of `v`, or the size. Without an early end, which a processor can do
// for many at a time.
size_t Find(absl::Span<const int32_t> row, int32_t v) {
  size_t place = row.size();
  for (size_t i = 0; i < row.size(); ++i) place = row[i] == v ? i : place;
  return place;
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
    const auto row =
        absl::MakeConstSpan(knn.neighbors).subspan(static_cast<size_t>(v) * k);
    int size = k;
    while (size > 0 && row[size - 1] < 0) --size;
    return row.subspan(0, size);
  };

  // Similarity of each point to each of its neighbours, and whether that
  // neighbour has the point, too: then the lower one computes it for both.
  std::vector<float> similarity(knn.neighbors.size());
  std::vector<uint8_t> mutual(knn.neighbors.size());
  ForRanges(n, threads, [&](int32_t begin, int32_t end) {
    Marks marks(n);  // the neighbourhood of v
    for (int32_t v = begin; v < end; ++v) {
      const absl::Span<const int32_t> row = neighbors_of(v);
      marks.Add(v);
      for (const int32_t u : row) marks.Add(u);
      for (size_t i = 0; i < row.size(); ++i) {
        const int32_t u = row[i];
        const absl::Span<const int32_t> other = neighbors_of(u);
        const size_t place = Find(other, v);
        const size_t at = static_cast<size_t>(v) * k + i;
        if (place < other.size()) {
          mutual[at] = 1;
          if (u < v) continue;
        }
        size_t shared = 1;  // the neighbour itself
        for (const int32_t x : other) shared += marks.Has(x);
        const size_t either = row.size() + 1 + other.size() + 1 - shared;
        similarity[at] =
            static_cast<float>(shared) / static_cast<float>(either);
        if (place < other.size()) {
          similarity[static_cast<size_t>(u) * k + place] = similarity[at];
        }
      }
      marks.Remove(v);
      for (const int32_t u : row) marks.Remove(u);
    }
  });

  // A one-sided edge belongs to the other row as well.
  Graph graph;
  graph.row_begin.assign(n + 1, 0);
  const auto for_edges = [&](auto visit) {
    for (int32_t v = 0; v < n; ++v) {
      const absl::Span<const int32_t> row = neighbors_of(v);
      for (size_t i = 0; i < row.size(); ++i) {
        const size_t at = static_cast<size_t>(v) * k + i;
        visit(v, row[i], similarity[at]);
        if (!mutual[at]) visit(row[i], v, similarity[at]);
      }
    }
  };
  for_edges([&](int32_t from, int32_t, float) { ++graph.row_begin[from + 1]; });
  std::partial_sum(graph.row_begin.begin(), graph.row_begin.end(),
                   graph.row_begin.begin());
  std::vector<uint64_t> edges(graph.row_begin[n]);  // column, weight
  std::vector<int64_t> next(graph.row_begin.begin(), graph.row_begin.end() - 1);
  for_edges([&](int32_t from, int32_t to, float weight) {
    uint32_t bits;
    std::memcpy(&bits, &weight, sizeof(bits));
    edges[next[from]++] = static_cast<uint64_t>(to) << 32 | bits;
  });
  graph.column.resize(edges.size());
  graph.weight.resize(edges.size());
  ForRanges(n, threads, [&](int32_t begin, int32_t end) {
    for (int32_t v = begin; v < end; ++v) {
      std::sort(edges.begin() + graph.row_begin[v],
                edges.begin() + graph.row_begin[v + 1]);
      for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
        const auto bits = static_cast<uint32_t>(edges[e]);
        graph.column[e] = static_cast<int32_t>(edges[e] >> 32);
        std::memcpy(&graph.weight[e], &bits, sizeof(bits));
      }
    }
  });
  return graph;
}

}  // namespace faultline::cluster
