#ifndef FAULTLINE_CLIENT_CLI_TEXT_H_
#define FAULTLINE_CLIENT_CLI_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cli/table.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/evaluation.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/trace.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/generated_enum_reflection.h"
#include "google/protobuf/timestamp.pb.h"

// Values as a person reads them. Pure functions.
namespace faultline::cli {

// `STATUS_ROLLED_BACK` as `rolled_back`, the zero value as `-`.
std::string EnumWord(const google::protobuf::EnumDescriptor& type, int value);

template <typename Enum>
std::string EnumWord(Enum value) {
  return EnumWord(*google::protobuf::GetEnumDescriptor<Enum>(), value);
}

// Words of every value but the zero value, in order.
std::vector<std::string> EnumWords(
    const google::protobuf::EnumDescriptor& type);

template <typename Enum>
std::vector<std::string> EnumWords() {
  return EnumWords(*google::protobuf::GetEnumDescriptor<Enum>());
}

// The value of a word; the zero value where there is none.
int ParseEnumWord(const google::protobuf::EnumDescriptor& type,
                  absl::string_view word);

template <typename Enum>
Enum ParseEnumWord(absl::string_view word) {
  return static_cast<Enum>(
      ParseEnumWord(*google::protobuf::GetEnumDescriptor<Enum>(), word));
}

// 0.4321 as `43.2 %`.
std::string Percent(double share);
// Three significant digits.
std::string Number(double value);
// A p-value: three digits, or `<1e-9`.
std::string PValue(double value);
// `2.31 (1.42 to 3.70)`.
std::string WithInterval(double value, double lower, double upper);
// 131072000 as `125 MiB`.
std::string Bytes(uint64_t bytes);
// `2026-01-02 03:04:05Z`; `-` where absent (zero).
std::string Time(const google::protobuf::Timestamp& time);
// `12 s ago`, `3 min ago`; `-` where absent (zero).
std::string Age(const google::protobuf::Timestamp& time, absl::Time now);
// `85 ms`, `2.4 s`, `3 min`, `2 h`, `30 d`.
std::string Span(absl::Duration duration);
absl::Duration ToDuration(const google::protobuf::Duration& duration);

// Text of unknown origin on one line: control characters and runs of blanks
// become one blank; at most `max_bytes`, cut between characters, with `...`.
std::string OneLine(absl::string_view text, size_t max_bytes = 200);

// Last part of a resource name: `projects/p/clusters/c` as `c`.
std::string ShortName(absl::string_view name);

// The change in words, such as `route to bag_of_words 70 %, parser 30 %`.
std::string ActionText(const v1::Action& action);
// `0.52 (0.31 to 0.87)`, or `-` where the counts do not allow a ratio.
std::string RelativeRiskText(const v1::RelativeRisk& risk);
// Tone of a relative risk: good or bad only where the interval leaves out 1.
Tone RelativeRiskTone(const v1::RelativeRisk& risk);

Tone ToneOf(v1::Cluster::Status status);
Tone ToneOf(v1::Intervention::Status status);
Tone ToneOf(v1::Outcome outcome);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_TEXT_H_
