#include "client/cli/text.h"

#include <array>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace faultline::cli {
namespace {

// `STATUS_` of an enum whose zero value is `STATUS_UNSPECIFIED`.
absl::string_view EnumPrefix(const google::protobuf::EnumDescriptor& type) {
  return absl::StripSuffix(type.value(0)->name(), "UNSPECIFIED");
}

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

bool IsAbsent(const google::protobuf::Timestamp& time) {
  return time.seconds() == 0 && time.nanos() == 0;
}

std::string Weighted(absl::string_view name, double weight) {
  return absl::StrCat(name, " ", Percent(weight));
}

std::string RoutingText(const v1::RoutingPolicy& routing) {
  return absl::StrCat(
      "route to ",
      absl::StrJoin(
          routing.candidates(), ", ",
          [](std::string* out, const v1::RoutingPolicy::Candidate& candidate) {
            absl::StrAppend(out,
                            Weighted(candidate.name(), candidate.weight()));
          }),
      routing.exploration_floor() > 0
          ? absl::StrCat(", every route at least ",
                         Percent(routing.exploration_floor()))
          : "");
}

std::string MemoryText(const v1::MemorySchema& memory) {
  std::vector<std::string> parts;
  const std::string what =
      memory.record_class().empty()
          ? "records"
          : absl::StrCat(memory.record_class(), " records");
  if (memory.has_max_age()) {
    parts.push_back(absl::StrCat("return no ", what, " older than ",
                                 Span(ToDuration(memory.max_age()))));
  }
  if (!memory.required_field().empty()) {
    parts.push_back(
        absl::StrCat("return no ", what, " without ", memory.required_field()));
  }
  if (memory.refuse_conflicting_writes()) {
    parts.emplace_back("refuse conflicting writes");
  }
  return absl::StrJoin(parts, "; ");
}

std::string ToolText(const v1::ToolConstraint& tool) {
  switch (tool.rule_case()) {
    case v1::ToolConstraint::kArgument:
      return absl::StrCat(tool.tool(), ": ",
                          tool.argument().argument().empty()
                              ? "input"
                              : tool.argument().argument(),
                          " must match /", tool.argument().pattern(), "/");
    case v1::ToolConstraint::kCallLimit:
      return absl::StrCat(tool.tool(), ": at most ",
                          tool.call_limit().max_calls(), " calls");
    case v1::ToolConstraint::kOrder:
      return absl::StrCat(tool.tool(), ": only after ",
                          tool.order().after_tool());
    case v1::ToolConstraint::kDisable:
      return absl::StrCat(tool.tool(), ": disabled");
    case v1::ToolConstraint::RULE_NOT_SET:
      return absl::StrCat(tool.tool(), ": no rule that this version knows");
  }
  return "";
}

std::string BanditText(const v1::BanditWeights& bandit) {
  return absl::StrCat(
      "draw ",
      absl::StrJoin(bandit.arms(), ", ",
                    [](std::string* out, const v1::BanditWeights::Arm& arm) {
                      absl::StrAppend(out,
                                      Weighted(arm.name(), arm.probability()));
                    }));
}

std::string CheckText(const v1::Guardrail& guardrail) {
  switch (guardrail.check()) {
    case v1::Guardrail::CHECK_SIGNAL_AT_LEAST:
      return absl::StrCat(guardrail.signal(), " below ",
                          Number(guardrail.threshold()));
    case v1::Guardrail::CHECK_STEP_REQUIRED:
      return absl::StrCat("no successful ", guardrail.required_step(),
                          guardrail.required_name().empty() ? "" : " ",
                          guardrail.required_name());
    case v1::Guardrail::CHECK_MAX_REPEATS:
      return absl::StrCat("a step repeated more than ",
                          Number(guardrail.threshold()), " times");
    case v1::Guardrail::CHECK_MAX_STEPS:
      return absl::StrCat("more than ", Number(guardrail.threshold()),
                          " steps");
    default:  // proto3 enums are open
      return "a check that this version does not know";
  }
}

std::string GuardrailText(const v1::Guardrail& guardrail) {
  std::string fallback;
  switch (guardrail.fallback()) {
    case v1::Guardrail::FALLBACK_ROUTE:
      fallback = absl::StrCat("ask ", guardrail.fallback_route());
      break;
    case v1::Guardrail::FALLBACK_REQUIRE_STEP:
      fallback = "take the step, then answer again";
      break;
    case v1::Guardrail::FALLBACK_ABSTAIN:
      fallback = "give no answer";
      break;
    default:  // proto3 enums are open
      fallback = "a fallback that this version does not know";
  }
  return absl::StrCat("on ", CheckText(guardrail), ": ", fallback);
}

}  // namespace

std::string EnumWord(const google::protobuf::EnumDescriptor& type, int value) {
  if (value == 0) return "-";
  const auto* descriptor = type.FindValueByNumber(value);
  if (descriptor == nullptr) return absl::StrCat(value);
  return absl::AsciiStrToLower(
      absl::StripPrefix(descriptor->name(), EnumPrefix(type)));
}

std::vector<std::string> EnumWords(
    const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 1; i < type.value_count(); ++i) {
    words.push_back(EnumWord(type, type.value(i)->number()));
  }
  return words;
}

