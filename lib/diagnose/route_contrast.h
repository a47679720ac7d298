#ifndef FAULTLINE_LIB_DIAGNOSE_ROUTE_CONTRAST_H_
#define FAULTLINE_LIB_DIAGNOSE_ROUTE_CONTRAST_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
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
// ones, judged cell by cell (ContextTable::cells), so that neither the mix of
// tasks nor tasks for which there is no such choice count.
struct Regret {
  // Fall of the failure rate, as a mean over the targets: those outside the
  // scope, or of cells without a choice, count as spared nothing.
  double spared = 0;
  double error = 0;            // standard error of `spared`
  double spared_in_scope = 0;  // the same over the runs in scope
  size_t runs = 0;             // better runs
  RunSet with_choice;  // runs in scope, either side, of cells with a choice
  // The better runs fail less than the others in scope by a standard error more
  // than ArmContrast::Holds asks.
  bool large = false;
};

// `targets`: the runs that are to be spared, such as the members of a cluster.
// Runs that an intervention treated are not compared.
Regret DiscoveryRegret(const ContextTable& table, const RunSet& scope,
                       const RunSet& better, const RunSet& targets);

// How the candidates that answered in a scope fared: the ones that would spare
// most on the discovery side against the others.
struct RouteContrast {
  std::vector<std::string> best;  // names, best first; within 0.02 of it
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

// Regret of not asking the best candidate. None as above.
std::optional<Regret> RouteRegret(const ContextTable& table,
                                  const RunSet& scope, absl::string_view field,
                                  const RunSet& targets);

// Share of the held-out runs that are in scope.
double HeldOutShare(const ContextTable& table, const RunSet& scope);

// Failure rate of the held-out runs in scope that no intervention treated.
double HeldOutFailureRate(const ContextTable& table, const RunSet& scope);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_ROUTE_CONTRAST_H_
