#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/utils/Heap.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/space/blas.h"
#include "lib/space/block_lists.h"
#include "lib/space/faiss_guard.h"
#include "lib/space/id_set.h"
#include "lib/space/vector_space.h"

namespace faultline::space {
namespace {

using FaissId = faiss::Index::idx_t;

constexpr int kMaxDimension = 4096;
// An inverted file is trained again when the points have grown so much, until
// it has kMaxLists: assigning a point costs as much as its lists are many, and
// that is what adding costs; a search of a million points visits 3% of them.
constexpr size_t kRetrainGrowth = 8;
constexpr size_t kMaxLists = 512;
// k-means: lists for n points, 2 sqrt(n); points a list and passes.
constexpr double kListsPerRoot = 2;
constexpr int kTrainingPointsPerList = 40;
constexpr int kTrainingPasses = 6;
// Room beyond the least and the greatest number seen in training, as a share
// of their distance.
constexpr float kRangeMargin = 0.1f;

// FAISS's ids are signed; the mapping is one to one. What it did not find has
// the label -1, so the greatest id cannot be used.
constexpr FaissId kAbsent = -1;
constexpr uint64_t kMaxId = std::numeric_limits<uint64_t>::max() - 1;
FaissId ToFaiss(uint64_t id) { return static_cast<FaissId>(id); }
uint64_t FromFaiss(FaissId id) { return static_cast<uint64_t>(id); }

absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

absl::Status CheckVectors(absl::string_view field,
                          absl::Span<const float> vectors, size_t expected,
                          int dimension) {
  if (vectors.size() != expected) {
    return Invalid(v1::ErrorDetail::REASON_DIMENSION_MISMATCH, field,
                   absl::StrCat(expected, " numbers, ", dimension, " each"),
                   absl::StrCat("has ", vectors.size(), " numbers"));
  }
  const auto bad = std::find_if_not(vectors.begin(), vectors.end(),
                                    [](float x) { return std::isfinite(x); });
  if (bad != vectors.end()) {
    return Invalid(
        v1::ErrorDetail::REASON_NOT_FINITE,
        absl::StrCat(field, "[", (bad - vectors.begin()) / dimension, "]"),
        "finite", "has NaN or infinity");
  }
  return absl::OkStatus();
}

// What FAISS found for m queries, m x k.
struct Found {
  std::vector<float> distances;
  std::vector<FaissId> labels;
};

// Reads and writes the parts of a saved space.
class Output {
 public:
  explicit Output(VectorSpace::Sink sink) : sink_(sink) {}

  template <typename Number>
  absl::Status Put(Number number) {
    return PutAll(&number, 1);
  }
  template <typename Number>
  absl::Status PutAll(const Number* numbers, size_t count) {
    static_assert(std::is_arithmetic_v<Number>);
    return sink_(absl::string_view(reinterpret_cast<const char*>(numbers),
                                   count * sizeof(Number)));
  }

 private:
  const VectorSpace::Sink sink_;
};

class Input {
 public:
  explicit Input(VectorSpace::Source source) : source_(source) {}

  template <typename Number>
  absl::Status Get(Number* number) {
    return GetAll(number, 1);
  }
  template <typename Number>
  absl::Status GetAll(Number* numbers, size_t count) {
    static_assert(std::is_arithmetic_v<Number>);
    return source_(absl::MakeSpan(reinterpret_cast<char*>(numbers),
                                  count * sizeof(Number)));
  }

 private:
  const VectorSpace::Source source_;
};

absl::Status Malformed(absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat("behaviour space: a saved one has a malformed ", what));
}

// Which backend was saved.
enum class Saved : uint8_t { kExact = 1, kInvertedFile = 2 };

// One FAISS index. Ids given to Add are new, those given to Remove present.
// Not thread-safe, but const methods run side by side.
class Backend {
 public:
  virtual ~Backend() = default;

