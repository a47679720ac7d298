#include "client/lab/baselines.h"

#include <algorithm>
#include <cmath>

#include "absl/time/time.h"
#include "client/lab/policy_source.h"
#include "lib/base/hash.h"

namespace faultline::lab {
namespace {

// Gamma of an integer shape: a sum of exponentials up to a size from which the
// normal approximation does.
double DrawGamma(int shape, base::Random* random) {
  constexpr int kLargeShape = 64;
  if (shape > kLargeShape) {
    return std::max(1e-9, shape + std::sqrt(shape) * random->Normal());
  }
  double sum = 0;
  for (int i = 0; i < shape; ++i) sum -= std::log(1 - random->Uniform());
  return sum;
}

double DrawBeta(int a, int b, base::Random* random) {
  const double x = DrawGamma(a, random);
  return x / (x + DrawGamma(b, random));
}

}  // namespace

const std::string& GlobalBandit::Choose(const std::vector<Choice>& routes) {
  size_t best = 0;
  double highest = -1;
  for (size_t i = 0; i < routes.size(); ++i) {
    const Counts& counts = counts_[routes[i].name];
    const double drawn =
        DrawBeta(1 + counts.successes, 1 + counts.failures, &random_);
    if (drawn <= highest) continue;
    highest = drawn;
    best = i;
  }
  return routes[best].name;
}

void GlobalBandit::Learn(const std::string& route, bool failed) {
  Counts& counts = counts_[route];
  ++(failed ? counts.failures : counts.successes);
}

Baselines::Baselines(const Lab& lab)
    : lab_(lab),
      lots_(base::Mix64(lab.options().seed ^ 0x107)),
      bandit_(base::Mix64(lab.options().seed ^ 0xba4d17)) {}

void Baselines::RunTick(int tick, const std::vector<Problem>& problems,
                        Scores* scores) {
  const AgentRuntime& runtime = lab_.runtime(tick);
  std::vector<ForcedActions> drawn;  // by Family
  for (const Family family : kFamilies) {
    const std::vector<v1::Action>& actions = AgentRuntime::ActionsOf(family);
    drawn.emplace_back(
        std::vector<v1::Action>{actions[lots_.Below(actions.size())]});
  }
  for (const Problem& problem : problems) {
    const Family family = problem.family;
    scores->Count(
        family, &Score::random,
        Failed(runtime.Run(problem, drawn[static_cast<size_t>(family)],
                           absl::UnixEpoch())));
    const std::string route = bandit_.Choose(AgentRuntime::RoutesOf(family));
    v1::Action action;
    auto* candidate = action.mutable_routing_policy()->add_candidates();
    candidate->set_name(route);
    candidate->set_weight(1);
    const bool failed = Failed(
        runtime.Run(problem, ForcedActions({action}), absl::UnixEpoch()));
    bandit_.Learn(route, failed);
    scores->Count(family, &Score::bandit, failed);
  }
}

}  // namespace faultline::lab
