#ifndef FAULTLINE_LIB_CLUSTER_LEIDEN_H_
#define FAULTLINE_LIB_CLUSTER_LEIDEN_H_

#include <cstdint>
#include <vector>

namespace faultline::cluster {

// Undirected weighted graph in compressed rows; each edge is stored in both
// rows. Rows ascending by column, no loops.
struct Graph {
  std::vector<int64_t> row_begin;  // n + 1
  std::vector<int32_t> column;
  std::vector<float> weight;  // positive
  int32_t size() const { return static_cast<int32_t>(row_begin.size()) - 1; }
};

struct LeidenOptions {
  double resolution = 0.5;
  // Runs of the whole algorithm, each from the result of the one before.
  int passes = 2;
  uint64_t seed = 1;
};

// Communities of high modularity, each connected (Traag, Waltman and van Eck,
// "From Louvain to Leiden", 2019). Returns the community of each node, numbered
// from 0 in order of first appearance; a node without edges is alone. Pure, and
// deterministic for a seed.
std::vector<int32_t> Leiden(const Graph& graph, const LeidenOptions& options);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_LEIDEN_H_