  // The part of Add that only reads.
  virtual absl::StatusOr<std::vector<FaissId>> Prepare(
      absl::Span<const float> vectors) const = 0;
  virtual absl::Status Add(absl::Span<const uint64_t> ids,
                           absl::Span<const float> vectors,
                           const std::vector<FaissId>& prepared) = 0;
  virtual absl::Status Remove(const IdSet& ids) = 0;
  // Labels are ids.
  virtual absl::StatusOr<Found> Search(absl::Span<const float> queries,
                                       int k) const = 0;
  // Calls `visit` for every id and its vector, in no order.
  using Visit = absl::FunctionRef<void(uint64_t id, const float* vector)>;
  virtual absl::Status ForEach(Visit visit) const = 0;
  virtual void ForEachId(absl::FunctionRef<void(uint64_t id)> visit) const = 0;
  // Points beyond which another backend serves better.
  virtual size_t capacity() const = 0;
  // For Load: everything, as it is now.
  virtual std::unique_ptr<const VectorSpace::Frozen> Freeze() const = 0;
};

// What stands before every backend.
absl::Status PutHeader(const VectorSpace::Options& options, Saved saved,
                       Output* out) {
  FAULTLINE_RETURN_IF_ERROR(out->Put(static_cast<uint32_t>(options.dimension)));
  FAULTLINE_RETURN_IF_ERROR(
      out->Put(static_cast<uint8_t>(options.quantization)));
  return out->Put(static_cast<uint8_t>(saved));
}

class FrozenExact final : public VectorSpace::Frozen {
 public:
  FrozenExact(const VectorSpace::Options& options, std::vector<uint64_t> ids,
              const float* vectors)
      : options_(options),
        ids_(std::move(ids)),
        vectors_(vectors, vectors + ids_.size() * options.dimension) {}

  absl::Status Save(VectorSpace::Sink sink) const override {
    Output out(sink);
    FAULTLINE_RETURN_IF_ERROR(PutHeader(options_, Saved::kExact, &out));
    FAULTLINE_RETURN_IF_ERROR(out.Put(static_cast<uint64_t>(ids_.size())));
    constexpr size_t kPart = 1024;
    for (size_t at = 0; at < ids_.size(); at += kPart) {
      const size_t count = std::min(kPart, ids_.size() - at);
      FAULTLINE_RETURN_IF_ERROR(out.PutAll(ids_.data() + at, count));
      FAULTLINE_RETURN_IF_ERROR(
          out.PutAll(vectors_.data() + at * options_.dimension,
                     count * options_.dimension));
    }
    return absl::OkStatus();
  }

 private:
  const VectorSpace::Options options_;
  const std::vector<uint64_t> ids_;
  const std::vector<float> vectors_;
};

class FrozenInvertedFile final : public VectorSpace::Frozen {
 public:
  FrozenInvertedFile(const VectorSpace::Options& options,
                     const float* centroids, std::vector<float> trained,
                     uint64_t capacity, BlockLists lists)
      : options_(options),
        centroids_(centroids, centroids + lists.lists() * options.dimension),
        trained_(std::move(trained)),
        capacity_(capacity),
        lists_(std::move(lists)) {}

  absl::Status Save(VectorSpace::Sink sink) const override {
    Output out(sink);
    FAULTLINE_RETURN_IF_ERROR(PutHeader(options_, Saved::kInvertedFile, &out));
    FAULTLINE_RETURN_IF_ERROR(out.Put(static_cast<uint32_t>(lists_.lists())));
    FAULTLINE_RETURN_IF_ERROR(
        out.Put(static_cast<uint32_t>(lists_.code_size())));
    FAULTLINE_RETURN_IF_ERROR(out.Put(static_cast<uint32_t>(trained_.size())));
    FAULTLINE_RETURN_IF_ERROR(out.Put(capacity_));
    FAULTLINE_RETURN_IF_ERROR(out.PutAll(centroids_.data(), centroids_.size()));
    FAULTLINE_RETURN_IF_ERROR(out.PutAll(trained_.data(), trained_.size()));
    absl::Status status;
    for (size_t list = 0; list < lists_.lists() && status.ok(); ++list) {
      status = out.Put(static_cast<uint64_t>(lists_.size(list)));
      lists_.ForEachBlock(
          list, [&](size_t count, const FaissId* ids, const uint8_t* codes) {
            if (status.ok()) status = out.PutAll(ids, count);
            if (status.ok()) {
              status = out.PutAll(codes, count * lists_.code_size());
            }
          });
    }
    return status;
  }

 private:
  const VectorSpace::Options options_;
  const std::vector<float> centroids_;
  const std::vector<float> trained_;
  const uint64_t capacity_;
  const BlockLists lists_;
};

class ExactBackend final : public Backend {
 public:
  explicit ExactBackend(const VectorSpace::Options& options)
      : options_(options), index_(options.dimension) {}

