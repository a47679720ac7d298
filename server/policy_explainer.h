#ifndef FAULTLINE_SERVER_POLICY_EXPLAINER_H_
#define FAULTLINE_SERVER_POLICY_EXPLAINER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/intervention_service.pb.h"
#include "lib/policy/policy_board.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/trace/trace_log.h"
#include "server/projects.h"
#include "server/resource_name.h"

namespace faultline::server {

// Why the rules of a policy exist, from the rule to the runs and back. Owns
// nothing that it is given. Thread-safe.
class PolicyExplainer {
 public:
  PolicyExplainer(Projects* projects, const trace::TraceLog* log,
                  const policy::PolicyBoard* board)
      : projects_(projects), log_(log), board_(board) {}

  // Waits for the store. INVALID_ARGUMENT names the part of the request at
  // fault, NOT_FOUND the resource; else the errors of log, loop and board.
  absl::StatusOr<v1::ExplainPolicyResponse> Explain(
      const v1::ExplainPolicyRequest& request) const;

 private:
  absl::Status AddRule(const std::string& project,
                       absl::string_view intervention_id,
                       v1::ExplainPolicyResponse* response) const;
  absl::Status AddTrace(const ResourceName& name, const std::string& asked,
                        v1::ExplainPolicyResponse* response) const;

  Projects* const projects_;
  const trace::TraceLog* const log_;
  const policy::PolicyBoard* const board_;
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_POLICY_EXPLAINER_H_