int ParseEnumWord(const google::protobuf::EnumDescriptor& type,
                  absl::string_view word) {
  const auto* value = type.FindValueByName(
      absl::StrCat(EnumPrefix(type), absl::AsciiStrToUpper(word)));
  return value == nullptr ? 0 : value->number();
}

std::string Percent(double share) {
  return absl::StrFormat("%.1f %%", 100 * share);
}

std::string Number(double value) { return absl::StrFormat("%.3g", value); }

std::string PValue(double value) {
  return value < 1e-9 ? "<1e-9" : absl::StrFormat("%.2g", value);
}

std::string WithInterval(double value, double lower, double upper) {
  return absl::StrCat(Number(value), " (", Number(lower), " to ", Number(upper),
                      ")");
}

std::string Bytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB",
                                                 "TiB"};
  auto size = static_cast<double>(bytes);
  size_t unit = 0;
  for (; size >= 1024 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
  return absl::StrFormat("%.*f %s", size < 10 && unit > 0 ? 1 : 0, size,
                         kUnits[unit]);
}

std::string Time(const google::protobuf::Timestamp& time) {
  if (IsAbsent(time)) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", ToTime(time),
                          absl::UTCTimeZone());
}

std::string Age(const google::protobuf::Timestamp& time, absl::Time now) {
  if (IsAbsent(time)) return "-";
  return absl::StrCat(Span(std::max(now - ToTime(time), absl::ZeroDuration())),
                      " ago");
}

std::string Span(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 1) return absl::StrFormat("%.0f ms", seconds * 1000);
  if (seconds < 10) return absl::StrFormat("%.1f s", seconds);
  if (seconds < 120) return absl::StrFormat("%.0f s", seconds);
  if (seconds < 7200) return absl::StrFormat("%.0f min", seconds / 60);
  if (seconds < 172800) return absl::StrFormat("%.0f h", seconds / 3600);
  return absl::StrFormat("%.0f d", seconds / 86400);
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

std::string OneLine(absl::string_view text, size_t max_bytes) {
  std::string line;
  for (const char c : text) {
    const bool blank = absl::ascii_iscntrl(static_cast<unsigned char>(c)) ||
                       absl::ascii_isspace(static_cast<unsigned char>(c));
    if (!blank) {
      line += c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  absl::StripTrailingAsciiWhitespace(&line);
  if (line.size() <= max_bytes) return line;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) {
    --end;
  }
  return absl::StrCat(line.substr(0, end), "...");
}

std::string ShortName(absl::string_view name) {
  return std::string(name.substr(name.rfind('/') + 1));
}

std::string ActionText(const v1::Action& action) {
  switch (action.kind_case()) {
    case v1::Action::kRoutingPolicy:
      return RoutingText(action.routing_policy());
    case v1::Action::kMemorySchema:
      return MemoryText(action.memory_schema());
    case v1::Action::kToolConstraint:
      return ToolText(action.tool_constraint());
    case v1::Action::kBanditWeights:
      return BanditText(action.bandit_weights());
    case v1::Action::kGuardrail:
      return GuardrailText(action.guardrail());
    case v1::Action::kPromptStrategy:
      return absl::StrCat("prompt with ", action.prompt_strategy().strategy());
    case v1::Action::KIND_NOT_SET:
      return "an action that this version does not know";
  }
  return "";
}

std::string RelativeRiskText(const v1::RelativeRisk& risk) {
  return risk.defined() ? WithInterval(risk.ratio(), risk.lower(), risk.upper())
                        : "-";
}

Tone RelativeRiskTone(const v1::RelativeRisk& risk) {
  if (!risk.defined()) return Tone::kDim;
  if (risk.upper() < 1) return Tone::kGood;
  if (risk.lower() > 1) return Tone::kBad;
  return Tone::kPlain;
}

Tone ToneOf(v1::Cluster::Status status) {
  switch (status) {
    case v1::Cluster::STATUS_STABLE:
      return Tone::kGood;
    case v1::Cluster::STATUS_CANDIDATE:
      return Tone::kWarning;
    case v1::Cluster::STATUS_ARTIFACT:
    case v1::Cluster::STATUS_RETIRED:
      return Tone::kDim;
    default:  // proto3 enums are open
      return Tone::kPlain;
  }
}

Tone ToneOf(v1::Intervention::Status status) {
  switch (status) {
    case v1::Intervention::STATUS_CONFIRMED:
      return Tone::kGood;
    case v1::Intervention::STATUS_PROPOSED:
    case v1::Intervention::STATUS_APPROVED:
    case v1::Intervention::STATUS_TRIAL:
      return Tone::kWarning;
    case v1::Intervention::STATUS_DISCONFIRMED:
    case v1::Intervention::STATUS_ROLLED_BACK:
      return Tone::kBad;
    case v1::Intervention::STATUS_REJECTED:
    case v1::Intervention::STATUS_RETIRED:
      return Tone::kDim;
    default:  // proto3 enums are open
      return Tone::kPlain;
  }
}

Tone ToneOf(v1::Outcome outcome) {
  switch (outcome) {
    case v1::OUTCOME_PASS:
      return Tone::kGood;
    case v1::OUTCOME_FAIL:
    case v1::OUTCOME_ERROR:
      return Tone::kBad;
    default:  // proto3 enums are open
      return Tone::kDim;
  }
}

}  // namespace faultline::cli