  static absl::StatusOr<std::unique_ptr<Backend>> Load(
      const VectorSpace::Options& options, Input* in) {
    auto backend = std::make_unique<ExactBackend>(options);
    uint64_t left = 0;
    FAULTLINE_RETURN_IF_ERROR(in->Get(&left));
    // In parts, so that a false number fails before it takes the memory.
    constexpr uint64_t kPart = 1024;
    std::vector<uint64_t> ids;
    std::vector<float> vectors;
    for (; left > 0; left -= ids.size()) {
      ids.resize(std::min(left, kPart));
      vectors.resize(ids.size() * options.dimension);
      FAULTLINE_RETURN_IF_ERROR(in->GetAll(ids.data(), ids.size()));
      FAULTLINE_RETURN_IF_ERROR(in->GetAll(vectors.data(), vectors.size()));
      FAULTLINE_RETURN_IF_ERROR(backend->Add(ids, vectors, {}));
    }
    return backend;
  }

  absl::StatusOr<std::vector<FaissId>> Prepare(
      absl::Span<const float>) const override {
    return std::vector<FaissId>();
  }

  absl::Status Add(absl::Span<const uint64_t> ids,
                   absl::Span<const float> vectors,
                   const std::vector<FaissId>&) override {
    return GuardFaiss("add", [&] {
      index_.add(static_cast<FaissId>(ids.size()), vectors.data());
      ids_.insert(ids_.end(), ids.begin(), ids.end());
    });
  }

  absl::Status Remove(const IdSet& ids) override {
    return GuardFaiss("remove", [&] {
      std::vector<FaissId> rows;
      size_t kept = 0;
      for (size_t row = 0; row < ids_.size(); ++row) {
        if (ids.contains(ids_[row])) {
          rows.push_back(static_cast<FaissId>(row));
        } else {
          ids_[kept++] = ids_[row];
        }
      }
      ids_.resize(kept);
      // FAISS closes the gaps in order, as was done above.
      index_.remove_ids(faiss::IDSelectorBatch(rows.size(), rows.data()));
    });
  }

  absl::StatusOr<Found> Search(absl::Span<const float> queries,
                               int k) const override {
    const size_t m = queries.size() / index_.d;
    Found found;
    FAULTLINE_RETURN_IF_ERROR(GuardFaiss("search", [&] {
      found.distances.resize(m * k);
      found.labels.resize(m * k);
      index_.search(static_cast<FaissId>(m), queries.data(), k,
                    found.distances.data(), found.labels.data());
    }));
    for (FaissId& label : found.labels) {
      if (label != kAbsent) label = ToFaiss(ids_[label]);
    }
    return found;
  }

  absl::Status ForEach(Visit visit) const override {
    for (size_t row = 0; row < ids_.size(); ++row) {
      visit(ids_[row], index_.get_xb() + row * index_.d);
    }
    return absl::OkStatus();
  }

  void ForEachId(absl::FunctionRef<void(uint64_t id)> visit) const override {
    for (const uint64_t id : ids_) visit(id);
  }

  size_t capacity() const override { return options_.exact_limit; }

  std::unique_ptr<const VectorSpace::Frozen> Freeze() const override {
    return std::make_unique<FrozenExact>(options_, ids_, index_.get_xb());
  }

 private:
  const VectorSpace::Options options_;
  faiss::IndexFlatL2 index_;
  std::vector<uint64_t> ids_;  // by row
};

// The place of the least of `count` numbers x[i] - y[i]; the first of several.
size_t ArgMinDifference(const float* x, const float* y, size_t count) {
  // In lanes, so that the compiler can use vectors: one comparison after the
  // other costs as much as the products.
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> least;
  std::array<int32_t, kLanes> places;
  least.fill(std::numeric_limits<float>::infinity());
  places.fill(0);
  size_t begin = 0;
  for (; begin + kLanes <= count; begin += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float value = x[begin + lane] - y[begin + lane];
      const bool less = value < least[lane];
      least[lane] = less ? value : least[lane];
      places[lane] = less ? static_cast<int32_t>(begin) : places[lane];
    }
  }
  size_t place = 0;
  float found = std::numeric_limits<float>::infinity();
  const auto offer = [&](float value, size_t at) {
    if (value < found || (value == found && at < place)) {
      found = value;
      place = at;
    }
  };
  for (size_t lane = 0; lane < kLanes; ++lane) {
    offer(least[lane], places[lane] + lane);
  }
  for (; begin < count; ++begin) offer(x[begin] - y[begin], begin);
  return place;
}

