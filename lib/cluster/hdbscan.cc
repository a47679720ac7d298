#include "lib/cluster/hdbscan.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

namespace faultline::cluster {
namespace {

constexpr float kFarthest = 1;
// Density is 1 / distance; nothing counts as nearer than this.
constexpr double kNearest = 0.02;

double Density(float distance) {
  return 1 / std::max(static_cast<double>(distance), kNearest);
}

// Distance of each point to its neighbour of rank `min_samples`, itself and its
// copies included.
std::vector<float> CoreDistances(const Graph& graph,
                                 absl::Span<const int64_t> copies,
                                 int min_samples) {
  std::vector<float> core(graph.size(), kFarthest);
  std::vector<float> weights;
  for (int32_t v = 0; v < graph.size(); ++v) {
    if (copies[v] >= min_samples) {
      core[v] = 0;
      continue;
    }
    const int64_t rank = min_samples - copies[v] - 1;
    weights.assign(graph.weight.begin() + graph.row_begin[v],
                   graph.weight.begin() + graph.row_begin[v + 1]);
    if (rank >= static_cast<int64_t>(weights.size())) continue;
    std::nth_element(weights.begin(), weights.begin() + rank, weights.end(),
                     std::greater<>());
    core[v] = kFarthest - weights[rank];
  }
  return core;
}

struct Edge {
  float distance;
  int32_t from, to;
};

// By rising distance, else in the order given: two counting passes over the
// bits, which ascend with the distance because it is not negative.
void SortByDistance(std::vector<Edge>* edges) {
  std::vector<Edge> other(edges->size());
  for (const int shift : {0, 16}) {
    const auto digit = [shift](const Edge& edge) {
      uint32_t bits;
      std::memcpy(&bits, &edge.distance, sizeof(bits));
      return bits >> shift & 0xffff;
    };
    std::vector<size_t> begin(0x10001);
    for (const Edge& edge : *edges) ++begin[digit(edge) + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    for (const Edge& edge : *edges) other[begin[digit(edge)]++] = edge;
    edges->swap(other);
  }
}

// Edges of the graph by mutual reachability.
std::vector<Edge> ReachabilityEdges(const Graph& graph,
                                    const std::vector<float>& core) {
  std::vector<Edge> edges;
  edges.reserve(graph.column.size() / 2);
  for (int32_t v = 0; v < graph.size(); ++v) {
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      const int32_t u = graph.column[e];
      if (u < v) continue;
      edges.push_back(
          {std::max({core[v], core[u], kFarthest - graph.weight[e]}), v, u});
    }
  }
  SortByDistance(&edges);
  return edges;
}

// Single-linkage tree: nodes below n are points, node n + i is merge i.
struct Tree {
  struct Merge {
    int32_t left, right;
    float distance;
  };
  int32_t points;
  std::vector<Merge> merges;  // by rising distance
  std::vector<double> size;   // of each node, in runs

  int32_t root() const { return static_cast<int32_t>(size.size()) - 1; }
};

// Kruskal (1956).
class Forest {
 public:
  Forest(int32_t points, absl::Span<const int64_t> copies)
      : parent_(points), node_(points) {
    std::iota(parent_.begin(), parent_.end(), 0);
    std::iota(node_.begin(), node_.end(), 0);
    tree_.points = points;
    tree_.size.assign(copies.begin(), copies.end());
    tree_.size.reserve(2 * static_cast<size_t>(points));
  }

  void Join(int32_t a, int32_t b, float distance) {
    a = Find(a);
    b = Find(b);
    if (a == b) return;
    tree_.merges.push_back({node_[a], node_[b], distance});
    tree_.size.push_back(tree_.size[node_[a]] + tree_.size[node_[b]]);
    // The heavier one leads, so that paths stay short.
    if (tree_.size[node_[a]] < tree_.size[node_[b]]) std::swap(a, b);
    parent_[b] = a;
    node_[a] = tree_.root();
  }

  Tree Take() { return std::move(tree_); }

 private:
  int32_t Find(int32_t v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }

