#include "lib/space/knn_graph.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
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
constexpr size_t kExactCenters = 1024;
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

// How many entries are at most `most`.
[[gnu::always_inline]] inline size_t CountBody(const int64_t* entries,
                                               size_t count, int64_t most) {
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) found += entries[i] <= most ? 1 : 0;
  return found;
}

// The inner loops, for one kind of processor.
struct Loops {
  void (*mark)(float norm, const float* norms, size_t count, float limit,
               float* distances, uint8_t* near);
  size_t (*count)(const int64_t* entries, size_t count, int64_t most);
};

void MarkPortably(float norm, const float* norms, size_t count, float limit,
                  float* distances, uint8_t* near) {
  MarkBody(norm, norms, count, limit, distances, near);
}

size_t CountPortably(const int64_t* entries, size_t count, int64_t most) {
  return CountBody(entries, count, most);
}

#ifdef __x86_64__
// The same with wider instructions. All give the same bits, fused or not:
// doubling a product rounds nothing.
[[gnu::target("avx2")]] void MarkByAvx2(float norm, const float* norms,
                                        size_t count, float limit,
                                        float* distances, uint8_t* near) {
  MarkBody(norm, norms, count, limit, distances, near);
}

[[gnu::target("avx2")]] size_t CountByAvx2(const int64_t* entries, size_t count,
                                           int64_t most) {
  return CountBody(entries, count, most);
}

[[gnu::target("avx512f,avx512bw,avx512vl,prefer-vector-width=512")]] size_t
CountByAvx512(const int64_t* entries, size_t count, int64_t most) {
  return CountBody(entries, count, most);
}

[[gnu::target("avx512f,avx512bw,avx512vl,prefer-vector-width=512")]] void
MarkByAvx512(float norm, const float* norms, size_t count, float limit,
             float* distances, uint8_t* near) {
  MarkBody(norm, norms, count, limit, distances, near);
}
#endif

Loops ChooseLoops() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return {MarkByAvx512, CountByAvx512};
  }
  if (__builtin_cpu_supports("avx2")) return {MarkByAvx2, CountByAvx2};
#endif
  return {MarkPortably, CountPortably};
}

const Loops& FittingLoops() {
  static const Loops loops = ChooseLoops();
  return loops;
}

// The nearest of what a block of queries has met. Candidates are gathered and
// thinned out now and then, which costs less than a sorted list at any k.
class NearestLists {
 public:
  NearestLists(size_t keep, size_t queries)
      : keep_(keep),
        capacity_(keep + std::max(keep, kLeastSpare)),
        entries_(new int64_t[capacity_ * queries]),
        sizes_(queries, 0),
        bounds_(queries, kInfinity) {}

  // Distance beyond which a candidate is of no use.
  float bound(size_t query) const { return bounds_[query]; }