// FAISS trains, encodes and scans; the lists are ours (BlockLists), and so is
// the search for the nearest of a few hundred centroids: FAISS's sums up the
// squares of every centroid each time, and goes without BLAS for small batches.
class InvertedFileBackend final : public Backend {
 public:
  // An index trained on the points, and holding them.
  static absl::StatusOr<std::unique_ptr<Backend>> Build(
      const VectorSpace::Options& options,
      const VectorSpace::Snapshot& points) {
    std::unique_ptr<InvertedFileBackend> backend;
    FAULTLINE_RETURN_IF_ERROR(GuardFaiss("train", [&] {
      const size_t n = points.ids.size();
      const auto lists = std::clamp<size_t>(
          static_cast<size_t>(kListsPerRoot *
                              std::sqrt(static_cast<double>(n))),
          1, std::min(n, kMaxLists));
      backend = std::make_unique<InvertedFileBackend>(
          options, lists, lists == kMaxLists ? SIZE_MAX : n * kRetrainGrowth);
      faiss::IndexIVF& index = *backend->index_;
      index.cp.niter = kTrainingPasses;
      index.cp.max_points_per_centroid = kTrainingPointsPerList;
      index.cp.min_points_per_centroid = 1;
      index.cp.seed = static_cast<int>(options.seed & 0x7fffffff);
      index.train(static_cast<FaissId>(n), points.vectors.data());
    }));
    backend->MeasureCentroids();
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<FaissId> lists,
                               backend->Prepare(points.vectors));
    FAULTLINE_RETURN_IF_ERROR(backend->Add(points.ids, points.vectors, lists));
    return backend;
  }

  static absl::StatusOr<std::unique_ptr<Backend>> Load(
      const VectorSpace::Options& options, Input* in) {
    uint32_t lists = 0;
    uint32_t code_size = 0;
    uint32_t trained = 0;
    uint64_t capacity = 0;
    FAULTLINE_RETURN_IF_ERROR(in->Get(&lists));
    FAULTLINE_RETURN_IF_ERROR(in->Get(&code_size));
    FAULTLINE_RETURN_IF_ERROR(in->Get(&trained));
    FAULTLINE_RETURN_IF_ERROR(in->Get(&capacity));
    if (lists < 1 || lists > kMaxLists) return Malformed("number of lists");
    std::unique_ptr<InvertedFileBackend> backend;
    FAULTLINE_RETURN_IF_ERROR(GuardFaiss("load", [&] {
      backend = std::make_unique<InvertedFileBackend>(options, lists, capacity);
    }));
    if (code_size != backend->lists_.code_size()) return Malformed("code size");
    // What FAISS keeps of training: bounds of each dimension, for bytes only.
    const bool bounds = options.quantization == Quantization::kInt8;
    if (trained != (bounds ? 2 * backend->d() : 0)) {
      return Malformed("quantiser");
    }
    std::vector<float> centroids(lists * backend->d());
    FAULTLINE_RETURN_IF_ERROR(in->GetAll(centroids.data(), centroids.size()));
    std::vector<float> range(trained);
    FAULTLINE_RETURN_IF_ERROR(in->GetAll(range.data(), range.size()));
    FAULTLINE_RETURN_IF_ERROR(GuardFaiss("load", [&] {
      backend->quantizer_.add(lists, centroids.data());
      backend->index_->is_trained = true;
      if (backend->codec_ != nullptr) backend->codec_->trained = range;
    }));
    backend->MeasureCentroids();
    if (!std::all_of(centroids.begin(), centroids.end(),
                     [](float x) { return std::isfinite(x); })) {
      return Malformed("centroid");
    }
    FAULTLINE_RETURN_IF_ERROR(backend->LoadLists(in));
    return backend;
  }

  // For Build and Load: throws what FAISS throws.
  InvertedFileBackend(const VectorSpace::Options& options, size_t lists,
                      size_t capacity)
      : options_(options),
        quantizer_(options.dimension),
        index_(MakeIndex(options, lists, &quantizer_)),
        codec_(CodecOf(index_.get())),
        lists_(lists, index_->code_size),
        probes_(std::min<size_t>(options.probes, lists)),
        capacity_(capacity) {}

  absl::StatusOr<std::vector<FaissId>> Prepare(
      absl::Span<const float> vectors) const override {
    // |x - c|^2 is least where |c|^2 / 2 - x c is.
    constexpr size_t kPart = 256;
    const size_t count = vectors.size() / d();
    const size_t centroids = half_squares_.size();
    std::vector<FaissId> lists(count);
    std::vector<float> products(std::min(count, kPart) * centroids);
    for (size_t begin = 0; begin < count; begin += kPart) {
      const size_t part = std::min(kPart, count - begin);
      MultiplyTransposed(vectors.data() + begin * d(), static_cast<int>(part),
                         quantizer_.get_xb(), static_cast<int>(centroids),
                         static_cast<int>(d()), products.data());
      for (size_t i = 0; i < part; ++i) {
        lists[begin + i] = static_cast<FaissId>(ArgMinDifference(
            half_squares_.data(), products.data() + i * centroids, centroids));
      }
    }
    return lists;
  }

  absl::Status Add(absl::Span<const uint64_t> ids,
                   absl::Span<const float> vectors,
                   const std::vector<FaissId>& lists) override {
    return GuardFaiss("add", [&] {
      std::vector<uint8_t> code(lists_.code_size());
      for (size_t i = 0; i < ids.size(); ++i) {
        const float* vector = vectors.data() + i * d();
        const auto* bytes = reinterpret_cast<const uint8_t*>(vector);
        if (codec_ != nullptr) {
          codec_->compute_codes(vector, code.data(), 1);
          bytes = code.data();
        }
        lists_.Append(lists[i], ToFaiss(ids[i]), bytes);
      }
    });
  }

  absl::Status Remove(const IdSet& ids) override {
    lists_.Remove(ids);
    return absl::OkStatus();
  }

  absl::StatusOr<Found> Search(absl::Span<const float> queries,
                               int k) const override {
    using Heap = faiss::CMax<float, FaissId>;
    const size_t m = queries.size() / d();
    Found found;
    FAULTLINE_RETURN_IF_ERROR(GuardFaiss("search", [&] {
      std::vector<FaissId> lists(m * probes_);
      std::vector<float> distances(m * probes_);
      quantizer_.search(static_cast<FaissId>(m), queries.data(),
                        static_cast<FaissId>(probes_), distances.data(),
                        lists.data());
      found.distances.resize(m * k);
      found.labels.resize(m * k);
      const std::unique_ptr<faiss::InvertedListScanner> scanner(
          index_->get_InvertedListScanner());
      for (size_t i = 0; i < m; ++i) {
        float* nearest = found.distances.data() + i * k;
        FaissId* labels = found.labels.data() + i * k;
        faiss::heap_heapify<Heap>(k, nearest, labels);
        scanner->set_query(queries.data() + i * d());
        for (size_t p = i * probes_; p < (i + 1) * probes_; ++p) {
          if (lists[p] == kAbsent) continue;
          scanner->set_list(lists[p], distances[p]);
          lists_.ForEachBlock(lists[p], [&](size_t count, const FaissId* ids,
                                            const uint8_t* codes) {
            scanner->scan_codes(count, codes, ids, nearest, labels, k);
          });
        }
        faiss::heap_reorder<Heap>(k, nearest, labels);
      }
    }));
    return found;
  }

  absl::Status ForEach(Visit visit) const override {
    return GuardFaiss("take a snapshot", [&] {
      std::vector<float> vectors(BlockLists::kBlockPoints * d());
      for (size_t list = 0; list < lists_.lists(); ++list) {
        lists_.ForEachBlock(
            list, [&](size_t count, const FaissId* ids, const uint8_t* codes) {
              if (codec_ != nullptr) {
                codec_->decode(codes, vectors.data(), count);
              } else {
                std::memcpy(vectors.data(), codes, count * lists_.code_size());
              }
              for (size_t i = 0; i < count; ++i) {
                visit(FromFaiss(ids[i]), vectors.data() + i * d());
              }
            });
      }
    });
  }

  void ForEachId(absl::FunctionRef<void(uint64_t id)> visit) const override {
    for (size_t list = 0; list < lists_.lists(); ++list) {
      lists_.ForEachBlock(
          list, [&](size_t count, const FaissId* ids, const uint8_t*) {
            for (size_t i = 0; i < count; ++i) visit(FromFaiss(ids[i]));
          });
    }
  }

  size_t capacity() const override { return capacity_; }

  std::unique_ptr<const VectorSpace::Frozen> Freeze() const override {
    return std::make_unique<FrozenInvertedFile>(
        options_, quantizer_.get_xb(),
        codec_ == nullptr ? std::vector<float>() : codec_->trained, capacity_,
        lists_);
  }

 private:
  static std::unique_ptr<faiss::IndexIVF> MakeIndex(
      const VectorSpace::Options& options, size_t lists,
      faiss::Index* quantizer) {
    using faiss::ScalarQuantizer;
    if (options.quantization == Quantization::kNone) {
      return std::make_unique<faiss::IndexIVFFlat>(quantizer, options.dimension,
                                                   lists);
    }
    auto index = std::make_unique<faiss::IndexIVFScalarQuantizer>(
        quantizer, options.dimension, lists,
        options.quantization == Quantization::kFp16 ? ScalarQuantizer::QT_fp16
                                                    : ScalarQuantizer::QT_8bit,
        faiss::METRIC_L2, /*encode_residual=*/false);
    // Later points lie a little outside the range of the first ones.
    index->sq.rangestat_arg = kRangeMargin;
    return index;
  }

  // Null where vectors are kept as they are.
  static faiss::ScalarQuantizer* CodecOf(faiss::IndexIVF* index) {
    auto* quantized = dynamic_cast<faiss::IndexIVFScalarQuantizer*>(index);
    return quantized == nullptr ? nullptr : &quantized->sq;
  }

  // Once they are trained.
  void MeasureCentroids() {
    half_squares_.clear();
    half_squares_.reserve(quantizer_.ntotal);
    for (FaissId list = 0; list < quantizer_.ntotal; ++list) {
      const float* centroid = quantizer_.get_xb() + list * d();
      double square = 0;
      for (size_t i = 0; i < d(); ++i) {
        square += static_cast<double>(centroid[i]) * centroid[i];
      }
      half_squares_.push_back(static_cast<float>(square / 2));
    }
  }

  absl::Status LoadLists(Input* in) {
    std::vector<FaissId> ids(BlockLists::kBlockPoints);
    std::vector<uint8_t> codes(BlockLists::kBlockPoints * lists_.code_size());
    for (size_t list = 0; list < lists_.lists(); ++list) {
      uint64_t left = 0;
      FAULTLINE_RETURN_IF_ERROR(in->Get(&left));
      while (left > 0) {
        const size_t count = std::min<uint64_t>(left, ids.size());
        FAULTLINE_RETURN_IF_ERROR(in->GetAll(ids.data(), count));
        FAULTLINE_RETURN_IF_ERROR(
            in->GetAll(codes.data(), count * lists_.code_size()));
        for (size_t i = 0; i < count; ++i) {
          lists_.Append(list, ids[i], codes.data() + i * lists_.code_size());
        }
        left -= count;
      }
    }
    return absl::OkStatus();
  }

  size_t d() const { return quantizer_.d; }

  const VectorSpace::Options options_;
  faiss::IndexFlatL2 quantizer_;
  std::vector<float> half_squares_;  // |c|^2 / 2 of each centroid
  const std::unique_ptr<faiss::IndexIVF> index_;
  faiss::ScalarQuantizer* const codec_;
  BlockLists lists_;
  const size_t probes_;
  const size_t capacity_;
};

