#include "lib/space/knn_graph.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/space/blas.h"
#include "lib/space/parallel.h"

namespace faultline::space {
namespace {

// Block of one matrix product: small enough for the cache, large enough for
// BLAS. Fixed, so that rounding does not depend on the number of threads.
constexpr size_t kQueryBlock = 256;
constexpr size_t kPointBlock = 1024;

// METHODS 2.3.
constexpr size_t kBucketSize = 200;
constexpr size_t kTrainingPointsPerBucket = 24;
constexpr int kTrainingPasses = 4;

// Squared distances come from inner products; below this part of the squared
// lengths they are rounding, and count as 0.
constexpr float kRounding = 2e-6f;

constexpr int32_t kNone = -1;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of a matrix with their squared lengths. A view.
struct Rows {
  const float* data;
  const float* norms;
  size_t count;
  size_t dimension;

  const float* row(size_t i) const { return data + i * dimension; }
};

std::vector<float> SquaredNorms(const float* data, size_t count,
                                size_t dimension) {
  std::vector<float> norms(count);
  for (size_t i = 0; i < count; ++i) {
    const float* row = data + i * dimension;
    norms[i] = std::inner_product(row, row + dimension, row, 0.0f);
  }
  return norms;
}

// The k best of one query so far, kept in order in the caller's memory.
class BestList {
 public:
  BestList(int k, int32_t* neighbors, float* distances)
      : k_(k), neighbors_(neighbors), distances_(distances) {}

  // Distance beyond which a candidate cannot enter.
  float bound() const { return distances_[k_ - 1]; }

  void Insert(float distance, int32_t neighbor) {
    int at = k_ - 1;
    if (!Before(distance, neighbor, at)) return;
    for (; at > 0 && Before(distance, neighbor, at - 1); --at) {
      distances_[at] = distances_[at - 1];
      neighbors_[at] = neighbors_[at - 1];
    }
    distances_[at] = distance;
    neighbors_[at] = neighbor;
  }

 private:
  bool Before(float distance, int32_t neighbor, int at) const {
    return distance != distances_[at] ? distance < distances_[at]
                                      : neighbor < neighbors_[at];
  }

  const int k_;
  int32_t* const neighbors_;
  float* const distances_;
};

// Feeds the distances of one block of queries to one block of points.
class BlockScanner {
 public:
  // `point_ids` and `query_ids` give the rows' places in the caller's
  // matrices; null: their own. `exclude_self`: equal ids are no neighbours.
  BlockScanner(const Rows& queries, const int32_t* query_ids,
               const Rows& points, const int32_t* point_ids, bool exclude_self,
               KnnGraph* graph)
      : queries_(queries),
        query_ids_(query_ids),
        points_(points),
        point_ids_(point_ids),
        exclude_self_(exclude_self),
        graph_(*graph) {}

  // Queries [q, q + m) against points [p, p + n).
  void Scan(size_t q, size_t m, size_t p, size_t n) {
    products_.resize(m * n);
    MultiplyTransposed(queries_.row(q), static_cast<int>(m), points_.row(p),
                       static_cast<int>(n),
                       static_cast<int>(queries_.dimension), products_.data());
    for (size_t i = 0; i < m; ++i) ScanRow(q + i, p, n, &products_[i * n]);
  }

 private:
  void ScanRow(size_t query, size_t p, size_t n, const float* products) {
    const int32_t query_id =
        query_ids_ ? query_ids_[query] : static_cast<int32_t>(query);
    const size_t offset = static_cast<size_t>(query_id) * graph_.k;
    BestList best(graph_.k, &graph_.neighbors[offset],
                  &graph_.distances[offset]);
    const float norm = queries_.norms[query];
    const float* norms = points_.norms + p;
    for (size_t j = 0; j < n; ++j) {
      float distance = norm + norms[j] - 2 * products[j];
      if (distance <= kRounding * (norm + norms[j])) distance = 0;
      if (distance > best.bound()) continue;
      const int32_t point_id =
          point_ids_ ? point_ids_[p + j] : static_cast<int32_t>(p + j);
      if (exclude_self_ && point_id == query_id) continue;
      best.Insert(distance, point_id);
    }
  }

