#ifndef FAULTLINE_LIB_SPACE_VECTOR_SPACE_H_
#define FAULTLINE_LIB_SPACE_VECTOR_SPACE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace faultline::space {

// Neighbour of a query.
struct Neighbor {
  uint64_t id;
  float distance;  // squared L2
};

// How vectors are kept beyond the exact limit. The numbers are persisted.
enum class Quantization : uint8_t {
  kNone = 0,  // 4 bytes a dimension
  kFp16 = 1,  // 2 bytes a dimension
  kInt8 = 2,  // 1 byte a dimension, on the range seen in training
};

// Vectors of one project by id, searched by Euclidean distance. FAISS lives
// behind this interface and nowhere else; its exceptions end here: running out
// of memory is RESOURCE_EXHAUSTED, anything else INTERNAL. Thread-safe:
// searches run side by side, changes exclude each other and searches briefly.
class VectorSpace {
 public:
  struct Options {
    // Length d of a vector. 1 to 4096.
    int dimension = 256;
    // Points up to which search is exact; beyond it an inverted file is
    // trained on the points at hand, and again whenever the points have
    // grown eightfold, up to 512 lists. Searches go on meanwhile, adding
    // waits. At least 1.
    size_t exact_limit = 20000;
    // Inverted lists visited by a search. At least 1.
    int probes = 16;
    // Seed of the training.
    uint64_t seed = 1;
    Quantization quantization = Quantization::kNone;
  };

  // INVALID_ARGUMENT names the option at fault.
  static absl::StatusOr<std::unique_ptr<VectorSpace>> Create(
      const Options& options);

  // INVALID_ARGUMENT names the option at fault.
  static absl::Status CheckOptions(const Options& options);

  virtual ~VectorSpace() = default;

  // Adds n vectors (row-major n x d) with their ids. An id that is present is
  // ALREADY_EXISTS, a wrong length, a number that is not finite or
  // the id 2^64 - 1 INVALID_ARGUMENT; then nothing is added.
  virtual absl::Status Add(absl::Span<const uint64_t> ids,
                           absl::Span<const float> vectors) = 0;

  // The k nearest of each of m queries (m x d), nearest first; ties by id.
  // Fewer where the space, or the lists visited, hold fewer; which of several
  // points at the k-th distance come back is not specified. INVALID_ARGUMENT
  // for a wrong length, a number that is not finite, or k < 1.
  virtual absl::StatusOr<std::vector<std::vector<Neighbor>>> Search(
      absl::Span<const float> queries, int k) const = 0;

  // Removes ids; absent ones are ignored. Returns how many were removed.
  virtual absl::StatusOr<size_t> Remove(absl::Span<const uint64_t> ids) = 0;

  // Everything, ascending by id: a copy that later changes do not touch.
  // Quantized vectors come as they are kept.
  // Memory: (8 + 4 d) bytes a point while it lives.
  struct Snapshot {
    std::vector<uint64_t> ids;
    std::vector<float> vectors;  // row-major n x d
  };
  virtual absl::StatusOr<Snapshot> TakeSnapshot() const = 0;

  // The space as it is now, with what was trained, to be written for Load
  // while the space goes on. Changes wait until it is made, not until it is
  // written. Memory: little beyond the exact limit, until points are removed.
  // Not thread-safe; may outlive the space.
  using Sink = absl::FunctionRef<absl::Status(absl::string_view bytes)>;
  class Frozen {
   public:
    virtual ~Frozen() = default;
    // Returns the sink's errors.
    virtual absl::Status Save(Sink sink) const = 0;
  };
  virtual std::unique_ptr<const Frozen> Freeze() const = 0;

  // A space as it was saved. `source` gives the next bytes.size() bytes, or an
  // error, which is returned. FAILED_PRECONDITION where the options have
  // another dimension or quantization, DATA_LOSS where the bytes cannot be
  // those of a space; bytes that nobody wrote may give any other space.
  using Source = absl::FunctionRef<absl::Status(absl::Span<char> bytes)>;
  static absl::StatusOr<std::unique_ptr<VectorSpace>> Load(
      const Options& options, Source source);

  virtual size_t size() const = 0;
  virtual int dimension() const = 0;
};

}  // namespace faultline::space

#endif  // FAULTLINE_LIB_SPACE_VECTOR_SPACE_H_