class FaissSpace final : public VectorSpace {
 public:
  explicit FaissSpace(const Options& options)
      : options_(options), backend_(std::make_unique<ExactBackend>(options)) {}

  absl::Status Add(absl::Span<const uint64_t> ids,
                   absl::Span<const float> vectors) override;
  absl::StatusOr<std::vector<std::vector<Neighbor>>> Search(
      absl::Span<const float> queries, int k) const override;
  absl::StatusOr<size_t> Remove(absl::Span<const uint64_t> ids) override;
  absl::StatusOr<Snapshot> TakeSnapshot() const override;
  std::unique_ptr<const Frozen> Freeze() const override;

  // Takes the place of the points: for Load.
  absl::Status Fill(std::unique_ptr<Backend> backend);

  size_t size() const override {
    absl::ReaderMutexLock lock(&mutex_);
    return ids_.size();
  }
  int dimension() const override { return options_.dimension; }

 private:
  absl::Status CheckNew(absl::Span<const uint64_t> ids) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Snapshot> SnapshotLocked() const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const Options options_;
  // Held for the whole of a change, so that what a change has read stays true
  // while it prepares without keeping searches out. Acquired before mutex_.
  absl::Mutex change_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  std::unique_ptr<Backend> backend_ ABSL_GUARDED_BY(mutex_);
  IdSet ids_ ABSL_GUARDED_BY(mutex_);
};