  // Adds those of `count` points that are marked and still within the bound.
  // `near` has 0 from there to the end of the lane. `ids` null: `first` and
  // what follows.
  void Add(size_t query, const float* distances, const uint8_t* near,
           size_t count, const int32_t* ids, int32_t first) {
    int64_t* const list = &entries_[query * capacity_];
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
        int32_t bits;
        std::memcpy(&bits, &distances[i], sizeof(bits));
        const int32_t id = ids ? ids[i] : first + static_cast<int32_t>(i);
        list[size++] = int64_t{bits} << 32 | id;
        if (size == capacity_) size = ThinOut(list, size, &bound);
      }
    }
    sizes_[query] = size;
    bounds_[query] = bound;
  }

  // Writes the k nearest but `excluded`, nearest first, padded.
  void Write(size_t query, int32_t excluded, int k, int32_t* neighbors,
             float* distances) {
    int64_t* const list = &entries_[query * capacity_];
    float bound = bounds_[query];
    const size_t size = ThinOut(list, sizes_[query], &bound);
    std::sort(list, list + size);
    const int64_t* const last = list + std::min(size, keep_);
    int written = 0;
    for (const int64_t* entry = list; entry < last && written < k; ++entry) {
      const auto id = static_cast<int32_t>(*entry);
      if (id == excluded) continue;
      neighbors[written] = id;
      distances[written++] = DistanceOf(*entry);
    }
    std::fill(neighbors + written, neighbors + k, kNone);
    std::fill(distances + written, distances + k, kInfinity);
  }

 private:
  // Drops entries that are not among the `keep_` least, if not all of them:
  // what is left are those up to some entry's distance, the new bound.
  size_t ThinOut(int64_t* list, size_t size, float* bound) const {
    const size_t enough = keep_ + keep_ / 4;
    if (size <= enough) return size;
    const auto [least, largest] = std::minmax_element(list, list + size);
    int64_t below = *least - 1;  // too few are up to it
    int64_t most = *largest;     // enough are up to it
    size_t left = size;
    while (left > enough && most - below > 1) {
      const int64_t middle = below + (most - below) / 2;
      const size_t count = FittingLoops().count(list, size, middle);
      if (count < keep_) {
        below = middle;
      } else {
        most = middle;
        left = count;
      }
    }
    size_t kept = 0;
    for (size_t i = 0; i < size; ++i) {
      const int64_t entry = list[i];
      list[kept] = entry;
      kept += entry <= most ? 1 : 0;
    }
    *bound = std::min(*bound, DistanceOf(most));
    return kept;
  }

  static float DistanceOf(int64_t entry) {
    const auto bits = static_cast<int32_t>(entry >> 32);
    float distance;
    std::memcpy(&distance, &bits, sizeof(distance));
    return distance;
  }

  static constexpr size_t kLeastSpare = 32;

  const size_t keep_;
  const size_t capacity_;
  const std::unique_ptr<int64_t[]> entries_;  // queries x capacity
  std::vector<size_t> sizes_;
  std::vector<float> bounds_;
};

// A matrix of our own.
struct OwnRows {
  std::unique_ptr<float[]> data;
  std::vector<float> norms;
  size_t dimension = 0;

  Rows view() const {
    return {data.get(), norms.data(), norms.size(), dimension};
  }
};

