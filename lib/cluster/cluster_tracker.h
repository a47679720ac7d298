#ifndef FAULTLINE_LIB_CLUSTER_CLUSTER_TRACKER_H_
#define FAULTLINE_LIB_CLUSTER_CLUSTER_TRACKER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace faultline::cluster {

// A cluster of the previous tick, as far as identity needs it.
struct KnownCluster {
  std::string id;
  std::vector<uint64_t> members;  // sequences, ascending
};

// Which identity each new group has.
struct Identity {
  std::string id;
  double overlap = 0;  // 0 at birth
  bool born = false;
};

// Matches new groups (member sequences, ascending) to known clusters by
// overlap 2PQ/(P+Q), P and Q the shares of members in common, restricted to
// sequences that both windows could have held (first_shared and later).
// One-to-one, by the Hungarian method; a match needs at least `min_overlap`.
// New ids are ULIDs from `now` and `seed`. Pure.
std::vector<Identity> TrackIdentity(
    const std::vector<KnownCluster>& known,
    const std::vector<std::vector<uint64_t>>& groups, uint64_t first_shared,
    uint64_t last_shared, double min_overlap, absl::Time now, uint64_t seed);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_CLUSTER_TRACKER_H_
