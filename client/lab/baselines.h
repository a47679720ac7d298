#ifndef FAULTLINE_CLIENT_LAB_BASELINES_H_
#define FAULTLINE_CLIENT_LAB_BASELINES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/lab/lab.h"
#include "client/lab/problem.h"
#include "lib/base/random.h"

namespace faultline::lab {

// A Thompson sampler over routes: one Beta posterior for each route from a
// uniform prior, whatever is asked. Not thread-safe.
class GlobalBandit {
 public:
  explicit GlobalBandit(uint64_t seed) : random_(seed) {}

  // Of the candidates, that whose drawn success rate is highest.
  const std::string& Choose(const std::vector<Choice>& routes);
  void Learn(const std::string& route, bool failed);

 private:
  struct Counts {
    int successes = 0;
    int failures = 0;
  };

  base::Random random_;
  std::map<std::string, Counts> counts_;
};

// What others would have made of the problems that the lab ran: routers that
// get no policy from Faultline. They live through the same ticks. Not
// thread-safe.
//   random  at each tick, for each family, an action drawn by lot is applied to
//           all of its runs, without a test
//   bandit  GlobalBandit; it learns from each run at once
class Baselines {
 public:
  // Does not own the lab.
  explicit Baselines(const Lab& lab);

  // Runs the problems of a tick and counts their failures.
  void RunTick(int tick, const std::vector<Problem>& problems, Scores* scores);

 private:
  const Lab& lab_;
  base::Random lots_;
  GlobalBandit bandit_;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_BASELINES_H_
