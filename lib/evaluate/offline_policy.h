#ifndef FAULTLINE_LIB_EVALUATE_OFFLINE_POLICY_H_
#define FAULTLINE_LIB_EVALUATE_OFFLINE_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/evaluation_service.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/predicate.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/embedding/run.h"
#include "lib/policy/predicate.h"

namespace faultline::evaluate {

// A distribution over routes for the runs that match. Each candidate of a run
// gets at least `floor`; the rest is shared out by the weights.
struct RouteRule {
  v1::Predicate match;
  std::vector<std::pair<std::string, double>> weights;  // add up to 1
  double floor = 0;
};

// The same for every run. INVALID_ARGUMENT names the part at fault.
absl::StatusOr<RouteRule> RuleOfWeights(const v1::CandidateWeights& weights);
// FAILED_PRECONDITION where the action does not choose among routes.
absl::StatusOr<RouteRule> RuleOfAction(const v1::Action& action,
                                       const v1::Predicate& match);
// The routing rules of a version, highest priority first. FAILED_PRECONDITION
// where it has none.
absl::StatusOr<std::vector<RouteRule>> RulesOfPolicy(const v1::Policy& policy);

// What a policy over routes would have made of runs that another one chose for
// (METHODS 5.5). The first rule that matches a run is the one for it; a run
// that none matches is out of scope, because nothing would change there. Keeps
// of a run its route decision, some 400 bytes. Not thread-safe.
class OfflineEvaluator {
 public:
  // Of `request`, `scope` and the times are read. INVALID_ARGUMENT names the
  // part of the scope at fault.
  static absl::StatusOr<std::unique_ptr<OfflineEvaluator>> Create(
      const v1::EvaluatePolicyOfflineRequest& request,
      std::vector<RouteRule> rules);

  // A run, at its row (JudgedRuns). A row that was there is replaced.
  void Add(size_t row, const v1::Trace& trace);

  // What the choices say, of the rows so far; `outcomes` by row. Of `stretch`,
  // the counts of runs are filled in.
  v1::EvaluatePolicyOfflineResponse Evaluate(
      absl::Span<const v1::Outcome> outcomes);

 private:
  struct Row {
    bool wanted = false;  // by time
    int32_t rule = -1;    // -1: out of scope
    uint64_t order = 0;   // hash of the trace id
    embedding::Run run;   // route, task type and outcome only
  };

  OfflineEvaluator(const v1::EvaluatePolicyOfflineRequest& request,
                   std::vector<RouteRule> rules)
      : request_(request), rules_(std::move(rules)) {}

  // Policy and scope.
  void Describe(v1::EvaluatePolicyOfflineResponse* response) const;

  const v1::EvaluatePolicyOfflineRequest request_;
  const std::vector<RouteRule> rules_;
  policy::PredicateSet predicates_;  // by rule, then the scope
  embedding::FeatureNames names_;
  std::vector<Row> rows_;
};

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_OFFLINE_POLICY_H_
