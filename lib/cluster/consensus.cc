#include "lib/cluster/consensus.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace faultline::cluster {
namespace {

int32_t CountCommunities(const Replicate& replicate) {
  const auto most =
      std::max_element(replicate.community.begin(), replicate.community.end());
  return most == replicate.community.end() ? 0 : *most + 1;
}

// Share of the points that a replicate holds, on average.
double SampledShare(absl::Span<const Replicate> replicates, size_t points) {
  double sampled = 0;
  for (const Replicate& replicate : replicates) {
    sampled += static_cast<double>(replicate.points.size());
  }
  const double all =
      static_cast<double>(replicates.size()) * static_cast<double>(points);
  return all > 0 ? sampled / all : 0;
}

std::vector<double> Sizes(absl::Span<const int32_t> label, int32_t labels) {
  std::vector<double> sizes(labels);
  for (const int32_t l : label) {
    if (l >= 0) ++sizes[l];
  }
  return sizes;
}

// A square matrix.
class Square {
 public:
  explicit Square(size_t n) : n_(n), values_(n * n) {}
  double& operator()(size_t i, size_t j) { return values_[i * n_ + j]; }
  double operator()(size_t i, size_t j) const { return values_[i * n_ + j]; }
  size_t size() const { return n_; }

 private:
  size_t n_;
  std::vector<double> values_;
};

// Probability that a point of one community and a point of another are in the
// same community of a replicate, mean over the replicates. `place` maps a
// community to its row, or -1.
Square Together(absl::Span<const int32_t> community,
                const std::vector<int32_t>& place, size_t rows,
                absl::Span<const Replicate> replicates) {
  Square together(rows);
  for (const Replicate& replicate : replicates) {
    const int32_t columns = CountCommunities(replicate);
    std::vector<double> counts(rows * columns);
    std::vector<double> sums(rows);
    for (size_t i = 0; i < replicate.points.size(); ++i) {
      const int32_t c = community[replicate.points[i]];
      if (c < 0 || place[c] < 0) continue;
      ++sums[place[c]];
      if (replicate.community[i] >= 0) {
        ++counts[place[c] * columns + replicate.community[i]];
      }
    }
    for (size_t a = 0; a < rows; ++a) {
      for (size_t b = a; b < rows; ++b) {
        if (sums[a] == 0 || sums[b] == 0) continue;
        together(a, b) +=
            std::inner_product(counts.begin() + a * columns,
                               counts.begin() + (a + 1) * columns,
                               counts.begin() + b * columns, 0.0) /
            (sums[a] * sums[b]);
      }
    }
  }
  return together;
}

// Shares relative to how well each community holds together itself; symmetric,
// 1 on the diagonal.
Square Similarities(const Square& together) {
  Square similarity(together.size());
  for (size_t a = 0; a < together.size(); ++a) {
    for (size_t b = a; b < together.size(); ++b) {
      const double own = std::sqrt(together(a, a) * together(b, b));
      const double s = a == b ? 1 : own > 0 ? together(a, b) / own : 0;
      similarity(a, b) = similarity(b, a) = std::min(1.0, s);
    }
  }
  return similarity;
}

}  // namespace

