#include "client/lab/arithmetic_agent.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/lab/calculator.h"
#include "client/lab/text_classifier.h"

namespace faultline::lab {
namespace {

constexpr int kEpochs = 40;
constexpr double kStep = .3;  // of the first epoch; falls as 1 / epoch

constexpr int kMentalDigits = 2;

constexpr const char* kOpenings[] = {"what is ", "calculate ", "work out ",
                                     "how much is "};
struct Cue {
  const char* word;
  char sign;
};
constexpr Cue kCues[] = {{"buys", '+'},  {"finds", '+'}, {"more", '+'},
                         {"loses", '-'}, {"gives", '-'}, {"each", '*'}};

bool IsDigit(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c));
}

double Rounded(double value, int digits) {
  if (value == 0 || !std::isfinite(value)) return value;
  const double scale = std::pow(
      10,
      digits - 1 - static_cast<int>(std::floor(std::log10(std::abs(value)))));
  return scale >= 1 ? value : std::round(value * scale) / scale;
}

}  // namespace

std::string ExtractExpression(absl::string_view question) {
  const std::string lower = absl::AsciiStrToLower(question);
  for (const char* opening : kOpenings) {
    if (!absl::StartsWith(lower, opening)) continue;
    absl::string_view rest = question.substr(absl::string_view(opening).size());
    if (!absl::ConsumeSuffix(&rest, "?")) absl::ConsumeSuffix(&rest, ".");
    return absl::StrCat(rest);
  }
  std::vector<std::string> numbers;
  char sign = 0;
  for (const std::string& word : Words(question)) {
    if (IsDigit(word[0])) numbers.push_back(word);
    for (const Cue& cue : kCues) {
      if (word == cue.word && sign == 0) sign = cue.sign;
    }
  }
  if (numbers.size() != 2 || sign == 0) return "";
  return absl::StrCat(numbers[0], " ", std::string(1, sign), " ", numbers[1]);
}

absl::StatusOr<std::string> NormalizeExpression(absl::string_view expression) {
  std::string text = absl::StrReplaceAll(absl::AsciiStrToLower(expression),
                                         {{"×", "*"},
                                          {"÷", "/"},
                                          {"−", "-"},
                                          {"–", "-"},
                                          {"% of", " / 100 *"},
                                          {" plus ", " + "},
                                          {" minus ", " - "},
                                          {" times ", " * "},
                                          {" divided by ", " / "}});
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool separator = text[i] == ',' && i > 0 && IsDigit(text[i - 1]) &&
                           i + 1 < text.size() && IsDigit(text[i + 1]);
    if (!separator) plain += text[i];
  }
  for (const char c : plain) {
    if (!IsDigit(c) && !absl::StrContains("+-*/(). ", c)) {
      return absl::InvalidArgumentError(
          "the expression has words that are not known");
    }
  }
  return plain;
}

double CalculateMentally(absl::string_view expression) {
  const std::string text = absl::StrReplaceAll(
      absl::AsciiStrToLower(expression),
      {{" plus ", " + "}, {" minus ", " - "}, {" times ", " * "}});
  double total = 0;
  char sign = '+';
  for (size_t i = 0; i < text.size();) {
    if (absl::StrContains("+-*/", text[i])) sign = text[i];
    if (!IsDigit(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < text.size() && IsDigit(text[i])) ++i;
    double number = 0;
    if (!absl::SimpleAtod(text.substr(begin, i - begin), &number)) continue;
    switch (sign) {
      case '+':
        total += number;
        break;
      case '-':
        total -= number;
        break;
      case '*':
        total *= number;
        break;
      default:
        total = number == 0 ? 0 : std::trunc(total / number);
        break;
    }
    total = Rounded(total, kMentalDigits);
  }
  return total;
}

int CountNumbers(absl::string_view text) {
  int count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    count += IsDigit(text[i]) && (i == 0 || !IsDigit(text[i - 1])) ? 1 : 0;
  }
  return count;
}

ToolChooser::Features ToolChooser::FeaturesOf(
    absl::string_view question) const {
  Features features{};
  features[0] = static_cast<double>(question.size()) / 50;
  if (sight_ == Sight::kLength) return features;
  size_t longest = 0;
  size_t signs = 0;
  size_t digits = 0;
  for (const char c : question) {
    digits = IsDigit(c) ? digits + 1 : 0;
    longest = std::max(longest, digits);
    signs += absl::StrContains("+-*/", c) ? 1 : 0;
  }
  features[1] = CountNumbers(question) / 4.0;
  features[2] = static_cast<double>(longest) / 4;
  features[3] = static_cast<double>(signs) / 4;
  return features;
}

ToolChooser ToolChooser::Train(const std::vector<Problem>& problems,
                               Sight sight, base::Random* random) {
  ToolChooser chooser(sight);
  std::vector<size_t> order(problems.size());
  std::iota(order.begin(), order.end(), 0);
  for (int epoch = 1; epoch <= kEpochs; ++epoch) {
    random->Shuffle(&order);
    for (const size_t i : order) {
      const Problem& problem = problems[i];
      const std::string mental =
          NumberText(CalculateMentally(ExtractExpression(problem.question)));
      const double error = (mental != problem.answer ? 1 : 0) -
                           chooser.ProbabilityOfNeed(problem.question);
      const Features features = chooser.FeaturesOf(problem.question);
      chooser.bias_ += kStep / epoch * error;
      for (int k = 0; k < kFeatures; ++k) {
        chooser.weights_[k] += kStep / epoch * error * features[k];
      }
    }
  }
  return chooser;
}

double ToolChooser::ProbabilityOfNeed(absl::string_view question) const {
  const Features features = FeaturesOf(question);
  const double score = std::inner_product(features.begin(), features.end(),
                                          weights_.begin(), bias_);
  return 1 / (1 + std::exp(-score));
}

}  // namespace faultline::lab
