#ifndef FAULTLINE_CLIENT_LAB_ARITHMETIC_WORLD_H_
#define FAULTLINE_CLIENT_LAB_ARITHMETIC_WORLD_H_

#include "client/lab/problem.h"
#include "lib/base/random.h"

namespace faultline::lab {

// A question whose answer is a number. Kinds, by what makes it hard:
//   plain    two small numbers, or a little story about them
//   long     three to seven terms, some of them products; or large numbers
//   format   numbers and signs as people write them: 1,250; 15%; 3 × 4; plus
//   wording  half, twice, dozen: words that no component here knows
// Id and seed stay empty.
Problem MakeArithmeticProblem(base::Random* random);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_ARITHMETIC_WORLD_H_
