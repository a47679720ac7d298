#ifndef FAULTLINE_LIB_SLOWLOOP_RISK_STAGE_H_
#define FAULTLINE_LIB_SLOWLOOP_RISK_STAGE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "faultline/v1/risk.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/embedding/run.h"

namespace faultline::slowloop {

// What the risk of a run is learnt from. Views; valid during the call.
struct RiskInput {
  std::vector<const embedding::Run*> runs;  // known outcome
  const v1::RiskModel* previous = nullptr;
  uint64_t watermark = 0;
  std::function<absl::StatusOr<v1::Trace>(uint64_t sequence)> read_trace;
  int threads = 1;  // the result does not depend on it
};

// The model of the tick before goes on until a tenth more outcomes are known
// than it was made of; then a new one is made of at most 4000 runs, those that
// come first by a hash of their ids. Returns the errors of `read_trace`.
absl::StatusOr<v1::RiskModel> LearnRisk(const RiskInput& input);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_RISK_STAGE_H_
