#include "lib/cluster/leiden.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include "lib/base/random.h"

namespace faultline::cluster {
namespace {

// Randomness of the refinement, in units of edge weight.
constexpr double kTheta = 0.01;
// A choice with less than this in the exponent is never taken.
constexpr double kLeastExponent = -60;
// Nodes that are visited one after the other in a large graph: neighbours in
// number are near in memory, and often neighbours.
constexpr int32_t kVisitedTogether = 64;
constexpr int32_t kLargeGraph = 10000;
// A gain below this is rounding.
constexpr double kLeastGain = 1e-9;

// One level of aggregation: what was merged is a node with the strength (sum
// of edge weights, inner ones included) of its parts.
struct Level {
  const Graph* graph;
  std::vector<double> strength;
};

std::vector<double> Strengths(const Graph& graph) {
  std::vector<double> strength(graph.size());
  for (int32_t v = 0; v < graph.size(); ++v) {
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      strength[v] += graph.weight[e];
    }
  }
  return strength;
}

// Nodes in random order, those of a large graph in small runs.
std::vector<int32_t> ShuffledNodes(int32_t n, base::Random* random) {
  const int32_t run = n < kLargeGraph ? 1 : kVisitedTogether;
  std::vector<int32_t> runs((n + run - 1) / run);
  std::iota(runs.begin(), runs.end(), 0);
  random->Shuffle(&runs);
  std::vector<int32_t> order;
  order.reserve(n);
  for (const int32_t first : runs) {
    const int32_t end = std::min(n, (first + 1) * run);
    for (int32_t v = first * run; v < end; ++v) order.push_back(v);
  }
  return order;
}

// Weight from one node to each community around it; cleared at the cost of
// what was touched.
class CommunityWeights {
 public:
  explicit CommunityWeights(int32_t communities) : weight_(communities, 0) {}

  void Add(int32_t community, double weight) {
    if (weight_[community] == 0) touched_.push_back(community);
    weight_[community] += weight;
  }
  double operator[](int32_t community) const { return weight_[community]; }
  const std::vector<int32_t>& touched() const { return touched_; }
  void Clear() {
    for (const int32_t community : touched_) weight_[community] = 0;
    touched_.clear();
  }

 private:
  std::vector<double> weight_;
  std::vector<int32_t> touched_;
};

// Fast local moving: a node is looked at again only after a neighbour left its
// community. `scale` is resolution / (2 m).
void MoveNodes(const Level& level, double scale, base::Random* random,
               std::vector<int32_t>* community) {
  const Graph& graph = *level.graph;
  const int32_t n = graph.size();
  std::vector<double> total(n);
  std::vector<int32_t> members(n);
  for (int32_t v = 0; v < n; ++v) {
    total[(*community)[v]] += level.strength[v];
    ++members[(*community)[v]];
  }
  std::vector<int32_t> empty;
  for (int32_t c = n - 1; c >= 0; --c) {
    if (members[c] == 0) empty.push_back(c);
  }

  const std::vector<int32_t> order = ShuffledNodes(n, random);
  std::deque<int32_t> queue(order.begin(), order.end());
  std::vector<bool> queued(n, true);
  CommunityWeights to(n);
  while (!queue.empty()) {
    const int32_t v = queue.front();
    queue.pop_front();
    queued[v] = false;
    const int32_t old = (*community)[v];
    const double strength = level.strength[v];
    total[old] -= strength;
    if (--members[old] == 0) {
      total[old] = 0;
      empty.push_back(old);
    }

    to.Clear();
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      to.Add((*community)[graph.column[e]], graph.weight[e]);
    }
    int32_t best = old;
    double best_gain = to[old] - scale * strength * total[old];
    for (const int32_t c : to.touched()) {
      const double gain = to[c] - scale * strength * total[c];
      if (gain > best_gain + kLeastGain) {
        best = c;
        best_gain = gain;
      }
    }
    if (best_gain < -kLeastGain) best = empty.back();

    total[best] += strength;
    // An empty one is on top: either chosen from there or just left.
    if (members[best]++ == 0) empty.pop_back();
    if (best == old) continue;
    (*community)[v] = best;
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      const int32_t u = graph.column[e];
      if ((*community)[u] == best || queued[u]) continue;
      queued[u] = true;
      queue.push_back(u);
    }
  }
}

// Splits each community into well-connected parts: from single nodes, a node
// joins a part of its own community at random, the likelier the more it gains.
// Parts are connected, because only neighbours join.
std::vector<int32_t> Refine(const Level& level, double scale,
                            const std::vector<int32_t>& community,
                            base::Random* random) {
  const Graph& graph = *level.graph;
  const int32_t n = graph.size();
  std::vector<double> community_total(n);
  for (int32_t v = 0; v < n; ++v) {
    community_total[community[v]] += level.strength[v];
  }
  std::vector<int32_t> part(n);
  std::iota(part.begin(), part.end(), 0);
  std::vector<double> total = level.strength;
  std::vector<int32_t> members(n, 1);
  std::vector<double> cut(n);  // of a part, to the rest of its community
  for (int32_t v = 0; v < n; ++v) {
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      if (community[graph.column[e]] == community[v]) cut[v] += graph.weight[e];
    }
  }
  const auto well_connected = [&](int32_t p, int32_t c) {
    return cut[p] >=
           scale * total[p] * (community_total[c] - total[p]) - kLeastGain;
  };

  CommunityWeights to(n);
  std::vector<std::pair<int32_t, double>> choices;  // part, gain
  for (const int32_t v : ShuffledNodes(n, random)) {
    const int32_t c = community[v];
    if (members[part[v]] > 1 || !well_connected(part[v], c)) continue;
    to.Clear();
    for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
      const int32_t u = graph.column[e];
      if (community[u] == c) to.Add(part[u], graph.weight[e]);
    }
    choices.clear();
    double best_gain = 0;
    for (const int32_t p : to.touched()) {
      const double gain = to[p] - scale * level.strength[v] * total[p];
      if (gain < 0 || !well_connected(p, c)) continue;
      choices.emplace_back(p, gain);
      best_gain = std::max(best_gain, gain);
    }
    if (choices.empty()) continue;
    double sum = 0;
    for (auto& [p, gain] : choices) {
      const double exponent = (gain - best_gain) / kTheta;
      gain = exponent > kLeastExponent ? std::exp(exponent) : 0;
      sum += gain;
    }
    double left = random->Uniform() * sum;
    size_t chosen = 0;
    while (chosen + 1 < choices.size() && left >= choices[chosen].second) {
      left -= choices[chosen++].second;
    }

    const int32_t joined = choices[chosen].first;
    const int32_t alone = part[v];
    cut[joined] += cut[alone] - 2 * to[joined];
    total[joined] += total[alone];
    ++members[joined];
    members[alone] = 0;
    total[alone] = 0;
    part[v] = joined;
  }
  return part;
}

