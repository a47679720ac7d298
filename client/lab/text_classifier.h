#ifndef FAULTLINE_CLIENT_LAB_TEXT_CLASSIFIER_H_
#define FAULTLINE_CLIENT_LAB_TEXT_CLASSIFIER_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "client/lab/problem.h"
#include "lib/base/random.h"

namespace faultline::lab {

// A weak answerer: logistic regression on which words (and pairs of adjacent
// words) a question has. It has no notion of order, binding or negation, and
// that is where it fails. Immutable once trained, so thread-safe.
class TextClassifier {
 public:
  // Trains by stochastic gradient descent with L2 penalty. `max_words`: length
  // of the longest feature, 1 or 2.
  static TextClassifier Train(const std::vector<Problem>& problems,
                              int max_words, base::Random* random);

  // Probability of `yes`, in (0, 1).
  double ProbabilityOfYes(absl::string_view question) const;

 private:
  explicit TextClassifier(int max_words) : max_words_(max_words) {}

  // Distinct features that the vocabulary has, ascending.
  std::vector<int> Features(absl::string_view question) const;

  int max_words_;
  absl::flat_hash_map<std::string, int> vocabulary_;
  std::vector<double> weights_;  // by feature
  double bias_ = 0;
};

// The words of a text, lower-cased: what every model of the lab reads.
std::vector<std::string> Words(absl::string_view text);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_TEXT_CLASSIFIER_H_