  std::vector<int32_t> parent_;
  std::vector<int32_t> node_;  // of the tree, of each root of the forest
  Tree tree_;
};

Tree SingleLinkage(const Graph& graph, absl::Span<const int64_t> copies,
                   int min_samples) {
  const std::vector<float> core = CoreDistances(graph, copies, min_samples);
  Forest forest(graph.size(), copies);
  for (const Edge& edge : ReachabilityEdges(graph, core)) {
    forest.Join(edge.from, edge.to, edge.distance);
  }
  for (int32_t v = 1; v < graph.size(); ++v) forest.Join(0, v, kFarthest);
  return forest.Take();
}

// Clusters that are large enough, parents before children; 0 is the root.
struct Condensed {
  struct Cluster {
    int32_t parent;
    double birth;
    double stability = 0;
    bool chosen = false;
  };
  std::vector<Cluster> clusters;
  std::vector<int32_t> last;    // of each point: the smallest that it was in
  std::vector<double> left_at;  // density at which it left that one
};

Condensed Condense(const Tree& tree, double min_size) {
  Condensed result;
  result.last.assign(tree.points, 0);
  result.left_at.assign(tree.points, 0);
  result.clusters.push_back(
      {-1, tree.merges.empty() ? 0 : Density(tree.merges.back().distance)});

  struct Visit {
    int32_t node;
    int32_t cluster;
    double density;  // at which it left the cluster; 0: it is the cluster
  };
  std::vector<Visit> stack = {{tree.root(), 0, 0}};
  const auto leave = [&](int32_t cluster, double size, double density) {
    Condensed::Cluster& left = result.clusters[cluster];
    left.stability += size * (density - left.birth);
  };
  while (!stack.empty()) {
    const Visit visit = stack.back();
    stack.pop_back();
    if (visit.node < tree.points) {
      const double density = visit.density > 0 ? visit.density : Density(0);
      result.last[visit.node] = visit.cluster;
      result.left_at[visit.node] = density;
      leave(visit.cluster, tree.size[visit.node], density);
      continue;
    }
    const Tree::Merge& merge = tree.merges[visit.node - tree.points];
    if (visit.density > 0) {
      stack.push_back({merge.left, visit.cluster, visit.density});
      stack.push_back({merge.right, visit.cluster, visit.density});
      continue;
    }
    const double density = Density(merge.distance);
    const bool left_stays = tree.size[merge.left] >= min_size;
    const bool right_stays = tree.size[merge.right] >= min_size;
    const bool splits = left_stays && right_stays;
    for (const auto& [child, stays] :
         {std::pair(merge.left, left_stays), {merge.right, right_stays}}) {
      if (splits) {
        leave(visit.cluster, tree.size[child], density);
        result.clusters.push_back({visit.cluster, density});
        stack.push_back(
            {child, static_cast<int32_t>(result.clusters.size()) - 1, 0});
      } else {
        stack.push_back({child, visit.cluster, stays ? 0 : density});
      }
    }
  }
  return result;
}

// Excess of mass: the set of clusters, none inside another, with the most
// stability.
void Choose(bool root_too, std::vector<Condensed::Cluster>* clusters) {
  std::vector<double> below(clusters->size(), 0);  // the best of the children
  for (size_t c = clusters->size(); c-- > 0;) {
    Condensed::Cluster& cluster = (*clusters)[c];
    const bool allowed = c > 0 || root_too;
    cluster.chosen = allowed && cluster.stability >= below[c];
    if (c > 0) {
      below[cluster.parent] += std::max(cluster.stability, below[c]);
    }
  }
  std::vector<bool> covered(clusters->size());  // by itself or from above
  for (size_t c = 0; c < clusters->size(); ++c) {
    Condensed::Cluster& cluster = (*clusters)[c];
    const bool above = c > 0 && covered[cluster.parent];
    covered[c] = above || cluster.chosen;
    if (above) cluster.chosen = false;
  }
}

// Numbers labels from 0 in order of first appearance; returns their number.
int32_t Renumber(std::vector<int32_t>* labels, size_t count) {
  std::vector<int32_t> number(count, -1);
  int32_t next = 0;
  for (int32_t& label : *labels) {
    if (label < 0) continue;
    if (number[label] < 0) number[label] = next++;
    label = number[label];
  }
  return next;
}

}  // namespace

HdbscanResult Hdbscan(const Graph& graph, absl::Span<const int64_t> copies,
                      const HdbscanOptions& options) {
  const int32_t n = graph.size();
  HdbscanResult result;
  result.label.assign(n, -1);
  result.strength.assign(n, 0);
  result.part.assign(n, -1);
  if (n == 0) return result;
  const Tree tree = SingleLinkage(graph, copies, options.min_samples);
  if (tree.size[tree.root()] < options.min_cluster_size) return result;
  Condensed condensed = Condense(tree, options.min_cluster_size);
  std::vector<Condensed::Cluster>& clusters = condensed.clusters;
  Choose(/*root_too=*/n == 1, &clusters);

  // The chosen cluster at or above each; whether it has clusters below.
  std::vector<int32_t> chosen(clusters.size(), -1);
  std::vector<bool> parted(clusters.size());
  for (size_t c = 0; c < clusters.size(); ++c) {
    const int32_t parent = clusters[c].parent;
    chosen[c] = clusters[c].chosen ? static_cast<int32_t>(c)
                : parent >= 0      ? chosen[parent]
                                   : -1;
    if (parent >= 0) parted[parent] = true;
  }
  std::vector<double> densest(clusters.size(), 0);
  for (int32_t v = 0; v < n; ++v) {
    const int32_t c = chosen[condensed.last[v]];
    if (c < 0) continue;
    result.label[v] = c;
    if (!parted[condensed.last[v]]) result.part[v] = condensed.last[v];
    densest[c] = std::max(densest[c], condensed.left_at[v]);
  }
  for (int32_t v = 0; v < n; ++v) {
    if (result.label[v] < 0) continue;
    result.strength[v] =
        static_cast<float>(condensed.left_at[v] / densest[result.label[v]]);
  }
  Renumber(&result.label, clusters.size());
  const int32_t parts = Renumber(&result.part, clusters.size());
  result.part_label.resize(parts);
  for (int32_t v = 0; v < n; ++v) {
    if (result.part[v] >= 0)
      result.part_label[result.part[v]] = result.label[v];
  }
  return result;
}

}  // namespace faultline::cluster
