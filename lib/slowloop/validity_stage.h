#ifndef FAULTLINE_LIB_SLOWLOOP_VALIDITY_STAGE_H_
#define FAULTLINE_LIB_SLOWLOOP_VALIDITY_STAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/tick.pb.h"
#include "faultline/v1/validity.pb.h"
#include "lib/cluster/reference.h"
#include "lib/embedding/embedder.h"
#include "lib/slowloop/cluster_space.h"
#include "lib/slowloop/matrix.h"

namespace faultline::slowloop {

// A mode of the tick that is to be tested. Rows are rows of
// ValidityInput::runs, ascending.
struct ValiditySubject {
  std::string cluster_id;
  std::vector<v1::View> views;   // the first is the primary one
  std::vector<int32_t> members;  // failed, discovery side
  // Clustered failures at its edge, which are no members.
  std::vector<int32_t> boundary;
  double stability = -1;  // -1: not known
};

// What the stage reads. Views, valid during the call.
struct ValidityInput {
  absl::Span<const embedding::Run* const> runs;  // known outcome
  const std::vector<bool>* discovery = nullptr;  // side of each run
  absl::Span<const int32_t> failure_rows;        // failed, discovery side
  const Matrix* behavior = nullptr;              // by run
  const Matrix* trajectory = nullptr;            // by run
  // The runs of the discovery side in each map, ready to be searched; null: the
  // stage makes them so.
  const cluster::Reference* behavior_reference = nullptr;
  const cluster::Reference* trajectory_reference = nullptr;
  const embedding::Embedder* embedder = nullptr;
  const ClusterSpace* space = nullptr;
  const embedding::FeatureNames* names = nullptr;
  const v1::ProjectConfig* config = nullptr;
  const v1::TickState* previous = nullptr;
  uint64_t tick = 0;
  uint64_t watermark = 0;
  int threads = 2;
};

// What is known of one subject afterwards.
struct ValidityFinding {
  v1::Enrichment enrichment;
  v1::Validity validity;
  v1::Cluster::Status status = v1::Cluster::STATUS_HYPOTHESIS;
  std::string reason;
  std::vector<int32_t> region_successes;  // discovery side, in its region
  std::vector<int32_t> held_out_members;  // failed, held-out side, likewise
};

// What is known of the clustering of one view.
struct ViewFinding {
  v1::View view = v1::VIEW_UNSPECIFIED;
  std::vector<v1::SliceAgreement> slice_agreements;  // largest first
  std::string residualized;         // variable taken out; empty: none
  double prediction_strength = -1;  // least of its modes; -1: not known
};

struct ValidityOutput {
  std::vector<ValidityFinding> findings;  // parallel to the subjects
  std::vector<ViewFinding> views;
  // For the next tick's TickState.
  uint64_t clusters_tested = 0;
  uint64_t clusters_confirmed = 0;
  uint64_t first_test_watermark = 0;
};

// Puts every mode to the tests of METHODS 3 and gives it a status: the held-out
// gate over its life (each run counts once), stability, prediction strength,
// slices, shuffled channels. The checks that cluster again do so on a sample of
// each view and only where it has a new mode or the embedding epoch is new;
// else the figures of the previous tick stay. Pure: the result does not depend
// on `threads`. Returns the errors of the searches.
absl::StatusOr<ValidityOutput> ValidateModes(
    const ValidityInput& input, absl::Span<const ValiditySubject> subjects);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_VALIDITY_STAGE_H_
