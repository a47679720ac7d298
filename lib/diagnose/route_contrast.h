#ifndef FAULTLINE_LIB_DIAGNOSE_ROUTE_CONTRAST_H_
#define FAULTLINE_LIB_DIAGNOSE_ROUTE_CONTRAST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/diagnose/context_table.h"
#include "lib/diagnose/run_set.h"

namespace faultline::diagnose {

// Fields that say which candidate answered.
inline constexpr absl::string_view kRouteField = "decisions.route.chosen";
inline constexpr absl::string_view kModelField = "system.model";

// Two arms of runs on the held-out side. Rates are failure rates,
// standardised over prognostic strata, so that an arm that got the easy tasks
// gains nothing by it.
struct ArmContrast {
  size_t better_runs = 0;
  size_t other_runs = 0;
  double better_rate = 0;
  double other_rate = 0;
  double difference = 0;        // other - better
  double difference_lower = 0;  // one-sided 95 % bound
  double p_value = 1;           // one-sided, Cochran-Mantel-Haenszel

  // Significant at .05, and large: 0.1 in rate, or a fifth of the others'.
  bool Holds() const;
};

// Whether `better`, thought on the discovery side to fail less than `other`,
// does so on the held-out side. None where no stratum has both.
std::optional<ArmContrast> CompareArms(const ContextTable& table,
                                       const RunSet& better,
                                       const RunSet& other,
                                       Prognostic left_out);

// What it would spare if every discovery run of a scope were like the better
// ones, judged cell by cell (ContextTable::cell), so that neither the mix of
// tasks nor tasks for which there is no such choice count. Runs that an
// intervention treated are not compared.
struct Regret {
  // Fall of the failure rate, as a mean over the targets: those outside the
  // scope, or of cells without a choice, count as spared nothing.
  double spared = 0;
  double error = 0;            // standard error of `spared`
  double spared_in_scope = 0;  // the same over the runs in scope
  size_t runs = 0;             // better runs
  // The better runs fail less than the others in scope by a standard error more
  // than ArmContrast::Holds asks.
  bool large = false;

  // Cells where there is a choice, one bit for each.
  uint32_t cells_with_choice = 0;
  size_t scope_runs = 0;        // discovery runs in scope, treated ones too
  size_t choice_runs = 0;       // of these, in cells with a choice
  size_t choice_successes = 0;  // of these, untreated and not failed
  size_t better_successes = 0;  // of these, among the better ones
};

// Counts what the regrets of a scope are made of, for several ways to be
// better, in one pass over its runs: for searches that judge many scopes. Not
// thread-safe.
class RegretCounter {
 public:
  // `better`: the runs of each way. `targets`: the runs that are to be spared,
  // such as the members of a cluster.
  RegretCounter(const ContextTable& table,
                absl::Span<const RunSet* const> better, const RunSet& targets);

  // Counts the scope of the runs in both sets.
  void Count(const RunSet& scope, const RunSet& term);
  // Regret of way `i` in the scope last counted.
  Regret Of(size_t i) const;

 private:
  // Runs that are counted together.
  struct Group {
    uint32_t ways;  // index into ways_
    uint8_t cell;
    bool discovery;
    bool treated;
    bool failed;
    bool target;
  };
  struct CellCounts {
    uint32_t discovery = 0;  // treated ones too
    uint32_t targets = 0;
    uint32_t runs = 0;  // discovery, untreated
    uint32_t failed = 0;
  };
  struct BetterCounts {  // discovery, untreated
    uint32_t runs = 0;
    uint32_t failed = 0;
  };

  void FindGroups(const ContextTable& table, const RunSet& targets,
                  const std::vector<uint32_t>& ways_of);

  double target_count_;
  RunSet counted_;  // discovery runs and targets
  // The distinct sets of ways that runs are better by; the first is empty.
  std::vector<std::vector<uint32_t>> ways_;
  std::vector<uint32_t> group_;  // of each counted run
  std::vector<Group> groups_;
  // In the scope last counted.
  std::vector<uint32_t> sizes_;  // by group
  std::vector<CellCounts> cells_;
  std::vector<BetterCounts> better_;  // by way, then cell
};

// The runs in scope, of either side, where `regret` found a choice.
RunSet RunsWithChoice(const ContextTable& table, const RunSet& scope,
                      const Regret& regret);

// How the candidates that answered in a scope fared: the ones that would spare
// most on the discovery side against the others.
struct RouteContrast {
  std::vector<std::string> best;  // names, best first; one to all but one
  ArmContrast arms;
  RunSet with_choice;  // runs in scope that the best ones could have answered
};

// Values of `field` in `scope`, best for `targets`. None where fewer than two
// candidates have 20 discovery runs in scope, or where the best ones leave
// nothing to compare with.
std::optional<RouteContrast> CompareRoutes(const ContextTable& table,
                                           const RunSet& scope,
                                           absl::string_view field,
                                           const RunSet& targets);

// Regrets of not asking the best candidate, or of not avoiding the worst, for
// many scopes. Not thread-safe.
class RouteRegret {
 public:
  // Of the values of `field`, which is best for `targets`.
  RouteRegret(const ContextTable& table, absl::string_view field,
              const RunSet& targets);

  // In the scope of the runs in both sets. None as above.
  std::optional<Regret> In(const RunSet& scope, const RunSet& term);

 private:
  size_t candidates_;
  std::vector<RunSet> ways_;
  RegretCounter counter_;
};

// Share of the held-out runs that are in scope.
double HeldOutShare(const ContextTable& table, const RunSet& scope);

// Failure rate of the held-out runs in scope that no intervention treated.
double HeldOutFailureRate(const ContextTable& table, const RunSet& scope);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_ROUTE_CONTRAST_H_
