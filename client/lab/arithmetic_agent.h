#ifndef FAULTLINE_CLIENT_LAB_ARITHMETIC_AGENT_H_
#define FAULTLINE_CLIENT_LAB_ARITHMETIC_AGENT_H_

#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/lab/problem.h"
#include "lib/base/random.h"

namespace faultline::lab {

// The parts of the arithmetic agents. Each is a small honest procedure with
// its own weakness; none knows about the others, the kinds or the answers.

// What the agent believes is to be calculated, as the text has it: what follows
// `what is`, `calculate` and the like, or the two numbers of a story joined by
// the sign that its verb suggests. Empty where it finds neither.
std::string ExtractExpression(absl::string_view question);

// The repair path: rewrites thousands separators, signs beyond ASCII, percent
// and the words plus, minus, times, divided by in the calculator's grammar.
// INVALID_ARGUMENT where a word is left.
absl::StatusOr<std::string> NormalizeExpression(absl::string_view expression);

// Mental arithmetic: reads numbers and signs from left to right without
// precedence and keeps two digits of the running total. Ignores what it cannot
// read.
double CalculateMentally(absl::string_view expression);

// Decides whether a question is for the calculator: logistic regression,
// trained on whether mental arithmetic got earlier questions wrong. Immutable
// once trained, so thread-safe.
class ToolChooser {
 public:
  // What a chooser looks at.
  enum class Sight {
    kLength,   // how long the text is
    kNumbers,  // also how many numbers, how large, and how many signs
  };

  static ToolChooser Train(const std::vector<Problem>& problems, Sight sight,
                           base::Random* random);

  // Probability that mental arithmetic would be wrong, in (0, 1).
  double ProbabilityOfNeed(absl::string_view question) const;

 private:
  static constexpr int kFeatures = 4;
  using Features = std::array<double, kFeatures>;

  explicit ToolChooser(Sight sight) : sight_(sight) {}
  Features FeaturesOf(absl::string_view question) const;

  Sight sight_;
  Features weights_{};
  double bias_ = 0;
};

// How many numbers a text has.
int CountNumbers(absl::string_view text);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_ARITHMETIC_AGENT_H_
