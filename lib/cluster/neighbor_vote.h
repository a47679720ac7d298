#ifndef FAULTLINE_LIB_CLUSTER_NEIGHBOR_VOTE_H_
#define FAULTLINE_LIB_CLUSTER_NEIGHBOR_VOTE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/cluster/reference.h"

namespace faultline::cluster {

// Nearest reference points that vote, and votes that a mode needs (METHODS
// 3.2).
inline constexpr int kVoters = 15;
inline constexpr double kLeastVotes = 5;

// What the vote says of each query.
struct Votes {
  std::vector<int32_t> mode;  // q: -1 where no mode has enough
  std::vector<float> share;   // q: of the voters, for that mode; 0 without
};

// Assigns each query (q x d) to the mode that most of its kVoters nearest
// reference points (m x d) belong to, if that mode has at least kLeastVotes of
// them (ties: the lower index). `label` gives the mode of each reference point,
// in [0, modes); a negative one is no mode. Several reference runs at one
// distance count by their average, so that the order of the runs does not
// matter; runs without any token are near to each other only. Requires
// lengths that agree. Returns the errors of space::NeighborIndex. Pure; the
// result does not depend on `threads`.
absl::StatusOr<Votes> VoteByNeighbors(absl::Span<const float> reference,
                                      absl::Span<const int32_t> label,
                                      int modes,
                                      absl::Span<const float> queries, int d,
                                      int threads);
// The same, of a reference that is ready; `label` is by run of it.
absl::StatusOr<Votes> VoteByNeighbors(const Reference& reference,
                                      absl::Span<const int32_t> label,
                                      int modes,
                                      absl::Span<const float> queries,
                                      int threads);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_NEIGHBOR_VOTE_H_
