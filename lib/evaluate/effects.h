#ifndef FAULTLINE_LIB_EVALUATE_EFFECTS_H_
#define FAULTLINE_LIB_EVALUATE_EFFECTS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "faultline/v1/evaluation.pb.h"
#include "lib/embedding/run.h"

namespace faultline::evaluate {

// Effect of each intervention that a run carries, by intention to treat: runs
// are counted in the arm that they carry, whatever the action did. Runs
// without outcome count as pending; an exposure without arm, or to an
// intervention that the run named before, does not count. The intervals are
// 95 % fixed-sample ones (stats::RelativeRisk).
//
// `in_mode(run, id)` says whether a failed run failed in the mode that
// intervention `id` targets; it must not read the arm. Pure; the order of
// `runs` does not matter.
absl::flat_hash_map<std::string, v1::Effect> MeasureEffects(
    absl::Span<const embedding::Run* const> runs,
    const std::function<bool(const embedding::Run& run,
                             const std::string& intervention_id)>& in_mode,
    uint64_t watermark);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_EFFECTS_H_
