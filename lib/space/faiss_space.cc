#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/impl/IDSelector.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/space/blas.h"
#include "lib/space/faiss_guard.h"
#include "lib/space/vector_space.h"

namespace faultline::space {
namespace {

using FaissId = faiss::Index::idx_t;

constexpr int kMaxDimension = 4096;
// An inverted file is trained again when the points have grown so much.
constexpr size_t kRetrainGrowth = 4;
// k-means: lists for n points, 4 sqrt(n); points a list and passes.
constexpr double kListsPerRoot = 4;
constexpr int kTrainingPointsPerList = 40;
constexpr int kTrainingPasses = 8;

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

// One FAISS index. Ids given to Add are new, those given to Get present. Not
// thread-safe, but const methods run side by side.
class Backend {
 public:
  virtual ~Backend() = default;

  // The part of Add that only reads.
  virtual absl::StatusOr<std::vector<FaissId>> Prepare(
      absl::Span<const float> vectors) const = 0;
  virtual absl::Status Add(absl::Span<const uint64_t> ids,
                           absl::Span<const float> vectors,
                           const std::vector<FaissId>& prepared) = 0;
  virtual absl::Status Remove(absl::Span<const uint64_t> ids) = 0;
  // Labels are ids.
  virtual absl::StatusOr<Found> Search(absl::Span<const float> queries,
                                       int k) const = 0;
  virtual absl::Status Get(uint64_t id, float* vector) const = 0;
  // Calls `visit` for every id and its vector, in no order.
  using Visit = absl::FunctionRef<void(uint64_t id, const float* vector)>;
  virtual absl::Status ForEach(Visit visit) const = 0;
  // Points beyond which another backend serves better.
  virtual size_t capacity() const = 0;
};

absl::StatusOr<Found> SearchIndex(const faiss::Index& index,
                                  absl::Span<const float> queries, int k) {
  const size_t m = queries.size() / index.d;
  Found found;
  FAULTLINE_RETURN_IF_ERROR(GuardFaiss("search", [&] {
    found.distances.resize(m * k);
    found.labels.resize(m * k);
    index.search(static_cast<FaissId>(m), queries.data(), k,
                 found.distances.data(), found.labels.data());
  }));
  return found;
}

class ExactBackend final : public Backend {
 public:
  ExactBackend(int dimension, size_t capacity)
      : index_(dimension), capacity_(capacity) {}

  absl::StatusOr<std::vector<FaissId>> Prepare(
      absl::Span<const float>) const override {
    return std::vector<FaissId>();
  }

  absl::Status Add(absl::Span<const uint64_t> ids,
                   absl::Span<const float> vectors,
                   const std::vector<FaissId>&) override {
    return GuardFaiss("add", [&] {
      index_.add(static_cast<FaissId>(ids.size()), vectors.data());
      for (const uint64_t id : ids) {
        row_.emplace(id, ids_.size());
        ids_.push_back(id);
      }
    });
  }

  absl::Status Remove(absl::Span<const uint64_t> ids) override {
    return GuardFaiss("remove", [&] {
      std::vector<FaissId> rows;
      for (const uint64_t id : ids) rows.push_back(ToFaiss(row_.at(id)));
      index_.remove_ids(faiss::IDSelectorBatch(rows.size(), rows.data()));
      // FAISS closes the gaps in order; so do we.
      std::sort(rows.begin(), rows.end());
      size_t kept = 0;
      for (size_t row = 0; row < ids_.size(); ++row) {
        if (std::binary_search(rows.begin(), rows.end(), ToFaiss(row))) {
          row_.erase(ids_[row]);
        } else {
          row_[ids_[row]] = kept;
          ids_[kept++] = ids_[row];
        }
      }
      ids_.resize(kept);
    });
  }

  absl::StatusOr<Found> Search(absl::Span<const float> queries,
                               int k) const override {
    FAULTLINE_ASSIGN_OR_RETURN(Found found, SearchIndex(index_, queries, k));
    for (FaissId& label : found.labels) {
      if (label != kAbsent) label = ToFaiss(ids_[label]);
    }
    return found;
  }

  absl::Status Get(uint64_t id, float* vector) const override {
    return GuardFaiss("read a vector", [&] {
      index_.reconstruct(ToFaiss(row_.at(id)), vector);
    });
  }

  absl::Status ForEach(Visit visit) const override {
    return GuardFaiss("take a snapshot", [&] {
      for (size_t row = 0; row < ids_.size(); ++row) {
        visit(ids_[row], index_.get_xb() + row * index_.d);
      }
    });
  }

  size_t capacity() const override { return capacity_; }

 private:
  faiss::IndexFlatL2 index_;
  const size_t capacity_;
  std::vector<uint64_t> ids_;  // by row
  absl::flat_hash_map<uint64_t, size_t> row_;
};

class InvertedFileBackend final : public Backend {
 public:
  // An index trained on the points, and holding them.
  static absl::StatusOr<std::unique_ptr<Backend>> Build(
      const VectorSpace::Options& options,
      const VectorSpace::Snapshot& points) {
    std::unique_ptr<InvertedFileBackend> backend;
    FAULTLINE_RETURN_IF_ERROR(GuardFaiss("train", [&] {
      const size_t n = points.ids.size();
      const auto lists = static_cast<size_t>(kListsPerRoot *
                                             std::sqrt(static_cast<double>(n)));
      backend = std::make_unique<InvertedFileBackend>(
          options, std::clamp<size_t>(lists, 1, n), n * kRetrainGrowth);
      backend->index_.train(static_cast<FaissId>(n), points.vectors.data());
    }));
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<FaissId> lists,
                               backend->Prepare(points.vectors));
    FAULTLINE_RETURN_IF_ERROR(backend->Add(points.ids, points.vectors, lists));
    return backend;
  }

