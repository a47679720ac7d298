#ifndef FAULTLINE_CLIENT_LAB_REASONING_WORLD_H_
#define FAULTLINE_CLIENT_LAB_REASONING_WORLD_H_

#include "client/lab/problem.h"
#include "lib/base/random.h"

namespace faultline::lab {

// Which sentences a world may use.
enum class Phrasing {
  kTaught,  // what models are trained on
  kAsked,   // what users ask: some phrasings that training never had
};

// A yes/no question about a few facts that its text states. What is not stated
// is not so. Kinds:
//   simple         one fact looked up
//   negation       a negated fact, a negated question or both
//   compositional  two facts joined by `and` or `or`
//   transitive     a comparison that follows from a chain of others
// Within each kind both answers are equally likely. Id and seed stay empty.
Problem MakeReasoningProblem(Phrasing phrasing, base::Random* random);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_REASONING_WORLD_H_
