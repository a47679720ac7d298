#ifndef FAULTLINE_LIB_SLOWLOOP_SLICE_TABLE_H_
#define FAULTLINE_LIB_SLOWLOOP_SLICE_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/embedding/run.h"

namespace faultline::slowloop {

// A variable of the context that parts the runs into slices.
struct SliceVariable {
  std::string name;                 // path, such as `system.model`
  std::vector<std::string> values;  // of each level; the rare ones share one
  std::vector<int32_t> level;       // of each run; -1: the run has none
  // What a mode must hold across (METHODS 3.3): task type, dataset, model,
  // prompt strategy, memory state.
  bool primary = false;

  int levels() const { return static_cast<int>(values.size()); }
};

// Variables with at least two levels: the primary ones, then the others by
// name, 24 at most. A text that 1 % of the runs have is a level, up to 32
// levels; the rarer ones share one. A number of the memory's state is cut into
// thirds of `reference` (rows of `runs`). Pure, whatever the number of threads.
std::vector<SliceVariable> ListSlices(
    absl::Span<const embedding::Run* const> runs,
    absl::Span<const int32_t> reference, const embedding::FeatureNames& names,
    int threads);

// Of each run: a hash of the texts of some fields, as one cell of strata.
std::vector<uint64_t> HashFields(absl::Span<const embedding::Run* const> runs,
                                 const embedding::FeatureNames& names,
                                 absl::Span<const absl::string_view> fields);

}  // namespace faultline::slowloop

#endif  // FAULTLINE_LIB_SLOWLOOP_SLICE_TABLE_H_
