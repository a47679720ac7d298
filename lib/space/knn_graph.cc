#include "lib/space/knn_graph.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/space/blas.h"

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

// Beyond this many centres, the nearest one of a row is looked for by buckets
// of centres, too: comparing every row with every centre would be most of the
// work from a million points on.
constexpr size_t kExactCenters = 512;
constexpr size_t kCentersPerBucket = 32;
constexpr int kCenterProbes = 6;

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
    norms[i] = SquaredNorm(data + i * dimension, static_cast<int>(dimension));
  }
  return norms;
}

// Points that are marked at a time: a word of bytes.
constexpr size_t kLane = 8;
static_assert(std::endian::native == std::endian::little,
              "the first point of a lane must be in its lowest byte");

// Turns inner products of one query and `count` points into squared distances,
// and marks by 1 those of at most `limit`. `norm` and `norms`: squared lengths.
[[gnu::always_inline]] inline void MarkBody(float norm, const float* norms,
                                            size_t count, float limit,
                                            float* distances, uint8_t* near) {
  for (size_t i = 0; i < count; ++i) {
    const float lengths = norm + norms[i];
    const float distance = lengths - 2 * distances[i];
    distances[i] = distance <= kRounding * lengths ? 0 : distance;
    near[i] = distances[i] <= limit ? 1 : 0;
  }
}

void MarkPortably(float norm, const float* norms, size_t count, float limit,
                  float* distances, uint8_t* near) {
  MarkBody(norm, norms, count, limit, distances, near);
}

#ifdef __x86_64__
// The same with wider instructions. No sum is contracted that rounds twice in
// one of them and once in another: doubling is exact.
[[gnu::target("avx2")]] void MarkByAvx2(float norm, const float* norms,
                                        size_t count, float limit,
                                        float* distances, uint8_t* near) {
  MarkBody(norm, norms, count, limit, distances, near);
}

[[gnu::target("avx512f,avx512bw,avx512vl,prefer-vector-width=512")]] void
MarkByAvx512(float norm, const float* norms, size_t count, float limit,
             float* distances, uint8_t* near) {
  MarkBody(norm, norms, count, limit, distances, near);
}
#endif

decltype(&MarkPortably) ChooseMark() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return MarkByAvx512;
  }
  if (__builtin_cpu_supports("avx2")) return MarkByAvx2;
#endif
  return MarkPortably;
}

// The nearest of what a block of queries has met. Candidates are gathered and
// thinned out now and then, which costs less than a sorted list at any k.
class NearestLists {
 public:
  NearestLists(size_t keep, size_t queries)
      : keep_(keep),
        capacity_(keep + std::max(keep, kLeastSpare)),
        entries_(new uint64_t[capacity_ * queries]),
        sizes_(queries, 0),
        bounds_(queries, kInfinity) {}

  // Distance beyond which a candidate is of no use.
  float bound(size_t query) const { return bounds_[query]; }

  // Adds those of `count` points that are marked and still within the bound.
  // `near` has 0 from there to the end of the lane. `ids` null: `first` and
  // what follows.
  void Add(size_t query, const float* distances, const uint8_t* near,
           size_t count, const int32_t* ids, int32_t first) {
    uint64_t* const list = &entries_[query * capacity_];
    float bound = bounds_[query];
    size_t size = sizes_[query];
    for (size_t lane = 0; lane < count; lane += kLane) {
      uint64_t marks;
      std::memcpy(&marks, near + lane, sizeof(marks));
      for (; marks != 0; marks &= marks - 1) {
        const size_t i = lane + std::countr_zero(marks) / 8;
        if (distances[i] > bound) continue;
        // Distances are not negative: their bits ascend as they do, and the id
        // below them settles ties.
        uint32_t bits;
        std::memcpy(&bits, &distances[i], sizeof(bits));
        const int32_t id = ids ? ids[i] : first + static_cast<int32_t>(i);
        list[size++] = uint64_t{bits} << 32 | static_cast<uint32_t>(id);
        if (size < capacity_) continue;
        std::nth_element(list, list + keep_ - 1, list + size);
        size = keep_;
        bound = DistanceOf(list[keep_ - 1]);
      }
    }
    sizes_[query] = size;
    bounds_[query] = bound;
  }

