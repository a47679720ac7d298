#ifndef FAULTLINE_LIB_SLOWLOOP_IDENTITY_H_
#define FAULTLINE_LIB_SLOWLOOP_IDENTITY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/lineage.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/cluster/cluster_tracker.h"
#include "lib/cluster/mode.h"
#include "lib/cluster/regroup.h"
#include "lib/embedding/embedder.h"
#include "lib/slowloop/cluster_decisions.h"
#include "lib/slowloop/run_window.h"

namespace faultline::slowloop {

// What the identity stage reads of a tick. Views; valid during the call.
struct IdentityInput {
  std::string project;
  uint64_t tick = 0;
  absl::Time now;
  uint64_t seed = 0;
  int threads = 1;
  const v1::TickState* previous = nullptr;
  absl::Span<const v1::ClusterReview> reviews;  // since the previous tick
  const RunWindow* window = nullptr;
  const embedding::Embedder* embedder = nullptr;
  // The tick's runs, and their vectors (n x d) in the outcome-blind map of each
  // view.
  absl::Span<const embedding::Run* const> runs;
  absl::Span<const float> behavior;
  absl::Span<const float> trajectory;
  // The failures that were clustered: rows of `runs`, and where the vectors are
  // that they were clustered by.
  absl::Span<const int32_t> failure_rows;
  cluster::FailureViews failures;
};

// A mode with an identity.
struct TrackedMode {
  cluster::Mode mode;
  std::string id;
  cluster::Overlap overlap;  // with its previous self; 0 at birth
  uint64_t birth_tick = 0;
  uint64_t ticks_seen = 0;  // this tick included
  std::vector<std::string> parents;
};

struct Identities {
  std::vector<TrackedMode> modes;  // largest first
  // Clusters that were not found, as they were last found; retired where that
  // is long ago or a reviewer rejected them.
  std::vector<v1::Cluster> unseen;
  // Members of those that are not retired.
  std::vector<v1::ClusterMembers> unseen_members;
  std::vector<v1::ClusterExemplars> exemplars;
  std::vector<v1::LineageEvent> events;
  std::shared_ptr<const ClusterDecisions> decisions;
};

// Gives the modes of a tick the identities of earlier clusters (METHODS 2.4),
// after it has applied what reviewers decided: what they set apart is cut, what
// they merged or rejected is joined.
//
// A cluster is known again by its exemplars, at most 200 of its members, and by
// runs that both windows hold. Exemplars vote in the outcome-blind map of each
// view, never in the contrast-weighted one that failures are clustered by: its
// weights are the window's, so the same run would be elsewhere in the next
// window. A pair is compared in the views in which both were found, because
// clusters of one view are disjoint, and a mode that shows in the context only
// is nowhere in the behaviour view.
//
// Pure; does not depend on `threads`. Returns the errors of the neighbour
// search.
absl::StatusOr<Identities> IdentifyClusters(const IdentityInput& input,
                                            std::vector<cluster::Mode> modes);

// Writes into a cluster what reviewers decided about it: its title, its status
// where it was rejected, and the decisions.
void ShowDecisions(const ClusterDecisions& decisions, v1::Cluster* cluster);

// Runs that must outlive the window for the next tick.
absl::flat_hash_set<uint64_t> ExemplarsOf(const v1::TickState& state);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_IDENTITY_H_
