#ifndef FAULTLINE_LIB_EVALUATE_EXPERIMENT_H_
#define FAULTLINE_LIB_EVALUATE_EXPERIMENT_H_

#include <cstdint>

#include "absl/types/span.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/evaluation.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"
#include "lib/embedding/run.h"

// Interventions as randomised experiments that stay valid however often one
// looks (METHODS 5). What is counted is fixed when a trial starts, each run is
// counted once, and what is kept between ticks are counts. Pure functions of
// their input; the order of runs does not matter but between runs that share an
// assignment key.

namespace faultline::evaluate {

// An intervention that routers apply, with what is kept of it beside. Owns
// neither.
struct Experiment {
  v1::Intervention* intervention = nullptr;
  v1::Trial* trial = nullptr;
};

// What a tick has to count.
struct NewRuns {
  // Runs with known outcome; those whose outcome became known in
  // (previous_watermark, watermark] are counted.
  absl::Span<const embedding::Run* const> known;
  absl::Span<const embedding::Run* const> pending;
  uint64_t previous_watermark = 0;
  uint64_t watermark = 0;
  uint64_t tick = 0;
};

// Starts to measure an intervention: freezes what counts as its mode and what
// cost and latency are usual. `members`: runs of the window in its cluster;
// where there are none, every failure in scope counts.
void StartTrial(const diagnose::Window& window, const diagnose::RunSet& members,
                const NewRuns& runs, const v1::ProjectConfig& config,
                const Experiment& experiment);

// Begins a new count of an intervention, from `tick` on. What counts as the
// mode stays.
void StartWindow(uint64_t tick, const Experiment& experiment);

// To be called when a policy that carries the intervention is published: runs
// that were assigned with its treatment probability count from then on.
void NotePublished(const Experiment& experiment);

// Counts the new runs and judges each intervention (Effect.verdict). A run
// counts for each intervention that it carries, once, if its treatment
// probability was published and its arm is the one that the key draws; others
// are in Effect.refused. Of the runs that share a key other than their trace
// id, the first one counts. Once an intervention is confirmed, it is counted in
// parts of 500 failures of the mode; a complete one is put aside in
// Intervention.decided_effect.
void MeasureEffects(const NewRuns& runs, const v1::ProjectConfig& config,
                    absl::Span<const Experiment> experiments);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_EXPERIMENT_H_
