#include "client/lab/text_classifier.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace faultline::lab {
namespace {

constexpr int kEpochs = 12;
constexpr double kStep = .15;      // of the first epoch; falls as 1 / epoch
constexpr double kPenalty = 2e-5;  // L2

std::vector<std::string> FeatureNames(absl::string_view text, int max_words) {
  const std::vector<std::string> words = Words(text);
  std::vector<std::string> names = words;
  for (size_t i = 1; max_words > 1 && i < words.size(); ++i) {
    names.push_back(absl::StrCat(words[i - 1], " ", words[i]));
  }
  return names;
}

double Logistic(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

std::vector<std::string> Words(absl::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : absl::StrCat(text, " ")) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      word += absl::ascii_tolower(static_cast<unsigned char>(c));
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

std::vector<int> TextClassifier::Features(absl::string_view question) const {
  std::vector<int> features;
  for (const std::string& name : FeatureNames(question, max_words_)) {
    const auto it = vocabulary_.find(name);
    if (it != vocabulary_.end()) features.push_back(it->second);
  }
  std::sort(features.begin(), features.end());
  features.erase(std::unique(features.begin(), features.end()), features.end());
  return features;
}

TextClassifier TextClassifier::Train(const std::vector<Problem>& problems,
                                     int max_words, base::Random* random) {
  TextClassifier model(max_words);
  for (const Problem& problem : problems) {
    for (const std::string& name : FeatureNames(problem.question, max_words)) {
      model.vocabulary_.try_emplace(name,
                                    static_cast<int>(model.vocabulary_.size()));
    }
  }
  model.weights_.assign(model.vocabulary_.size(), 0);
  std::vector<std::vector<int>> features;
  features.reserve(problems.size());
  for (const Problem& problem : problems) {
    features.push_back(model.Features(problem.question));
  }
  std::vector<size_t> order(problems.size());
  std::iota(order.begin(), order.end(), 0);
  for (int epoch = 1; epoch <= kEpochs; ++epoch) {
    random->Shuffle(&order);
    const double step = kStep / epoch;
    for (const size_t i : order) {
      double score = model.bias_;
      for (const int feature : features[i]) score += model.weights_[feature];
      const double error =
          (problems[i].answer == "yes" ? 1 : 0) - Logistic(score);
      model.bias_ += step * error;
      for (const int feature : features[i]) {
        double& weight = model.weights_[feature];
        weight += step * (error - kPenalty * weight);
      }
    }
  }
  return model;
}

double TextClassifier::ProbabilityOfYes(absl::string_view question) const {
  double score = bias_;
  for (const int feature : Features(question)) score += weights_[feature];
  return Logistic(score);
}

}  // namespace faultline::lab
