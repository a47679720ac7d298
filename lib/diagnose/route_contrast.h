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

// How the candidates that answered in a scope fared: the ones that failed
// least on the discovery side against the others.
struct RouteContrast {
  std::vector<std::string> best;  // names, best first; within 0.02 of it
  ArmContrast arms;
};

// Values of `field` in `scope`; runs that an intervention treated are left
// out. None where fewer than two candidates have 20 discovery runs in scope, or
// where the best ones leave nothing to compare with.
std::optional<RouteContrast> CompareRoutes(const ContextTable& table,
                                           const RunSet& scope,
                                           absl::string_view field);

// Share of the held-out runs that are in scope.
double HeldOutShare(const ContextTable& table, const RunSet& scope);

// Failure rate of the held-out runs in scope that no intervention treated.
double HeldOutFailureRate(const ContextTable& table, const RunSet& scope);

// What routing the discovery runs in `scope` to their best candidate would
// spare, as a rate: as routed now, less the best candidate's, less a standard
// error. At least 0.
double DiscoveryRegret(const ContextTable& table, const RunSet& scope,
                       absl::string_view field);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_ROUTE_CONTRAST_H_