// Numbers labels from 0 in order of first appearance; returns their number.
int32_t Renumber(std::vector<int32_t>* labels) {
  const auto most = std::max_element(labels->begin(), labels->end());
  std::vector<int32_t> number(most == labels->end() ? 0 : *most + 1, -1);
  int32_t count = 0;
  for (int32_t& label : *labels) {
    if (number[label] < 0) number[label] = count++;
    label = number[label];
  }
  return count;
}

// Graph whose nodes are the `parts` parts of `part`. Each weight is summed once
// and stored in both rows, so that the rows agree to the last bit.
Graph Aggregate(const Graph& graph, const std::vector<int32_t>& part,
                int32_t parts) {
  const int32_t n = graph.size();
  std::vector<int32_t> begin(parts + 1);
  for (const int32_t p : part) ++begin[p + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<int32_t> member(n);
  std::vector<int32_t> next(begin.begin(), begin.end() - 1);
  for (int32_t v = 0; v < n; ++v) member[next[part[v]]++] = v;

  struct Edge {
    int32_t from, to;
    float weight;
  };
  std::vector<Edge> edges;  // from < to; ascending
  std::vector<int64_t> degree(parts);
  CommunityWeights to(parts);
  for (int32_t p = 0; p < parts; ++p) {
    to.Clear();
    for (int32_t i = begin[p]; i < begin[p + 1]; ++i) {
      const int32_t v = member[i];
      for (int64_t e = graph.row_begin[v]; e < graph.row_begin[v + 1]; ++e) {
        const int32_t q = part[graph.column[e]];
        if (q > p) to.Add(q, graph.weight[e]);
      }
    }
    std::vector<int32_t> columns = to.touched();
    std::sort(columns.begin(), columns.end());
    for (const int32_t q : columns) {
      edges.push_back({p, q, static_cast<float>(to[q])});
      ++degree[p];
      ++degree[q];
    }
  }

  Graph result;
  result.row_begin.resize(parts + 1);
  std::partial_sum(degree.begin(), degree.end(), result.row_begin.begin() + 1);
  result.column.resize(2 * edges.size());
  result.weight.resize(2 * edges.size());
  std::vector<int64_t> slot(result.row_begin.begin(),
                            result.row_begin.end() - 1);
  // Lower columns first, so that every row ascends.
  for (const Edge& edge : edges) {
    result.column[slot[edge.to]] = edge.from;
    result.weight[slot[edge.to]++] = edge.weight;
  }
  for (const Edge& edge : edges) {
    result.column[slot[edge.from]] = edge.to;
    result.weight[slot[edge.from]++] = edge.weight;
  }
  return result;
}

// One pass from `community` to a partition that no single move improves.
void RunPass(const Graph& graph, const std::vector<double>& strength,
             double scale, base::Random* random,
             std::vector<int32_t>* community) {
  Level level = {&graph, strength};
  Graph aggregated;
  std::vector<int32_t> node_of(graph.size());  // of each node of `graph`
  std::iota(node_of.begin(), node_of.end(), 0);
  std::vector<int32_t> current = *community;  // of each node of the level
  while (true) {
    MoveNodes(level, scale, random, &current);
    std::vector<int32_t> part = Refine(level, scale, current, random);
    const int32_t parts = Renumber(&part);
    // Nothing left to merge: every node is a community, and connected.
    if (parts == level.graph->size()) break;

    std::vector<int32_t> next(parts);
    std::vector<double> next_strength(parts);
    for (int32_t v = 0; v < level.graph->size(); ++v) {
      next[part[v]] = current[v];
      next_strength[part[v]] += level.strength[v];
    }
    Renumber(&next);
    for (int32_t& node : node_of) node = part[node];
    aggregated = Aggregate(*level.graph, part, parts);
    level = {&aggregated, std::move(next_strength)};
    current = std::move(next);
  }
  *community = std::move(node_of);
}

}  // namespace

std::vector<int32_t> Leiden(const Graph& graph, const LeidenOptions& options) {
  std::vector<int32_t> community(graph.size());
  std::iota(community.begin(), community.end(), 0);
  const std::vector<double> strength = Strengths(graph);
  const double total = std::accumulate(strength.begin(), strength.end(), 0.0);
  if (total == 0) return community;
  base::Random random(options.seed);
  for (int pass = 0; pass < options.passes; ++pass) {
    RunPass(graph, strength, options.resolution / total, &random, &community);
  }
  Renumber(&community);
  return community;
}

}  // namespace faultline::cluster
