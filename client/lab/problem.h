#ifndef FAULTLINE_CLIENT_LAB_PROBLEM_H_
#define FAULTLINE_CLIENT_LAB_PROBLEM_H_

#include <cstdint>
#include <string>

namespace faultline::lab {

// A family of tasks; also Task.type of its traces.
enum class Family : uint8_t {
  kReasoning,   // `binary_reasoning`: yes or no
  kArithmetic,  // `arithmetic`: a number
};

constexpr const char* FamilyName(Family family) {
  switch (family) {
    case Family::kReasoning:
      return "binary_reasoning";
    case Family::kArithmetic:
      return "arithmetic";
  }
  return "";
}

// One question with what only the examiner knows. An agent sees `question`
// alone; `kind` and `answer` reach the side file of labels, never a trace.
struct Problem {
  std::string id;
  Family family = Family::kReasoning;
  std::string kind;      // hidden cause, such as `negation` or `format`
  std::string question;  // all that is needed to answer
  std::string answer;    // `yes`, `no` or a decimal number
  uint64_t seed = 0;     // of every random choice of a run of it
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_PROBLEM_H_