  const Rows queries_;
  const int32_t* const query_ids_;
  const Rows points_;
  const int32_t* const point_ids_;
  const bool exclude_self_;
  KnnGraph& graph_;
  std::vector<float> products_;
};

// [begin, end) in blocks of at most `size`.
template <typename Visit>
void ForBlocks(size_t begin, size_t end, size_t size, const Visit& visit) {
  for (size_t at = begin; at < end; at += size) {
    visit(at, std::min(size, end - at));
  }
}

void SearchExactly(const Rows& queries, const Rows& points, bool exclude_self,
                   int threads, KnnGraph* graph) {
  const size_t blocks = (queries.count + kQueryBlock - 1) / kQueryBlock;
  ParallelFor(blocks, threads, [&](size_t block) {
    BlockScanner scanner(queries, nullptr, points, nullptr, exclude_self,
                         graph);
    const size_t q = block * kQueryBlock;
    const size_t m = std::min(kQueryBlock, queries.count - q);
    ForBlocks(0, points.count, kPointBlock,
              [&](size_t p, size_t n) { scanner.Scan(q, m, p, n); });
  });
}

// Nearest of `centers` to each row.
std::vector<int32_t> NearestCenter(const Rows& rows, const Rows& centers,
                                   int threads) {
  KnnGraph graph{.k = 1,
                 .neighbors = std::vector<int32_t>(rows.count, kNone),
                 .distances = std::vector<float>(rows.count, kInfinity)};
  SearchExactly(rows, centers, /*exclude_self=*/false, threads, &graph);
  return std::move(graph.neighbors);
}

// Rows sorted by bucket: rows of bucket b are order[begin[b] .. begin[b + 1]),
// ascending.
struct Buckets {
  std::vector<size_t> begin;
  std::vector<int32_t> order;
};

Buckets GroupByBucket(const std::vector<int32_t>& bucket_of, size_t count) {
  Buckets buckets;
  buckets.begin.assign(count + 1, 0);
  for (const int32_t bucket : bucket_of) ++buckets.begin[bucket + 1];
  std::partial_sum(buckets.begin.begin(), buckets.begin.end(),
                   buckets.begin.begin());
  std::vector<size_t> next = buckets.begin;
  buckets.order.resize(bucket_of.size());
  for (size_t row = 0; row < bucket_of.size(); ++row) {
    buckets.order[next[bucket_of[row]]++] = static_cast<int32_t>(row);
  }
  return buckets;
}

// Copy of the rows in the order of their buckets.
std::vector<float> Gather(const Rows& rows, const std::vector<int32_t>& order) {
  std::vector<float> gathered(order.size() * rows.dimension);
  for (size_t i = 0; i < order.size(); ++i) {
    std::copy_n(rows.row(order[i]), rows.dimension,
                &gathered[i * rows.dimension]);
  }
  return gathered;
}

// Centres (count x d) by k-means (Lloyd 1982) on a sample.
std::vector<float> TrainCenters(const Rows& points, size_t count,
                                const KnnOptions& options) {
  const size_t d = points.dimension;
  std::vector<int32_t> sample(points.count);
  std::iota(sample.begin(), sample.end(), 0);
  base::Random random(options.seed);
  random.Shuffle(&sample);
  sample.resize(std::min(points.count, count * kTrainingPointsPerBucket));
  const std::vector<float> data = Gather(points, sample);
  const std::vector<float> norms = SquaredNorms(data.data(), sample.size(), d);
  const Rows rows{data.data(), norms.data(), sample.size(), d};

  // The sample is shuffled, so its head is a sample too.
  std::vector<float> centers(data.begin(), data.begin() + count * d);
  for (int pass = 0; pass < kTrainingPasses; ++pass) {
    const std::vector<float> center_norms =
        SquaredNorms(centers.data(), count, d);
    const Buckets members = GroupByBucket(
        NearestCenter(rows, {centers.data(), center_norms.data(), count, d},
                      options.threads),
        count);
    // A centre that lost its rows stays where it is.
    ParallelFor(count, options.threads, [&](size_t c) {
      const size_t begin = members.begin[c];
      const size_t end = members.begin[c + 1];
      if (begin == end) return;
      float* center = &centers[c * d];
      std::fill_n(center, d, 0.0f);
      for (size_t i = begin; i < end; ++i) {
        const float* row = rows.row(members.order[i]);
        for (size_t x = 0; x < d; ++x) center[x] += row[x];
      }
      for (size_t x = 0; x < d; ++x) {
        center[x] /= static_cast<float>(end - begin);
      }
    });
  }
  return centers;
}

// Every bucket's queries against the points of the nearest buckets.
void SearchBuckets(const Rows& queries, const Rows& points, bool exclude_self,
                   const KnnOptions& options, KnnGraph* graph) {
  const size_t d = points.dimension;
  const size_t count = (points.count + kBucketSize - 1) / kBucketSize;
  const std::vector<float> center_data = TrainCenters(points, count, options);
  const std::vector<float> center_norms =
      SquaredNorms(center_data.data(), count, d);
  const Rows centers{center_data.data(), center_norms.data(), count, d};

  const Buckets point_buckets =
      GroupByBucket(NearestCenter(points, centers, options.threads), count);
  const std::vector<float> point_data = Gather(points, point_buckets.order);
  const std::vector<float> point_norms =
      SquaredNorms(point_data.data(), points.count, d);
  const Rows sorted_points{point_data.data(), point_norms.data(), points.count,
                           d};

  // In a graph, the queries are the points.
  const bool same =
      queries.data == points.data && queries.count == points.count;
  Buckets other_buckets;
  std::vector<float> other_data;
  std::vector<float> other_norms;
  Rows sorted_queries = sorted_points;
  if (!same) {
    other_buckets =
        GroupByBucket(NearestCenter(queries, centers, options.threads), count);
    other_data = Gather(queries, other_buckets.order);
    other_norms = SquaredNorms(other_data.data(), queries.count, d);
    sorted_queries = {other_data.data(), other_norms.data(), queries.count, d};
  }
  const Buckets& query_buckets = same ? point_buckets : other_buckets;

  const auto probes = static_cast<int>(std::min<size_t>(options.probes, count));
  KnnGraph near{.k = probes,
                .neighbors = std::vector<int32_t>(count * probes, kNone),
                .distances = std::vector<float>(count * probes, kInfinity)};
  SearchExactly(centers, centers, /*exclude_self=*/false, options.threads,
                &near);

  ParallelFor(count, options.threads, [&](size_t bucket) {
    BlockScanner scanner(sorted_queries, query_buckets.order.data(),
                         sorted_points, point_buckets.order.data(),
                         exclude_self, graph);
    ForBlocks(query_buckets.begin[bucket], query_buckets.begin[bucket + 1],
              kQueryBlock, [&](size_t q, size_t m) {
                for (int probe = 0; probe < probes; ++probe) {
                  const int32_t other = near.neighbors[bucket * probes + probe];
                  ForBlocks(
                      point_buckets.begin[other],
                      point_buckets.begin[other + 1], kPointBlock,
                      [&](size_t p, size_t n) { scanner.Scan(q, m, p, n); });
                }
              });
  });
}

absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

absl::Status CheckMatrix(absl::string_view field, size_t size, int d) {
  if (size % d != 0 || size / d > std::numeric_limits<int32_t>::max()) {
    return Invalid(v1::ErrorDetail::REASON_DIMENSION_MISMATCH, field,
                   absl::StrCat("rows of ", d, " numbers, at most 2^31 - 1"),
                   absl::StrCat("has ", size, " numbers"));
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(absl::string_view field,
                         const std::vector<float>& norms) {
  const auto bad = std::find_if_not(norms.begin(), norms.end(),
                                    [](float x) { return std::isfinite(x); });
  if (bad == norms.end()) return absl::OkStatus();
  return Invalid(v1::ErrorDetail::REASON_NOT_FINITE,
                 absl::StrCat(field, "[", bad - norms.begin(), "]"),
                 "finite squared length", "is not");
}

absl::StatusOr<KnnGraph> Search(absl::Span<const float> points,
                                absl::Span<const float> queries,
                                bool exclude_self, int d, int k,
                                const KnnOptions& options) {
  for (const auto& [field, value] : {std::pair<const char*, int>{"d", d},
                                     {"k", k},
                                     {"probes", options.probes},
                                     {"threads", options.threads}}) {
    if (value < 1) {
      return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, field, ">= 1",
                     absl::StrCat("is ", value));
    }
  }
  FAULTLINE_RETURN_IF_ERROR(CheckMatrix("points", points.size(), d));
  FAULTLINE_RETURN_IF_ERROR(CheckMatrix("queries", queries.size(), d));
  UseOneBlasThread();

  const size_t n = points.size() / d;
  const size_t m = queries.size() / d;
  KnnGraph graph{.k = k,
                 .neighbors = std::vector<int32_t>(m * k, kNone),
                 .distances = std::vector<float>(m * k, kInfinity)};
  const auto dimension = static_cast<size_t>(d);
  const std::vector<float> point_norms =
      SquaredNorms(points.data(), n, dimension);
  const std::vector<float> query_norms =
      SquaredNorms(queries.data(), m, dimension);
  FAULTLINE_RETURN_IF_ERROR(CheckFinite("points", point_norms));
  FAULTLINE_RETURN_IF_ERROR(CheckFinite("queries", query_norms));
  if (n == 0 || m == 0) return graph;
  const Rows point_rows{points.data(), point_norms.data(), n, dimension};
  const Rows query_rows{queries.data(), query_norms.data(), m, dimension};
  if (n <= options.exact_limit) {
    SearchExactly(query_rows, point_rows, exclude_self, options.threads,
                  &graph);
  } else {
    SearchBuckets(query_rows, point_rows, exclude_self, options, &graph);
  }
  return graph;
}

}  // namespace

absl::StatusOr<KnnGraph> BuildKnnGraph(absl::Span<const float> points, int d,
                                       int k, const KnnOptions& options) {
  return Search(points, points, /*exclude_self=*/true, d, k, options);
}

absl::StatusOr<KnnGraph> SearchKnn(absl::Span<const float> points,
                                   absl::Span<const float> queries, int d,
                                   int k, const KnnOptions& options) {
  return Search(points, queries, /*exclude_self=*/false, d, k, options);
}

}  // namespace faultline::space
