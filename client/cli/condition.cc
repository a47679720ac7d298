#include "client/cli/condition.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "lib/base/status_macros.h"

namespace faultline::cli {
namespace {

constexpr std::pair<absl::string_view, v1::Comparison::Operator> kOperators[] =
    {{"!=", v1::Comparison::OPERATOR_NOT_EQUAL},
     {">=", v1::Comparison::OPERATOR_AT_LEAST},
     {"<", v1::Comparison::OPERATOR_BELOW},
     {"~", v1::Comparison::OPERATOR_HAS_WORD},
     {"=", v1::Comparison::OPERATOR_EQUAL}};

absl::Status Malformed(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "`", text,
      "` is no condition; one is FIELD=VALUE, FIELD!=VALUE, FIELD>=NUMBER, "
      "FIELD<NUMBER or FIELD~WORD, several are joined by &&"));
}

absl::StatusOr<v1::Comparison> ParseComparison(absl::string_view text) {
  // The operator that comes first; of two at one place, the longer.
  size_t place = absl::string_view::npos;
  std::pair<absl::string_view, v1::Comparison::Operator> found;
  for (const auto& candidate : kOperators) {
    const size_t at = text.find(candidate.first);
    if (at < place) {
      place = at;
      found = candidate;
    }
  }
  if (place == absl::string_view::npos) return Malformed(text);
  const absl::string_view field =
      absl::StripAsciiWhitespace(text.substr(0, place));
  const absl::string_view value =
      absl::StripAsciiWhitespace(text.substr(place + found.first.size()));
  if (field.empty()) return Malformed(text);
  v1::Comparison comparison;
  comparison.set_field(std::string(field));
  comparison.set_op(found.second);
  double number = 0;
  if (found.second == v1::Comparison::OPERATOR_AT_LEAST ||
      found.second == v1::Comparison::OPERATOR_BELOW) {
    if (!absl::SimpleAtod(value, &number)) return Malformed(text);
    comparison.set_number(number);
  } else {
    comparison.set_text(std::string(value));
  }
  return comparison;
}

}  // namespace

absl::StatusOr<v1::Predicate> ParseCondition(absl::string_view text) {
  v1::Predicate predicate;
  const std::vector<absl::string_view> parts = absl::StrSplit(text, "&&");
  for (const absl::string_view part : parts) {
    v1::Predicate* const target =
        parts.size() == 1 ? &predicate
                          : predicate.mutable_all()->add_predicates();
    FAULTLINE_ASSIGN_OR_RETURN(*target->mutable_comparison(),
                               ParseComparison(part));
  }
  return predicate;
}

std::string ConditionProblem(const std::string& text) {
  return std::string(ParseCondition(text).status().message());
}

std::string TimeProblem(const std::string& text) {
  absl::Time time;
  std::string error;
  return absl::ParseTime(absl::RFC3339_full, text, &time, &error)
             ? ""
             : "a time such as 2026-01-31T00:00:00Z is expected";
}

void SetTime(const std::string& text, google::protobuf::Timestamp* time) {
  absl::Time parsed;
  absl::ParseTime(absl::RFC3339_full, text, &parsed, nullptr);
  time->set_seconds(absl::ToUnixSeconds(parsed));
}

}  // namespace faultline::cli