  // For Build: throws what FAISS throws.
  InvertedFileBackend(const VectorSpace::Options& options, size_t lists,
                      size_t capacity)
      : quantizer_(options.dimension),
        index_(&quantizer_, options.dimension, lists),
        capacity_(capacity) {
    index_.cp.niter = kTrainingPasses;
    index_.cp.max_points_per_centroid = kTrainingPointsPerList;
    index_.cp.min_points_per_centroid = 1;
    index_.cp.seed = static_cast<int>(options.seed & 0x7fffffff);
    index_.nprobe = options.probes;
    index_.set_direct_map_type(faiss::DirectMap::Hashtable);
  }

  absl::StatusOr<std::vector<FaissId>> Prepare(
      absl::Span<const float> vectors) const override {
    std::vector<FaissId> lists;
    FAULTLINE_RETURN_IF_ERROR(GuardFaiss("assign", [&] {
      lists.resize(vectors.size() / index_.d);
      quantizer_.assign(static_cast<FaissId>(lists.size()), vectors.data(),
                        lists.data());
    }));
    return lists;
  }

  absl::Status Add(absl::Span<const uint64_t> ids,
                   absl::Span<const float> vectors,
                   const std::vector<FaissId>& lists) override {
    return GuardFaiss("add", [&] {
      std::vector<FaissId> labels(ids.size());
      std::transform(ids.begin(), ids.end(), labels.begin(), ToFaiss);
      index_.add_core(static_cast<FaissId>(ids.size()), vectors.data(),
                      labels.data(), lists.data());
    });
  }

  absl::Status Remove(absl::Span<const uint64_t> ids) override {
    return GuardFaiss("remove", [&] {
      std::vector<FaissId> labels(ids.size());
      std::transform(ids.begin(), ids.end(), labels.begin(), ToFaiss);
      index_.remove_ids(faiss::IDSelectorArray(labels.size(), labels.data()));
    });
  }

  absl::StatusOr<Found> Search(absl::Span<const float> queries,
                               int k) const override {
    return SearchIndex(index_, queries, k);
  }

  absl::Status Get(uint64_t id, float* vector) const override {
    return GuardFaiss("read a vector",
                      [&] { index_.reconstruct(ToFaiss(id), vector); });
  }

  absl::Status ForEach(Visit visit) const override {
    return GuardFaiss("take a snapshot", [&] {
      for (size_t list = 0; list < index_.nlist; ++list) {
        const faiss::InvertedLists::ScopedIds ids(index_.invlists, list);
        faiss::InvertedLists::ScopedCodes codes(index_.invlists, list);
        const auto* vectors = reinterpret_cast<const float*>(codes.get());
        for (size_t i = 0; i < index_.invlists->list_size(list); ++i) {
          visit(FromFaiss(ids[i]), vectors + i * index_.d);
        }
      }
    });
  }

  size_t capacity() const override { return capacity_; }

 private:
  faiss::IndexFlatL2 quantizer_;
  faiss::IndexIVFFlat index_;
  const size_t capacity_;
};

class FaissSpace final : public VectorSpace {
 public:
  explicit FaissSpace(const Options& options)
      : options_(options),
        backend_(std::make_unique<ExactBackend>(options.dimension,
                                                options.exact_limit)) {}

  absl::Status Add(absl::Span<const uint64_t> ids,
                   absl::Span<const float> vectors) override;
  absl::StatusOr<std::vector<std::vector<Neighbor>>> Search(
      absl::Span<const float> queries, int k) const override;
  absl::StatusOr<size_t> Remove(absl::Span<const uint64_t> ids) override;
  absl::StatusOr<std::vector<float>> Get(uint64_t id) const override;
  absl::StatusOr<Snapshot> TakeSnapshot() const override;

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
  absl::flat_hash_set<uint64_t> ids_ ABSL_GUARDED_BY(mutex_);
};

absl::Status FaissSpace::CheckNew(absl::Span<const uint64_t> ids) const {
  absl::flat_hash_set<uint64_t> seen;
  for (const uint64_t id : ids) {
    if (ids_.contains(id) || !seen.insert(id).second) {
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
  ids_.insert(ids.begin(), ids.end());
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
  absl::flat_hash_set<uint64_t> present;
  for (const uint64_t id : ids) {
    if (ids_.contains(id)) present.insert(id);
  }
  if (present.empty()) return size_t{0};
  const std::vector<uint64_t> doomed(present.begin(), present.end());
  FAULTLINE_RETURN_IF_ERROR(backend_->Remove(doomed));
  for (const uint64_t id : doomed) ids_.erase(id);
  return doomed.size();
}

absl::StatusOr<std::vector<float>> FaissSpace::Get(uint64_t id) const {
  absl::ReaderMutexLock lock(&mutex_);
  if (!ids_.contains(id)) {
    return absl::NotFoundError(
        absl::StrCat("behaviour space: no vector has id ", id));
  }
  std::vector<float> vector(options_.dimension);
  FAULTLINE_RETURN_IF_ERROR(backend_->Get(id, vector.data()));
  return vector;
}

absl::StatusOr<VectorSpace::Snapshot> FaissSpace::TakeSnapshot() const {
  absl::ReaderMutexLock lock(&mutex_);
  return SnapshotLocked();
}

absl::StatusOr<VectorSpace::Snapshot> FaissSpace::SnapshotLocked() const {
  Snapshot snapshot;
  snapshot.ids.assign(ids_.begin(), ids_.end());
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

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSpace>> VectorSpace::Create(
    const Options& options) {
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
  UseOneBlasThread();
  return std::make_unique<FaissSpace>(options);
}

}  // namespace faultline::space
