#include "client/lab/calculator.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"

namespace faultline::lab {
namespace {

constexpr int kMaxDepth = 32;  // of brackets and signs

// Recursive descent, one function for each rule of the grammar.
class ExpressionParser {
 public:
  explicit ExpressionParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<double> ParseAll() {
    FAULTLINE_ASSIGN_OR_RETURN(const double value, ParseSum(0));
    if (Peek() != 0) return Unexpected("an operator or the end");
    if (!std::isfinite(value)) {
      return absl::OutOfRangeError("the result is not finite");
    }
    return value;
  }

 private:
  // The next symbol, 0 at the end. A zero byte is passed on as a bad symbol.
  char Peek() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    if (at_ == text_.size()) return 0;
    return text_[at_] == 0 ? '?' : text_[at_];
  }

  absl::Status Unexpected(absl::string_view expected) {
    if (Peek() == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("the expression ends where ", expected, " is expected"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("character ", at_ + 1, " is not ", expected));
  }

  absl::StatusOr<double> ParseSum(int depth) {
    FAULTLINE_ASSIGN_OR_RETURN(double value, ParseProduct(depth));
    while (Peek() == '+' || Peek() == '-') {
      const bool plus = text_[at_++] == '+';
      FAULTLINE_ASSIGN_OR_RETURN(const double next, ParseProduct(depth));
      value += plus ? next : -next;
    }
    return value;
  }

  absl::StatusOr<double> ParseProduct(int depth) {
    FAULTLINE_ASSIGN_OR_RETURN(double value, ParseFactor(depth));
    while (Peek() == '*' || Peek() == '/') {
      const bool times = text_[at_++] == '*';
      FAULTLINE_ASSIGN_OR_RETURN(const double next, ParseFactor(depth));
      if (!times && next == 0) return absl::OutOfRangeError("division by zero");
      value = times ? value * next : value / next;
    }
    return value;
  }

  absl::StatusOr<double> ParseFactor(int depth) {
    if (depth > kMaxDepth) {
      return absl::InvalidArgumentError("the expression is nested too deeply");
    }
    if (Peek() == '-') {
      ++at_;
      FAULTLINE_ASSIGN_OR_RETURN(const double value, ParseFactor(depth + 1));
      return -value;
    }
    if (Peek() == '(') {
      ++at_;
      FAULTLINE_ASSIGN_OR_RETURN(const double value, ParseSum(depth + 1));
      if (Peek() != ')') return Unexpected("a closing bracket");
      ++at_;
      return value;
    }
    return ParseNumber();
  }

  absl::StatusOr<double> ParseNumber() {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) {
      return Unexpected("a digit, a sign or a bracket");
    }
    const size_t begin = at_;
    SkipDigits();
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      if (!SkipDigits()) return Unexpected("a digit");
    }
    double value = 0;
    if (!absl::SimpleAtod(text_.substr(begin, at_ - begin), &value)) {
      return absl::InvalidArgumentError("a number is too long");
    }
    return value;
  }

  bool SkipDigits() {
    const size_t begin = at_;
    while (at_ < text_.size() &&
           absl::ascii_isdigit(static_cast<unsigned char>(text_[at_]))) {
      ++at_;
    }
    return at_ > begin;
  }

  const absl::string_view text_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<double> Calculate(absl::string_view expression) {
  return ExpressionParser(expression).ParseAll();
}

std::string NumberText(double value) {
  return absl::StrFormat("%.12g", value == 0 ? 0 : value);
}

}  // namespace faultline::lab
