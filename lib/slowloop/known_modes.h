#ifndef FAULTLINE_LIB_SLOWLOOP_KNOWN_MODES_H_
#define FAULTLINE_LIB_SLOWLOOP_KNOWN_MODES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/tick.pb.h"
#include "lib/embedding/embedder.h"
#include "lib/embedding/run.h"
#include "lib/slowloop/matrix.h"
#include "lib/slowloop/run_window.h"

namespace faultline::slowloop {

// How far runs are from every failure mode that is known: found, dormant or
// rejected, as long as its exemplars are kept. A mode is measured in the view
// in which it was found first, to the nearest of its exemplars, and against its
// own reach: modes differ in how wide they are. A run that is farther than the
// reach of every mode is novel; a run of a mode is so in one case of twenty,
// because the reach is the 95 % quantile of the mode's own distances.

// Modes of a state's clusters and exemplars, by cluster id, with vectors of
// `embedder`. Runs that neither the window holds nor pins are left out. Pure;
// does not depend on `threads`.
std::vector<v1::KnownMode> DescribeKnownModes(
    const v1::TickState& state, const RunWindow& window,
    const embedding::Embedder& embedder, int threads);

// How far one run is from one mode.
struct ModeDistance {
  const v1::KnownMode* mode;
  double distance;  // L2, to the nearest exemplar that is another run

  // Above 1: farther than the mode reaches.
  double relative() const { return distance / mode->reach(); }
};

// Every mode of the state with an exemplar, least relative distance first.
// `embedder` is of the state's epoch. A run of the log is no exemplar to
// itself; `run.sequence` 0: not of the log. Valid as long as `state`. Pure.
std::vector<ModeDistance> LocateRun(const v1::TickState& state,
                                    const embedding::Embedder& embedder,
                                    const embedding::Run& run);

// What a tick compares with the modes that the tick before knew. Views, valid
// during the call.
struct NoveltyInput {
  absl::Span<const embedding::Run* const> runs;  // known outcome
  const std::vector<bool>* discovery = nullptr;  // side of each run
  const Matrix* behavior = nullptr;              // by run
  const Matrix* trajectory = nullptr;            // by run
  const v1::TickState* previous = nullptr;
  const RunWindow* window = nullptr;
  const embedding::Embedder* embedder = nullptr;
  int threads = 1;
};

// Counts failures that became known since the previous tick and are novel, and
// tells how many would be usual: among the held-out failures of before, which
// no mode was made of. Pure; does not depend on `threads`.
v1::Novelty MeasureNovelty(const NoveltyInput& input);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_KNOWN_MODES_H_
