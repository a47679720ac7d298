#ifndef FAULTLINE_CLIENT_LAB_AGENT_RUNTIME_H_
#define FAULTLINE_CLIENT_LAB_AGENT_RUNTIME_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/lab/policy_source.h"
#include "client/lab/problem.h"
#include "faultline/v1/trace.pb.h"

namespace faultline::lab {

// A way to answer that the router may choose, with its default probability.
struct Route {
  std::string name;
  double probability;
};

// The agent runtime of the lab: trained answerers, a calculator, a router that
// draws among routes and logs the propensity, and the code paths that a policy
// can change:
//   routing policy, bandit weights  the router's probabilities
//   tool constraint   checked before a call; an argument that breaks the rule
//                     goes through the normaliser first
//   guardrail         checked before the answer leaves; then another route, the
//                     missing step, or no answer
// Other actions change nothing here.
//
// A run is a pure function of (problem, policy's decisions, start). Immutable
// once created, so thread-safe.
class AgentRuntime {
 public:
  // Trains every model on its own worlds; well under 2 s.
  static std::unique_ptr<const AgentRuntime> Create(uint64_t seed);
  ~AgentRuntime();

  // Candidates for problems of a family, with default probabilities.
  static const std::vector<Route>& RoutesOf(Family family);

  // Sets of actions that a policy could take for a family, one set for each
  // way to run a problem: the oracle tries them all.
  static const std::vector<std::vector<v1::Action>>& OptionsOf(Family family);

  // Runs one problem and judges it by its answer. The trace has the problem's
  // id as its own and as its task's, and neither kind nor answer.
  v1::Trace Run(const Problem& problem, const PolicySource& policy,
                absl::Time start) const;

  // Whether some option would have answered, the problem's own random numbers
  // unchanged.
  bool OraclePasses(const Problem& problem) const;

 private:
  struct Models;
  class Session;
  explicit AgentRuntime(std::unique_ptr<const Models> models);

  const std::unique_ptr<const Models> models_;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_AGENT_RUNTIME_H_
