#ifndef FAULTLINE_LIB_DIAGNOSE_DIAGNOSER_H_
#define FAULTLINE_LIB_DIAGNOSE_DIAGNOSER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/diagnosis.pb.h"
#include "lib/diagnose/cause_test.h"
#include "lib/embedding/run.h"

namespace faultline::diagnose {

// A cluster as the diagnosis sees it. Indices point into
// DiagnosisInput::runs.
struct Subject {
  std::string cluster;                    // resource name
  bool trajectory_only = false;           // found in the trajectory view only
  std::vector<int32_t> members;           // discovery side, failed
  std::vector<int32_t> region;            // discovery side, any outcome: runs
                                          // whose neighbourhood is the
                                          // cluster's
  std::vector<int32_t> held_out_members;  // held-out, failed, assigned to it
  double enrichment_p = 1;                // adjusted
  double cohesion = 0;
};

// The window of a tick.
struct DiagnosisInput {
  std::vector<const embedding::Run*> runs;  // ascending by sequence, known
                                            // outcome
  std::vector<bool> discovery;              // side of each run
  const embedding::FeatureNames* names = nullptr;
  double false_discovery_rate = 0.05;
  uint64_t tick = 0;
  int threads = 1;  // the result does not depend on it
};

// Reads each subject as a failure mode: its behaviour against the successes
// (discovery side), its context as tested causes (held-out side, Mantel-
// Haenszel within prognostic strata that leave the tested variable out,
// against successes and against other failures, Benjamini-Hochberg over all
// subjects and features), its scope (discovery side), and the evidence table
// (METHODS 4.1, 4.2). Pure. One diagnosis for each subject, in order.
//
// `controls`, where it is not null, gets what the negative controls gave.
std::vector<v1::Diagnosis> Diagnose(const DiagnosisInput& input,
                                    absl::Span<const Subject> subjects,
                                    NegativeControls* controls = nullptr);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_DIAGNOSER_H_
