#ifndef FAULTLINE_LIB_DIAGNOSE_BEHAVIOR_CONTRAST_H_
#define FAULTLINE_LIB_DIAGNOSE_BEHAVIOR_CONTRAST_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"
#include "lib/embedding/run.h"

namespace faultline::diagnose {

// How often two groups of runs have one token.
struct TokenContrast {
  const std::string* text;   // `channel token`, in the window's names
  double z = 0;              // first group over the second, standardised
  double first_share = 0;    // of the first group
  double second_share = 0;   // of the second group
  double success_share = 0;  // of the successes of the discovery side
};

// Behaviour and signal tokens of a window's discovery side, to be contrasted
// between groups. For wording and reading only: never a p-value. Keeps views
// of the window. Immutable, so thread-safe.
class BehaviorContrast {
 public:
  BehaviorContrast(const Window& window, const ContextTable& table);

  // Every token that either group has; strongest first, then by text.
  std::vector<TokenContrast> Compare(const RunSet& first,
                                     const RunSet& second) const;

  // Difference of the means of a scalar (index as in Run::numeric) in pooled
  // standard deviations; 0 where it is not known.
  double NumericEffect(int index, const RunSet& first,
                       const RunSet& second) const;

 private:
  // Counts of `columns_` in the group.
  std::vector<uint32_t> Count(const RunSet& group) const;

  const Window& window_;
  std::vector<const std::string*> columns_;  // text of each token
  // Columns of each discovery run, back to back.
  std::vector<std::pair<uint32_t, uint32_t>> extent_;  // begin, end; by run
  std::vector<uint32_t> tokens_;
  std::vector<uint32_t> successes_with_;
  double successes_ = 0;
};

// The runs of the window, both sides, that have a token whose text (`channel
// token`) `matches`.
RunSet RunsWithToken(
    const Window& window,
    const std::function<bool(absl::string_view text)>& matches);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_BEHAVIOR_CONTRAST_H_
