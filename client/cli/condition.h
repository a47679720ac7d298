#ifndef FAULTLINE_CLIENT_CLI_CONDITION_H_
#define FAULTLINE_CLIENT_CLI_CONDITION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/predicate.pb.h"
#include "google/protobuf/timestamp.pb.h"

// What a person types to choose runs. Pure functions.
namespace faultline::cli {

// A predicate of conditions that must all hold, joined by `&&`:
// `FIELD=VALUE`, `FIELD!=VALUE`, `FIELD>=NUMBER`, `FIELD<NUMBER`, `FIELD~WORD`
// (has the word). INVALID_ARGUMENT where it is none; the fields are for the
// server to judge.
absl::StatusOr<v1::Predicate> ParseCondition(absl::string_view text);

// For CLI11: empty where the text is good.
std::string ConditionProblem(const std::string& text);
std::string TimeProblem(const std::string& text);

// A time that has no problem.
void SetTime(const std::string& text, google::protobuf::Timestamp* time);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_CONDITION_H_