  // Writes the k nearest but `excluded`, nearest first, padded.
  void Write(size_t query, int32_t excluded, int k, int32_t* neighbors,
             float* distances) {
    uint64_t* const list = &entries_[query * capacity_];
    uint64_t* const end = list + sizes_[query];
    uint64_t* const last = std::min(end, list + keep_);
    if (last < end) std::nth_element(list, last - 1, end);
    std::sort(list, last);
    int written = 0;
    for (const uint64_t* entry = list; entry < last && written < k; ++entry) {
      const auto id = static_cast<int32_t>(static_cast<uint32_t>(*entry));
      if (id == excluded) continue;
      neighbors[written] = id;
      distances[written++] = DistanceOf(*entry);
    }
    std::fill(neighbors + written, neighbors + k, kNone);
    std::fill(distances + written, distances + k, kInfinity);
  }

 private:
  static float DistanceOf(uint64_t entry) {
    const auto bits = static_cast<uint32_t>(entry >> 32);
    float distance;
    std::memcpy(&distance, &bits, sizeof(distance));
    return distance;
  }

  static constexpr size_t kLeastSpare = 32;

  const size_t keep_;
  const size_t capacity_;
  const std::unique_ptr<uint64_t[]> entries_;  // queries x capacity
  std::vector<size_t> sizes_;
  std::vector<float> bounds_;
};

// Compares one block of queries, [first, first + count), with blocks of points.
class BlockScanner {
 public:
  // `point_ids` gives the points' places in the caller's matrix; null: their
  // own.
  BlockScanner(const Rows& queries, size_t first, size_t count,
               const Rows& points, const int32_t* point_ids, size_t keep)
      : queries_(queries),
        first_(first),
        count_(count),
        points_(points),
        point_ids_(point_ids),
        lists_(keep, count) {}

  // Meets points [begin, end).
  void Scan(size_t begin, size_t end) {
    for (size_t p = begin; p < end; p += kPointBlock) {
      const size_t n = std::min(kPointBlock, end - p);
      products_.resize(count_ * n);
      MultiplyTransposed(queries_.row(first_), static_cast<int>(count_),
                         points_.row(p), static_cast<int>(n),
                         static_cast<int>(queries_.dimension),
                         products_.data());
      for (size_t i = 0; i < count_; ++i) ScanRow(i, p, n, &products_[i * n]);
    }
  }

  NearestLists& lists() { return lists_; }

 private:
  // Points between which the bound is looked up again.
  static constexpr size_t kSegment = 256;

  void ScanRow(size_t query, size_t p, size_t n, float* products) {
    static const auto mark = ChooseMark();
    std::array<uint8_t, kSegment + kLane> near;
    for (size_t j = 0; j < n; j += kSegment) {
      const size_t count = std::min(kSegment, n - j);
      mark(queries_.norms[first_ + query], points_.norms + p + j, count,
           lists_.bound(query), products + j, near.data());
      std::fill_n(&near[count], kLane, uint8_t{0});
      lists_.Add(query, products + j, near.data(), count,
                 point_ids_ ? point_ids_ + p + j : nullptr,
                 static_cast<int32_t>(p + j));
    }
  }

  const Rows queries_;
  const size_t first_;
  const size_t count_;
  const Rows points_;
  const int32_t* const point_ids_;
  NearestLists lists_;
  std::vector<float> products_;
};

// What one search is about.
struct SearchTask {
  Rows queries;
  Rows points;
  int k;
  bool exclude_self;  // equal rows are no neighbours

  size_t keep() const {
    return static_cast<size_t>(k) + (exclude_self ? 1 : 0);
  }
};

KnnGraph EmptyGraph(const SearchTask& task) {
  const size_t size = task.queries.count * task.k;
  return {.k = task.k,
          .neighbors = std::vector<int32_t>(size, kNone),
          .distances = std::vector<float>(size, kInfinity),
          .order = {}};
}

// Writes what the query in place `i` of the scanner's block has met.
void WriteRow(const SearchTask& task, int32_t query, size_t i,
              BlockScanner* scanner, KnnGraph* graph) {
  const size_t offset = static_cast<size_t>(query) * task.k;
  scanner->lists().Write(i, task.exclude_self ? query : kNone, task.k,
                         &graph->neighbors[offset], &graph->distances[offset]);
}

