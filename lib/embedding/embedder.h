#ifndef FAULTLINE_LIB_EMBEDDING_EMBEDDER_H_
#define FAULTLINE_LIB_EMBEDDING_EMBEDDER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/tick.pb.h"
#include "lib/embedding/run.h"

namespace faultline::embedding {

// Which map of a run (METHODS 0.2, 1.5).
enum class Map : uint8_t {
  kTrajectory,  // every channel, context included: the index
  kBehavior,    // E_b: behaviour channels only
  kFailure,     // E_f: behaviour and signals, contrast weighted
};

// Contrast weight g_t of tokens between failures and successes (METHODS 1.2);
// a key that is absent weighs as a token with log-odds 0.
using ContrastWeights = absl::flat_hash_map<uint64_t, float>;

// Log-odds with an informative prior of strength 20 at the pooled rate, of
// presence in failed against successful runs; g = sqrt(min(|lo|, 3) + 0.1).
// Does not depend on `threads`.
ContrastWeights ComputeContrast(absl::Span<const Run* const> failures,
                                absl::Span<const Run* const> successes,
                                int threads = 1);

// Columns [begin, begin + size) of a vector.
struct ColumnRange {
  int begin;
  int size;
};

// Maps runs to unit vectors by signed feature hashing (Weinberger et al. 2009)
// with frozen corpus statistics. Immutable, so thread-safe.
class Embedder {
 public:
  struct Options {
    // Length of a vector: 128, 256 or 512.
    int dimension = 256;
    // Weight of each channel, in the order of Channel; 0 leaves it out.
    // Defaults: ADR 0003.
    std::array<float, kChannelCount> channel_weight = {1, 1,  1,  1,  .25,
                                                       2, .5, .5, .5, .5};
    // Weight of the scalars and of the caller's embedding.
    float numeric_weight = 1;
    float caller_weight = .5;
  };

  // `corpus` is copied; an empty one weighs every token alike.
  // INVALID_ARGUMENT names the option or the part of the corpus at fault.
  static absl::StatusOr<std::unique_ptr<const Embedder>> Create(
      const Options& options, const v1::CorpusSnapshot& corpus);

  virtual ~Embedder() = default;

  // Writes `dimension()` floats of Euclidean norm 1 (or all zero for a run
  // without any token) to `out`. `contrast` is read by kFailure only and may
  // be null.
  virtual void Embed(const Run& run, Map map, const ContrastWeights* contrast,
                     absl::Span<float> out) const = 0;

  // Embed for kTrajectory and for kBehavior in one pass, to the same bits.
  virtual void EmbedViews(const Run& run, absl::Span<float> trajectory,
                          absl::Span<float> behavior) const = 0;

  // Columns of each channel but those in `without`, of the scalars and of the
  // caller's embedding in a map, where they have any; disjoint.
  virtual std::vector<ColumnRange> Blocks(
      Map map, absl::Span<const Channel> without) const = 0;
  // Columns of one channel; size 0 where the map leaves it out.
  virtual ColumnRange Columns(Map map, Channel channel) const = 0;

  virtual int dimension() const = 0;
  virtual uint64_t epoch() const = 0;
  // 16 hex digits of the options, the corpus and the code's version: vectors
  // of different fingerprints must not be compared.
  virtual const std::string& fingerprint() const = 0;
};

// Vector of a run in the map that a view is of: kBehavior for VIEW_BEHAVIOR,
// else kTrajectory.
std::vector<float> EmbedInView(const Embedder& embedder, const Run& run,
                               v1::View view);

// L2 distance of two vectors of one length.
double Distance(absl::Span<const float> a, absl::Span<const float> b);

// Counts tokens for the next epoch. `previous` may be null. Decays the
// previous counts by half every 5 calls, adds `runs`, keeps at most 65536
// tokens, those with the highest frequency. The epoch number is the previous
// one plus 1.
v1::CorpusSnapshot CountCorpus(absl::Span<const Run* const> runs,
                               const v1::CorpusSnapshot* previous);

// Total variation distance between the token frequencies of two corpora, in
// [0, 1]. Above 0.15 a new epoch is due (METHODS 1.2).
double CorpusDrift(const v1::CorpusSnapshot& a, const v1::CorpusSnapshot& b);

}  // namespace faultline::embedding

#endif  // FAULTLINE_LIB_EMBEDDING_EMBEDDER_H_
