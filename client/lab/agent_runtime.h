#ifndef FAULTLINE_CLIENT_LAB_AGENT_RUNTIME_H_
#define FAULTLINE_CLIENT_LAB_AGENT_RUNTIME_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/lab/policy_source.h"
#include "client/lab/problem.h"
#include "client/lab/world.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/random.h"

namespace faultline::lab {

// Something that the router may choose, with its default probability.
struct Choice {
  std::string name;
  double probability;
};

// The agent runtime of the lab: trained answerers, a calculator, a retriever, a
// memory, a router that draws among routes and prompt strategies and logs the
// propensity, and the code paths that a policy can change:
//   routing policy, bandit weights  the router's probabilities of routes
//   prompt strategy   the strategy, where the family has it
//   tool constraint   checked before a call; an argument that breaks the rule
//                     goes through the normaliser first
//   memory schema     what memory takes and returns; what it does not return is
//                     looked up
//   guardrail         checked before the answer leaves; then another route, the
//                     missing step, or no answer
//
// A run is a pure function of (problem, policy's decisions, start). Immutable
// once created, so thread-safe.
class AgentRuntime {
 public:
  struct Options {
    uint64_t seed = 1;
    World world = World::kNormal;
    // As World::kDrift leaves it; in other worlds without effect.
    bool drifted = false;
  };

  // Trains every model on its own worlds; well under 2 s.
  static std::unique_ptr<const AgentRuntime> Create(const Options& options);
  ~AgentRuntime();

  // Candidates for problems of a family, with default probabilities.
  static const std::vector<Choice>& RoutesOf(Family family);
  static const std::vector<Choice>& StrategiesOf(Family family);

  // Every action that could be taken for a family, one at a time.
  static const std::vector<v1::Action>& ActionsOf(Family family);

  // Sets of actions that a policy could take for a family, one set for each
  // way to run a problem: the oracle tries them all.
  static const std::vector<std::vector<v1::Action>>& OptionsOf(Family family);

  // At least one problem of the family; several where they belong together.
  // Without ids and seeds.
  std::vector<Problem> MakeProblems(Family family, base::Random* random) const;

  // Runs one problem and judges it by its answer. The trace has the problem's
  // id as its own and as its task's, and neither kind nor answer. Arms are
  // drawn by the run's id, those of memory schemas by the namespace.
  v1::Trace Run(const Problem& problem, const PolicySource& policy,
                absl::Time start) const;

 private:
  struct Parts;
  class Session;
  explicit AgentRuntime(std::unique_ptr<const Parts> parts);

  const std::unique_ptr<const Parts> parts_;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_AGENT_RUNTIME_H_