KnnGraph SearchExactly(const SearchTask& task, int threads) {
  KnnGraph graph = EmptyGraph(task);
  const size_t blocks = (task.queries.count + kQueryBlock - 1) / kQueryBlock;
  base::ParallelFor(blocks, threads, [&](size_t block) {
    const size_t q = block * kQueryBlock;
    const size_t m = std::min(kQueryBlock, task.queries.count - q);
    BlockScanner scanner(task.queries, q, m, task.points, nullptr, task.keep());
    scanner.Scan(0, task.points.count);
    for (size_t i = 0; i < m; ++i) {
      WriteRow(task, static_cast<int32_t>(q + i), i, &scanner, &graph);
    }
  });
  return graph;
}

// Rows sorted by bucket: rows of bucket b are order[begin[b] .. begin[b + 1]),
// ascending.
struct Buckets {
  std::vector<size_t> begin;
  std::vector<int32_t> order;

  size_t count() const { return begin.size() - 1; }
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

// A matrix of our own.
struct OwnRows {
  std::vector<float> data;
  std::vector<float> norms;
  size_t dimension = 0;

  Rows view() const {
    return {data.data(), norms.data(), norms.size(), dimension};
  }
};

// Copies of rows, in the order given.
OwnRows Gather(const Rows& rows, const std::vector<int32_t>& order,
               int threads) {
  const size_t d = rows.dimension;
  OwnRows gathered;
  gathered.dimension = d;
  gathered.data.resize(order.size() * d);
  gathered.norms.resize(order.size());
  const size_t blocks = (order.size() + kPointBlock - 1) / kPointBlock;
  base::ParallelFor(blocks, threads, [&](size_t block) {
    const size_t end = std::min(order.size(), (block + 1) * kPointBlock);
    for (size_t i = block * kPointBlock; i < end; ++i) {
      std::copy_n(rows.row(order[i]), d, &gathered.data[i * d]);
      gathered.norms[i] = rows.norms[order[i]];
    }
  });
  return gathered;
}

KnnGraph SearchBuckets(const SearchTask& task, size_t bucket_size, int probes,
                       uint64_t seed, int threads);

// Nearest of `centers` to each row.
std::vector<int32_t> NearestCenter(const Rows& rows, const Rows& centers,
                                   uint64_t seed, int threads) {
  const SearchTask task{rows, centers, 1, /*exclude_self=*/false};
  return centers.count <= kExactCenters
             ? SearchExactly(task, threads).neighbors
             : SearchBuckets(task, kCentersPerBucket, kCenterProbes, seed,
                             threads)
                   .neighbors;
}

// At most `count` centres by k-means (Lloyd 1982) on a sample.
OwnRows TrainCenters(const Rows& points, size_t count, uint64_t seed,
                     int threads) {
  const size_t d = points.dimension;
  std::vector<int32_t> sample(points.count);
  std::iota(sample.begin(), sample.end(), 0);
  base::Random random(seed);
  random.Shuffle(&sample);
  sample.resize(std::min(points.count, count * kTrainingPointsPerBucket));
  const OwnRows rows = Gather(points, sample, threads);

  // The sample is shuffled, so its head is a sample too.
  OwnRows centers;
  centers.dimension = d;
  centers.data.assign(rows.data.begin(),
                      rows.data.begin() + static_cast<int64_t>(count * d));
  centers.norms = SquaredNorms(centers.data.data(), count, d);
  for (int pass = 0; pass < kTrainingPasses; ++pass) {
    const Buckets members = GroupByBucket(
        NearestCenter(rows.view(), centers.view(), seed, threads), count);
    // A centre that lost its rows stays where it is.
    base::ParallelFor(count, threads, [&](size_t c) {
      const size_t begin = members.begin[c];
      const size_t end = members.begin[c + 1];
      if (begin == end) return;
      float* const center = &centers.data[c * d];
      std::fill_n(center, d, 0.0f);
      for (size_t i = begin; i < end; ++i) {
        const float* row = rows.view().row(members.order[i]);
        for (size_t x = 0; x < d; ++x) center[x] += row[x];
      }
      const float share = 1 / static_cast<float>(end - begin);
      for (size_t x = 0; x < d; ++x) center[x] *= share;
    });
    centers.norms = SquaredNorms(centers.data.data(), count, d);
  }
  return centers;
}

// Every bucket's queries against the points of the nearest buckets.
KnnGraph SearchBuckets(const SearchTask& task, size_t bucket_size, int probes,
                       uint64_t seed, int threads) {
  const Rows& points = task.points;
  const Rows& queries = task.queries;
  OwnRows centers = TrainCenters(
      points, (points.count + bucket_size - 1) / bucket_size, seed, threads);
  Buckets point_buckets =
      GroupByBucket(NearestCenter(points, centers.view(), seed, threads),
                    centers.norms.size());
  // A bucket without points would only be probed in vain.
  std::vector<int32_t> used;
  std::vector<size_t> used_begin = {0};
  for (size_t c = 0; c < point_buckets.count(); ++c) {
    if (point_buckets.begin[c] == point_buckets.begin[c + 1]) continue;
    used.push_back(static_cast<int32_t>(c));
    used_begin.push_back(point_buckets.begin[c + 1]);
  }
  centers = Gather(centers.view(), used, threads);
  point_buckets.begin = std::move(used_begin);
  const OwnRows sorted_points = Gather(points, point_buckets.order, threads);

  // In a graph, the queries are the points.
  const bool same =
      queries.data == points.data && queries.count == points.count;
  Buckets other_buckets;
  OwnRows other_queries;
  if (!same) {
    other_buckets =
        GroupByBucket(NearestCenter(queries, centers.view(), seed, threads),
                      point_buckets.count());
    other_queries = Gather(queries, other_buckets.order, threads);
  }
  const Buckets& query_buckets = same ? point_buckets : other_buckets;
  const Rows sorted_queries =
      same ? sorted_points.view() : other_queries.view();

  const int visits =
      static_cast<int>(std::min<size_t>(probes, point_buckets.count()));
  const KnnGraph near = SearchExactly(
      {centers.view(), centers.view(), visits, /*exclude_self=*/false},
      threads);

  struct Block {
    size_t bucket, first, count;
  };
  std::vector<Block> blocks;
  for (size_t b = 0; b < query_buckets.count(); ++b) {
    const size_t end = query_buckets.begin[b + 1];
    for (size_t q = query_buckets.begin[b]; q < end; q += kQueryBlock) {
      blocks.push_back({b, q, std::min(kQueryBlock, end - q)});
    }
  }
  KnnGraph graph = EmptyGraph(task);
  base::ParallelFor(blocks.size(), threads, [&](size_t i) {
    const Block& block = blocks[i];
    BlockScanner scanner(sorted_queries, block.first, block.count,
                         sorted_points.view(), point_buckets.order.data(),
                         task.keep());
    for (int visit = 0; visit < visits; ++visit) {
      const int32_t other = near.neighbors[block.bucket * visits + visit];
      scanner.Scan(point_buckets.begin[other], point_buckets.begin[other + 1]);
    }
    for (size_t q = 0; q < block.count; ++q) {
      WriteRow(task, query_buckets.order[block.first + q], q, &scanner, &graph);
    }
  });
  if (same) graph.order = std::move(point_buckets.order);
  return graph;
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
  const auto dimension = static_cast<size_t>(d);
  const bool same = points.data() == queries.data() && n == m;
  const std::vector<float> point_norms =
      SquaredNorms(points.data(), n, dimension);
  std::vector<float> other_norms;
  if (!same) other_norms = SquaredNorms(queries.data(), m, dimension);
  const std::vector<float>& query_norms = same ? point_norms : other_norms;
  FAULTLINE_RETURN_IF_ERROR(CheckFinite("points", point_norms));
  FAULTLINE_RETURN_IF_ERROR(CheckFinite("queries", query_norms));
  const SearchTask task{{queries.data(), query_norms.data(), m, dimension},
                        {points.data(), point_norms.data(), n, dimension},
                        k,
                        exclude_self};
  if (n == 0 || m == 0) return EmptyGraph(task);
  return n <= options.exact_limit
             ? SearchExactly(task, options.threads)
             : SearchBuckets(task, kBucketSize, options.probes, options.seed,
                             options.threads);
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