absl::Status FaissSpace::CheckNew(absl::Span<const uint64_t> ids) const {
  IdSet seen;
  for (const uint64_t id : ids) {
    if (ids_.contains(id) || !seen.insert(id)) {
      return base::DetailedError(
          absl::StatusCode::kAlreadyExists,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_CONFLICT, "ids",
                                "each id once",
                                absl::StrCat("has ", id, " a second time")));
    }
  }
  return absl::OkStatus();
}

absl::Status FaissSpace::Add(absl::Span<const uint64_t> ids,
                             absl::Span<const float> vectors) {
  FAULTLINE_RETURN_IF_ERROR(CheckVectors(
      "vectors", vectors, ids.size() * options_.dimension, options_.dimension));
  if (ids.empty()) return absl::OkStatus();
  if (*std::max_element(ids.begin(), ids.end()) > kMaxId) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "ids",
                   "at most 2^64 - 2", "has a greater one");
  }

  absl::MutexLock change(&change_mutex_);
  std::unique_ptr<Backend> rebuilt;
  std::vector<FaissId> prepared;
  {
    absl::ReaderMutexLock lock(&mutex_);
    FAULTLINE_RETURN_IF_ERROR(CheckNew(ids));
    if (ids_.size() + ids.size() > backend_->capacity()) {
      FAULTLINE_ASSIGN_OR_RETURN(Snapshot points, SnapshotLocked());
      points.ids.insert(points.ids.end(), ids.begin(), ids.end());
      points.vectors.insert(points.vectors.end(), vectors.begin(),
                            vectors.end());
      FAULTLINE_ASSIGN_OR_RETURN(rebuilt,
                                 InvertedFileBackend::Build(options_, points));
    } else {
      FAULTLINE_ASSIGN_OR_RETURN(prepared, backend_->Prepare(vectors));
    }
  }
  absl::WriterMutexLock lock(&mutex_);
  if (rebuilt) {
    backend_ = std::move(rebuilt);
  } else {
    FAULTLINE_RETURN_IF_ERROR(backend_->Add(ids, vectors, prepared));
  }
  for (const uint64_t id : ids) ids_.insert(id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<Neighbor>>> FaissSpace::Search(
    absl::Span<const float> queries, int k) const {
  const size_t m = queries.size() / options_.dimension;
  FAULTLINE_RETURN_IF_ERROR(CheckVectors(
      "queries", queries, m * options_.dimension, options_.dimension));
  if (k < 1) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "k", ">= 1",
                   absl::StrCat("is ", k));
  }
  std::vector<std::vector<Neighbor>> result(m);
  Found found;
  {
    absl::ReaderMutexLock lock(&mutex_);
    k = static_cast<int>(std::min<size_t>(k, ids_.size()));
    if (k == 0 || m == 0) return result;
    FAULTLINE_ASSIGN_OR_RETURN(found, backend_->Search(queries, k));
  }
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = i * k; j < (i + 1) * k; ++j) {
      if (found.labels[j] == kAbsent) continue;
      result[i].push_back({FromFaiss(found.labels[j]), found.distances[j]});
    }
    std::sort(result[i].begin(), result[i].end(),
              [](const Neighbor& a, const Neighbor& b) {
                return a.distance != b.distance ? a.distance < b.distance
                                                : a.id < b.id;
              });
  }
  return result;
}