Dendrogram JoinCommunities(absl::Span<const int32_t> community,
                           int32_t communities,
                           absl::Span<const Replicate> replicates, double cut) {
  const double share = SampledShare(replicates, community.size());
  const std::vector<double> sizes = Sizes(community, communities);
  std::vector<int32_t> place(communities, -1);
  std::vector<int32_t> node;  // of the dendrogram, of each row
  for (int32_t c = 0; c < communities; ++c) {
    if (sizes[c] * share < kLeastExpectedPoints) continue;
    place[c] = static_cast<int32_t>(node.size());
    node.push_back(c);
  }
  const size_t rows = node.size();
  Square similarity =
      Similarities(Together(community, place, rows, replicates));

  Dendrogram result;
  std::vector<double> weight(rows, 1);  // communities in each row
  std::vector<bool> gone(rows);
  for (size_t step = 1; step < rows; ++step) {
    size_t first = rows, second = rows;
    for (size_t a = 0; a < rows; ++a) {
      for (size_t b = a + 1; b < rows && !gone[a]; ++b) {
        if (gone[b]) continue;
        if (first == rows || similarity(a, b) > similarity(first, second)) {
          first = a;
          second = b;
        }
      }
    }
    result.joins.push_back(
        {node[first], node[second], similarity(first, second)});
    const double both = weight[first] + weight[second];
    for (size_t x = 0; x < rows; ++x) {
      const double mean = (weight[first] * similarity(first, x) +
                           weight[second] * similarity(second, x)) /
                          both;
      similarity(first, x) = similarity(x, first) = mean;
    }
    weight[first] = both;
    gone[second] = true;
    node[first] = communities + static_cast<int32_t>(result.joins.size()) - 1;
  }

  // Each node's mode, from the last join down: what is joined above the cut
  // shares the mode of the join.
  const size_t nodes = communities + result.joins.size();
  std::vector<int32_t> top(nodes);
  std::iota(top.begin(), top.end(), 0);
  result.similarity.assign(nodes, 1);
  for (size_t i = result.joins.size(); i-- > 0;) {
    const Join& join = result.joins[i];
    if (join.similarity < cut) continue;
    for (const int32_t child : {join.first, join.second}) {
      top[child] = top[communities + i];
      result.similarity[child] = join.similarity;
    }
  }
  result.similarity.resize(communities);
  std::vector<int32_t> number(nodes, -1);
  int32_t next = 0;
  result.mode.reserve(communities);
  for (int32_t c = 0; c < communities; ++c) {
    if (number[top[c]] < 0) number[top[c]] = next++;
    result.mode.push_back(number[top[c]]);
  }
  return result;
}

std::vector<double> MeasureStability(absl::Span<const int32_t> mode,
                                     int32_t modes,
                                     absl::Span<const int64_t> copies,
                                     absl::Span<const Replicate> replicates) {
  const double share = SampledShare(replicates, mode.size());
  // Copies stand for their point: a mode of one point in many copies is large
  // enough wherever the point is drawn.
  std::vector<double> runs(modes);
  for (size_t v = 0; v < mode.size(); ++v) {
    if (mode[v] >= 0) runs[mode[v]] += static_cast<double>(copies[v]);
  }
  std::vector<double> sum(modes);
  std::vector<int> seen(modes);
  for (const Replicate& replicate : replicates) {
    const int32_t columns = CountCommunities(replicate);
    // The last row is of the points without mode.
    std::vector<double> counts(static_cast<size_t>(modes + 1) * columns);
    std::vector<double> restricted(modes);
    for (size_t i = 0; i < replicate.points.size(); ++i) {
      const int32_t v = replicate.points[i];
      const auto weight = static_cast<double>(copies[v]);
      const int32_t m = mode[v] >= 0 ? mode[v] : modes;
      if (m < modes) restricted[m] += weight;
      if (replicate.community[i] >= 0) {
        counts[static_cast<size_t>(m) * columns + replicate.community[i]] +=
            weight;
      }
    }
    std::vector<double> shared(modes), given(modes);
    for (int32_t q = 0; q < columns; ++q) {
      int32_t owner = 0;
      double all = 0;
      for (int32_t m = 0; m <= modes; ++m) {
        const double count = counts[static_cast<size_t>(m) * columns + q];
        all += count;
        if (count > counts[static_cast<size_t>(owner) * columns + q]) owner = m;
      }
      if (owner == modes) continue;
      shared[owner] += counts[static_cast<size_t>(owner) * columns + q];
      given[owner] += all;
    }
    for (int32_t m = 0; m < modes; ++m) {
      if (restricted[m] == 0) continue;
      sum[m] += shared[m] / (restricted[m] + given[m] - shared[m]);
      ++seen[m];
    }
  }
  std::vector<double> stability(modes, -1);
  for (int32_t m = 0; m < modes; ++m) {
    if (seen[m] > 0 && runs[m] * share >= kLeastExpectedPoints) {
      stability[m] = sum[m] / seen[m];
    }
  }
  return stability;
}

}  // namespace faultline::cluster