// Copies of rows, in the order given.
OwnRows Gather(const Rows& rows, absl::Span<const int32_t> order, int threads) {
  const size_t d = rows.dimension;
  OwnRows gathered;
  gathered.dimension = d;
  // Not filled first: it may be a gigabyte.
  gathered.data.reset(new float[order.size() * d]);
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

// Shows a query the `n` points of `points` from p on, by their inner products
// with it, which turn into distances. `point_ids` gives the points' places in
// the caller's matrix; null: their own.
void ShowPoints(float norm, const Rows& points, const int32_t* point_ids,
                size_t p, size_t n, float* products, size_t query,
                NearestLists* lists) {
  // Points between which the bound is looked up again.
  constexpr size_t kSegment = 256;
  std::array<uint8_t, kSegment + kLane> near;
  for (size_t j = 0; j < n; j += kSegment) {
    const size_t count = std::min(kSegment, n - j);
    FittingLoops().mark(norm, points.norms + p + j, count, lists->bound(query),
                        products + j, near.data());
    std::fill_n(&near[count], kLane, uint8_t{0});
    lists->Add(query, products + j, near.data(), count,
               point_ids ? point_ids + p + j : nullptr,
               static_cast<int32_t>(p + j));
  }
}

// Compares one block of queries with blocks of points.
class BlockScanner {
 public:
  BlockScanner(const Rows& queries, const Rows& points,
               const int32_t* point_ids, size_t keep)
      : queries_(queries),
        points_(points),
        point_ids_(point_ids),
        lists_(keep, queries.count) {}

  // Meets points [begin, end).
  void Scan(size_t begin, size_t end) {
    for (size_t p = begin; p < end; p += kPointBlock) {
      const size_t n = std::min(kPointBlock, end - p);
      products_.resize(queries_.count * n);
      MultiplyTransposed(queries_.data, static_cast<int>(queries_.count),
                         points_.row(p), static_cast<int>(n),
                         static_cast<int>(queries_.dimension),
                         products_.data());
      for (size_t i = 0; i < queries_.count; ++i) {
        ShowPoints(queries_.norms[i], points_, point_ids_, p, n,
                   &products_[i * n], i, &lists_);
      }
    }
  }

  NearestLists& lists() { return lists_; }

 private:
  const Rows queries_;
  const Rows points_;
  const int32_t* const point_ids_;
  NearestLists lists_;
  std::vector<float> products_;
};

// What is asked.
struct Queries {
  Rows rows = {};
  // Row of each query; empty: every row is one.
  absl::Span<const int32_t> places = {};
  int k = 0;
  bool exclude_self = false;  // the queries are the points, but no neighbours

  size_t count() const { return places.empty() ? rows.count : places.size(); }
  int32_t place(size_t query) const {
    return places.empty() ? static_cast<int32_t>(query) : places[query];
  }
  size_t keep() const {
    return static_cast<size_t>(k) + (exclude_self ? 1 : 0);
  }
};

KnnGraph EmptyGraph(const Queries& queries) {
  const size_t size = queries.count() * queries.k;
  return {.k = queries.k,
          .neighbors = std::vector<int32_t>(size, kNone),
          .distances = std::vector<float>(size, kInfinity),
          .order = {}};
}

// Lets `scan` show points to a block of queries, and writes what each has met.
template <typename Scan>
void SearchBlock(const Queries& queries, absl::Span<const int32_t> block,
                 const Rows& points, const int32_t* point_ids, const Scan& scan,
                 KnnGraph* graph) {
  std::vector<int32_t> places;
  places.reserve(block.size());
  for (const int32_t query : block) places.push_back(queries.place(query));
  const OwnRows gathered = Gather(queries.rows, places, 1);
  BlockScanner scanner(gathered.view(), points, point_ids, queries.keep());
  scan(&scanner);
  for (size_t i = 0; i < block.size(); ++i) {
    const size_t offset = static_cast<size_t>(block[i]) * queries.k;
    scanner.lists().Write(i, queries.exclude_self ? block[i] : kNone, queries.k,
                          &graph->neighbors[offset], &graph->distances[offset]);
  }
}

KnnGraph SearchExactly(const Queries& queries, const Rows& points,
                       int threads) {
  KnnGraph graph = EmptyGraph(queries);
  std::vector<int32_t> all(queries.count());
  std::iota(all.begin(), all.end(), 0);
  const size_t blocks = (all.size() + kQueryBlock - 1) / kQueryBlock;
  base::ParallelFor(blocks, threads, [&](size_t block) {
    SearchBlock(
        queries,
        absl::MakeConstSpan(all).subspan(block * kQueryBlock, kQueryBlock),
        points, nullptr,
        [&](BlockScanner* scanner) { scanner->Scan(0, points.count); }, &graph);
  });
  return graph;
}

// The points among themselves: what two blocks have in common is multiplied
// once.
KnnGraph SearchEachOther(const Rows& points, int k, int threads) {
  struct Block {
    size_t begin, count;
    std::unique_ptr<NearestLists> lists;
    std::unique_ptr<absl::Mutex> mutex;  // of the lists
  };
  std::vector<Block> blocks;
  for (size_t begin = 0; begin < points.count; begin += kQueryBlock) {
    const size_t count = std::min(kQueryBlock, points.count - begin);
    blocks.push_back(
        {begin, count,
         std::make_unique<NearestLists>(static_cast<size_t>(k) + 1, count),
         std::make_unique<absl::Mutex>()});
  }
  // What a list keeps does not depend on the order in which it meets the rest.
  const auto show = [&points](const Block& to, const Block& shown,
                              std::vector<float>* products) {
    const absl::MutexLock lock(to.mutex.get());
    for (size_t i = 0; i < to.count; ++i) {
      ShowPoints(points.norms[to.begin + i], points, nullptr, shown.begin,
                 shown.count, &(*products)[i * shown.count], i, to.lists.get());
    }
  };
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t apart = 0; apart < blocks.size(); ++apart) {
    for (size_t a = 0; a + apart < blocks.size(); ++a) {
      pairs.emplace_back(a, a + apart);
    }
  }
  base::ParallelFor(pairs.size(), threads, [&](size_t pair) {
    const Block& a = blocks[pairs[pair].first];
    const Block& b = blocks[pairs[pair].second];
    std::vector<float> products(a.count * b.count);
    MultiplyTransposed(points.row(a.begin), static_cast<int>(a.count),
                       points.row(b.begin), static_cast<int>(b.count),
                       static_cast<int>(points.dimension), products.data());
    if (&a != &b) {
      std::vector<float> transposed(products.size());
      for (size_t i = 0; i < a.count; ++i) {
        for (size_t j = 0; j < b.count; ++j) {
          transposed[j * a.count + i] = products[i * b.count + j];
        }
      }
      show(b, a, &transposed);
    }
    show(a, b, &products);
  });

  KnnGraph graph = EmptyGraph({.rows = points, .k = k});
  base::ParallelFor(blocks.size(), threads, [&](size_t b) {
    for (size_t i = 0; i < blocks[b].count; ++i) {
      const size_t row = blocks[b].begin + i;
      blocks[b].lists->Write(i, static_cast<int32_t>(row), k,
                             &graph.neighbors[row * k],
                             &graph.distances[row * k]);
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

// Points by the centre that is nearest to them.
struct PointBuckets {
  OwnRows centers;
  std::vector<int32_t> bucket_of;
  Buckets buckets;
  OwnRows sorted;  // the points, bucket by bucket
};

PointBuckets BuildBuckets(const Rows& points, size_t bucket_size, uint64_t seed,
                          int threads);
KnnGraph SearchBuckets(const Queries& queries,
                       const std::vector<int32_t>& bucket_of,
                       const PointBuckets& points, int probes, int threads);

// Nearest of `centers` to each row.
std::vector<int32_t> NearestCenter(const Rows& rows, const Rows& centers,
                                   uint64_t seed, int threads) {
  const Queries queries{.rows = rows, .k = 1};
  if (centers.count <= kExactCenters) {
    return SearchExactly(queries, centers, threads).neighbors;
  }
  const PointBuckets coarse =
      BuildBuckets(centers, kCentersPerBucket, seed, threads);
  return SearchBuckets(
             queries, NearestCenter(rows, coarse.centers.view(), seed, threads),
             coarse, kCenterProbes, threads)
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
  centers.data.reset(new float[count * d]);
  std::copy_n(rows.data.get(), count * d, centers.data.get());
  centers.norms = SquaredNorms(centers.data.get(), count, d);
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
    centers.norms = SquaredNorms(centers.data.get(), count, d);
  }
  return centers;
}

PointBuckets BuildBuckets(const Rows& points, size_t bucket_size, uint64_t seed,
                          int threads) {
  PointBuckets built;
  built.centers = TrainCenters(
      points, (points.count + bucket_size - 1) / bucket_size, seed, threads);
  built.bucket_of = NearestCenter(points, built.centers.view(), seed, threads);
  built.buckets = GroupByBucket(built.bucket_of, built.centers.view().count);
  built.sorted = Gather(points, built.buckets.order, threads);
  return built;
}

// Every bucket's queries against the points of the nearest buckets.
KnnGraph SearchBuckets(const Queries& queries,
                       const std::vector<int32_t>& bucket_of,
                       const PointBuckets& points, int probes, int threads) {
  const Buckets asking = GroupByBucket(bucket_of, points.buckets.count());
  const int visits =
      static_cast<int>(std::min<size_t>(probes, points.buckets.count()));
  const KnnGraph near =
      SearchExactly({.rows = points.centers.view(), .k = visits},
                    points.centers.view(), threads);

  struct Block {
    size_t bucket, first, count;
  };
  std::vector<Block> blocks;
  for (size_t b = 0; b < asking.count(); ++b) {
    const size_t end = asking.begin[b + 1];
    for (size_t q = asking.begin[b]; q < end; q += kQueryBlock) {
      blocks.push_back({b, q, std::min(kQueryBlock, end - q)});
    }
  }
  KnnGraph graph = EmptyGraph(queries);
  base::ParallelFor(blocks.size(), threads, [&](size_t i) {
    const Block& block = blocks[i];
    SearchBlock(
        queries,
        absl::MakeConstSpan(asking.order).subspan(block.first, block.count),
        points.sorted.view(), points.buckets.order.data(),
        [&](BlockScanner* scanner) {
          for (int visit = 0; visit < visits; ++visit) {
            const int32_t other = near.neighbors[block.bucket * visits + visit];
            scanner->Scan(points.buckets.begin[other],
                          points.buckets.begin[other + 1]);
          }
        },
        &graph);
  });
  return graph;
}

absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

absl::Status CheckPositive(
    std::initializer_list<std::pair<absl::string_view, int>> numbers) {
  for (const auto& [field, value] : numbers) {
    if (value < 1) {
      return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, field, ">= 1",
                     absl::StrCat("is ", value));
    }
  }
  return absl::OkStatus();
}

// Squared lengths of the rows of a matrix, if it is one.
absl::StatusOr<std::vector<float>> CheckMatrix(absl::string_view field,
                                               absl::Span<const float> matrix,
                                               int d) {
  if (matrix.size() % d != 0 ||
      matrix.size() / d > std::numeric_limits<int32_t>::max()) {
    return Invalid(v1::ErrorDetail::REASON_DIMENSION_MISMATCH, field,
                   absl::StrCat("rows of ", d, " numbers, at most 2^31 - 1"),
                   absl::StrCat("has ", matrix.size(), " numbers"));
  }
  UseOneBlasThread();
  std::vector<float> norms =
      SquaredNorms(matrix.data(), matrix.size() / d, static_cast<size_t>(d));
  const auto bad = std::find_if_not(norms.begin(), norms.end(),
                                    [](float x) { return std::isfinite(x); });
  if (bad == norms.end()) return norms;
  return Invalid(v1::ErrorDetail::REASON_NOT_FINITE,
                 absl::StrCat(field, "[", bad - norms.begin(), "]"),
                 "finite squared length", "is not");
}

}  // namespace

struct NeighborIndex::Points {
  size_t dimension = 0;
  size_t count = 0;
  KnnOptions options;
  OwnRows exact;         // where there are few
  PointBuckets buckets;  // where there are many
  // Of each point, in buckets.sorted.
  std::vector<int32_t> place;

  bool few() const { return count <= options.exact_limit; }

  KnnGraph Search(const Queries& queries, const std::vector<int32_t>& bucket_of,
                  int threads) const {
    if (queries.count() == 0 || count == 0) return EmptyGraph(queries);
    return few() ? SearchExactly(queries, exact.view(), threads)
                 : SearchBuckets(queries, bucket_of, buckets, options.probes,
                                 threads);
  }
};

NeighborIndex::NeighborIndex(std::unique_ptr<const Points> points)
    : points_(std::move(points)) {}
NeighborIndex::NeighborIndex(NeighborIndex&&) noexcept = default;
NeighborIndex& NeighborIndex::operator=(NeighborIndex&&) noexcept = default;
NeighborIndex::~NeighborIndex() = default;

absl::StatusOr<NeighborIndex> NeighborIndex::Create(
    absl::Span<const float> points, int d, const KnnOptions& options) {
  FAULTLINE_RETURN_IF_ERROR(CheckPositive(
      {{"d", d}, {"probes", options.probes}, {"threads", options.threads}}));
  FAULTLINE_ASSIGN_OR_RETURN(std::vector<float> norms,
                             CheckMatrix("points", points, d));
  auto index = std::make_unique<Points>();
  index->dimension = d;
  index->count = norms.size();
  index->options = options;
  const Rows rows{points.data(), norms.data(), norms.size(),
                  static_cast<size_t>(d)};
  if (index->few()) {
    index->exact.data.reset(new float[points.size()]);
    std::copy(points.begin(), points.end(), index->exact.data.get());
    index->exact.dimension = d;
    index->exact.norms = std::move(norms);
  } else {
    index->buckets =
        BuildBuckets(rows, kBucketSize, options.seed, options.threads);
    index->place.resize(index->count);
    const std::vector<int32_t>& order = index->buckets.buckets.order;
    for (size_t i = 0; i < order.size(); ++i) {
      index->place[order[i]] = static_cast<int32_t>(i);
    }
  }
  return NeighborIndex(std::move(index));
}

absl::StatusOr<KnnGraph> NeighborIndex::Search(absl::Span<const float> queries,
                                               int k, int threads) const {
  FAULTLINE_RETURN_IF_ERROR(CheckPositive({{"k", k}, {"threads", threads}}));
  FAULTLINE_ASSIGN_OR_RETURN(
      const std::vector<float> norms,
      CheckMatrix("queries", queries, static_cast<int>(points_->dimension)));
  const Rows rows{queries.data(), norms.data(), norms.size(),
                  points_->dimension};
  std::vector<int32_t> bucket_of;
  if (!points_->few() && rows.count > 0) {
    bucket_of = NearestCenter(rows, points_->buckets.centers.view(),
                              points_->options.seed, threads);
  }
  return points_->Search({.rows = rows, .k = k}, bucket_of, threads);
}

absl::StatusOr<KnnGraph> NeighborIndex::SearchPoints(
    absl::Span<const int32_t> points, int k, int threads) const {
  FAULTLINE_RETURN_IF_ERROR(CheckPositive({{"k", k}, {"threads", threads}}));
  if (points.empty()) return EmptyGraph({.k = k});
  if (points_->few()) {
    return points_->Search(
        {.rows = points_->exact.view(), .places = points, .k = k}, {}, threads);
  }
  std::vector<int32_t> places;
  std::vector<int32_t> bucket_of;
  places.reserve(points.size());
  bucket_of.reserve(points.size());
  for (const int32_t point : points) {
    places.push_back(points_->place[point]);
    bucket_of.push_back(points_->buckets.bucket_of[point]);
  }
  return points_->Search(
      {.rows = points_->buckets.sorted.view(), .places = places, .k = k},
      bucket_of, threads);
}

absl::StatusOr<KnnGraph> BuildKnnGraph(absl::Span<const float> points, int d,
                                       int k, const KnnOptions& options) {
  FAULTLINE_RETURN_IF_ERROR(CheckPositive({{"d", d},
                                           {"k", k},
                                           {"probes", options.probes},
                                           {"threads", options.threads}}));
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<float> norms,
                             CheckMatrix("points", points, d));
  const Queries queries{.rows = {points.data(), norms.data(), norms.size(),
                                 static_cast<size_t>(d)},
                        .k = k,
                        .exclude_self = true};
  if (norms.empty()) return EmptyGraph(queries);
  if (norms.size() <= options.exact_limit) {
    return SearchEachOther(queries.rows, k, options.threads);
  }
  PointBuckets buckets =
      BuildBuckets(queries.rows, kBucketSize, options.seed, options.threads);
  KnnGraph graph = SearchBuckets(queries, buckets.bucket_of, buckets,
                                 options.probes, options.threads);
  graph.order = std::move(buckets.buckets.order);
  return graph;
}

absl::StatusOr<KnnGraph> SearchKnn(absl::Span<const float> points,
                                   absl::Span<const float> queries, int d,
                                   int k, const KnnOptions& options) {
  FAULTLINE_ASSIGN_OR_RETURN(const NeighborIndex index,
                             NeighborIndex::Create(points, d, options));
  return index.Search(queries, k, options.threads);
}

}  // namespace faultline::space