absl::StatusOr<size_t> FaissSpace::Remove(absl::Span<const uint64_t> ids) {
  absl::MutexLock change(&change_mutex_);
  absl::WriterMutexLock lock(&mutex_);
  IdSet doomed;
  for (const uint64_t id : ids) {
    if (ids_.contains(id)) doomed.insert(id);
  }
  if (doomed.empty()) return size_t{0};
  FAULTLINE_RETURN_IF_ERROR(backend_->Remove(doomed));
  for (const uint64_t id : ids) ids_.erase(id);
  return doomed.size();
}

absl::StatusOr<VectorSpace::Snapshot> FaissSpace::TakeSnapshot() const {
  absl::ReaderMutexLock lock(&mutex_);
  return SnapshotLocked();
}

absl::StatusOr<VectorSpace::Snapshot> FaissSpace::SnapshotLocked() const {
  Snapshot snapshot;
  snapshot.ids.reserve(ids_.size());
  backend_->ForEachId([&](uint64_t id) { snapshot.ids.push_back(id); });
  std::sort(snapshot.ids.begin(), snapshot.ids.end());
  snapshot.vectors.resize(snapshot.ids.size() * options_.dimension);
  FAULTLINE_RETURN_IF_ERROR(
      backend_->ForEach([&](uint64_t id, const float* vector) {
        const size_t row =
            std::lower_bound(snapshot.ids.begin(), snapshot.ids.end(), id) -
            snapshot.ids.begin();
        std::copy_n(vector, options_.dimension,
                    snapshot.vectors.data() + row * options_.dimension);
      }));
  return snapshot;
}

