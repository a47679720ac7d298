#ifndef FAULTLINE_LIB_DIAGNOSE_LOGGED_CHOICES_H_
#define FAULTLINE_LIB_DIAGNOSE_LOGGED_CHOICES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"
#include "lib/stats/off_policy.h"

// The route decisions of a window as off-policy evaluation reads them (METHODS
// 5.5). Pure functions.

namespace faultline::diagnose {

// A partition of a window's runs.
struct ChoiceCells {
  std::vector<std::string> names;  // of each cell
  std::vector<int32_t> cell_of;    // of each run, index into `names`
};

// Every run in one cell, whose name is empty.
ChoiceCells OneCell(const Window& window);

// A cell for each value of the context field `field` that at least `min_runs`
// runs in scope have, ascending; before them one, whose name is empty, for the
// runs of other values and of none.
ChoiceCells CellsOfField(const Window& window, const RunSet& scope,
                         absl::string_view field, size_t min_runs = 30);

// Runs in scope whose choice tells nothing of another policy, each under the
// first reason that holds.
struct ChoicesLeftOut {
  int64_t no_decision = 0;
  // Several route decisions: the first ones led to the last one.
  int64_t several_decisions = 0;
  int64_t no_propensity = 0;
  int64_t no_candidates = 0;  // not told, or the chosen one is not among them
  int64_t arm_missing = 0;    // an arm was no candidate

  int64_t total() const {
    return no_decision + several_decisions + no_propensity + no_candidates +
           arm_missing;
  }
};

struct LoggedChoices {
  // Names; LoggedChoice::arm is an index. The first `offered` ones were
  // candidates of every choice. Those behind them were chosen, but not offered
  // to all: a policy over the choices gives them the probability 0.
  std::vector<std::string> arms;
  size_t offered = 0;
  std::vector<stats::LoggedChoice> choices;  // in the order of the window
  std::vector<size_t> runs;                  // of each choice
  ChoicesLeftOut left_out;
};

// The choices of the runs in scope; a failure is a loss of 1. `arms`: that
// every run must have had as candidates; none: the candidates of the largest
// number of usable decisions in scope, ascending.
LoggedChoices CollectLoggedChoices(const Window& window, const RunSet& scope,
                                   const ChoiceCells& cells,
                                   absl::Span<const std::string> arms = {});

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_LOGGED_CHOICES_H_
