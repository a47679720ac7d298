#include "client/lab/truth.h"

#include <cmath>

#include "absl/time/time.h"
#include "client/lab/policy_source.h"
#include "faultline/v1/policy.pb.h"
#include "lib/policy/policy_matcher.h"

namespace faultline::lab {

Truth::Effect Truth::effect() const {
  const double difference = prevented - caused;
  if (std::abs(difference) <= 2 * std::sqrt(prevented + caused)) {
    return Effect::kInert;
  }
  return difference > 0 ? Effect::kHelps : Effect::kHurts;
}

Truth MeasureTruth(const Lab& lab, const v1::Intervention& intervention,
                   int tick, int problems) {
  v1::Policy policy;
  policy.set_version(1);
  v1::Rule* rule = policy.add_rules();
  rule->set_intervention_id(intervention.intervention_id());
  rule->set_kind(intervention.kind());
  *rule->mutable_match() = intervention.scope();
  *rule->mutable_action() = intervention.action();
  rule->set_treatment_probability(1);
  const MatcherPolicy always(policy::PolicyMatcher::Create(policy),
                             absl::UnixEpoch());
  const AgentRuntime& runtime = lab.runtime(tick);
  Truth truth;
  for (const Problem& problem :
       lab.MakeProblems(Lab::kFreshTicks + 1, problems)) {
    const v1::Trace with = runtime.Run(problem, always, absl::UnixEpoch());
    if (with.exposure().interventions().empty()) continue;
    ++truth.in_scope;
    const bool failed =
        Failed(runtime.Run(problem, NoPolicy(), absl::UnixEpoch()));
    truth.prevented += failed && !Failed(with) ? 1 : 0;
    truth.caused += !failed && Failed(with) ? 1 : 0;
  }
  return truth;
}

std::vector<v1::FailureMode> ModesOf(Family family, absl::string_view kind) {
  switch (family) {
    case Family::kReasoning:
      // A weak model was asked where a better one was there.
      return {v1::FAILURE_MODE_ROUTING_FAILURE};
    case Family::kArithmetic:
      if (kind == "format") return {v1::FAILURE_MODE_TOOL_MISUSE};
      // The calculator is called with words, and then an answer is made up.
      if (kind == "wording") {
        return {v1::FAILURE_MODE_TOOL_MISUSE, v1::FAILURE_MODE_HALLUCINATION};
      }
      // Answered without the calculator, by the route that does so.
      return {v1::FAILURE_MODE_HALLUCINATION, v1::FAILURE_MODE_ROUTING_FAILURE};
    case Family::kCorpus:
      if (kind == "recalled" || kind == "unsupported") {
        return {v1::FAILURE_MODE_HALLUCINATION};
      }
      // Not taken apart, so that the passage that answers is not found.
      if (kind == "two_hop") {
        return {v1::FAILURE_MODE_REASONING_BREAKDOWN,
                v1::FAILURE_MODE_RETRIEVAL_FAILURE};
      }
      // The routes of this family are the retrievers.
      return {v1::FAILURE_MODE_RETRIEVAL_FAILURE,
              v1::FAILURE_MODE_ROUTING_FAILURE};
    case Family::kMemory:
      return {v1::FAILURE_MODE_MEMORY_MISALIGNMENT};
  }
  return {};
}

}  // namespace faultline::lab