std::unique_ptr<const VectorSpace::Frozen> FaissSpace::Freeze() const {
  absl::ReaderMutexLock lock(&mutex_);
  return backend_->Freeze();
}

absl::Status FaissSpace::Fill(std::unique_ptr<Backend> backend) {
  IdSet ids;
  bool distinct = true;
  backend->ForEachId(
      [&](uint64_t id) { distinct &= id <= kMaxId && ids.insert(id); });
  if (!distinct) return Malformed("id");
  absl::WriterMutexLock lock(&mutex_);
  backend_ = std::move(backend);
  ids_ = std::move(ids);
  return absl::OkStatus();
}

}  // namespace

absl::Status VectorSpace::CheckOptions(const Options& options) {
  if (options.dimension < 1 || options.dimension > kMaxDimension) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "dimension",
                   absl::StrCat("1 to ", kMaxDimension),
                   absl::StrCat("is ", options.dimension));
  }
  if (options.exact_limit < 1) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "exact_limit", ">= 1",
                   "is 0");
  }
  if (options.probes < 1) {
    return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, "probes", ">= 1",
                   absl::StrCat("is ", options.probes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<VectorSpace>> VectorSpace::Create(
    const Options& options) {
  FAULTLINE_RETURN_IF_ERROR(CheckOptions(options));
  UseOneBlasThread();
  return std::make_unique<FaissSpace>(options);
}

absl::StatusOr<std::unique_ptr<VectorSpace>> VectorSpace::Load(
    const Options& options, Source source) {
  FAULTLINE_RETURN_IF_ERROR(CheckOptions(options));
  UseOneBlasThread();
  Input in(source);
  uint32_t dimension = 0;
  uint8_t quantization = 0;
  uint8_t saved = 0;
  FAULTLINE_RETURN_IF_ERROR(in.Get(&dimension));
  FAULTLINE_RETURN_IF_ERROR(in.Get(&quantization));
  FAULTLINE_RETURN_IF_ERROR(in.Get(&saved));
  if (dimension != static_cast<uint32_t>(options.dimension) ||
      quantization != static_cast<uint8_t>(options.quantization)) {
    return absl::FailedPreconditionError(
        "behaviour space: a saved one has another dimension or quantization");
  }
  absl::StatusOr<std::unique_ptr<Backend>> backend = Malformed("kind");
  if (saved == static_cast<uint8_t>(Saved::kExact)) {
    backend = ExactBackend::Load(options, &in);
  } else if (saved == static_cast<uint8_t>(Saved::kInvertedFile)) {
    backend = InvertedFileBackend::Load(options, &in);
  }
  FAULTLINE_RETURN_IF_ERROR(backend.status());
  auto space = std::make_unique<FaissSpace>(options);
  FAULTLINE_RETURN_IF_ERROR(space->Fill(*std::move(backend)));
  return space;
}

}  // namespace faultline::space
