#ifndef FAULTLINE_TESTS_UNIT_OTLP_SPAN_BUILDER_H_
#define FAULTLINE_TESTS_UNIT_OTLP_SPAN_BUILDER_H_

#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "lib/ingest/otlp/span_mapper.h"
#include "lib/trace/trace_validator.h"
#include "tests/support/status_matchers.h"

namespace faultline::otlp {

using Span = opentelemetry::proto::trace::v1::Span;

// 2023-11-14T22:13:20Z
inline constexpr uint64_t kStartNanos = 1'700'000'000'000'000'000;

// Value of an attribute, as SDKs allow.
using Scalar = std::variant<const char*, std::string, bool, int, double>;

inline void AddAttribute(const std::string& key, const Scalar& value,
                         KeyValues* attributes) {
  KeyValue& attribute = *attributes->Add();
  attribute.set_key(key);
  AnyValue& any = *attribute.mutable_value();
  if (const auto* literal = std::get_if<const char*>(&value)) {
    any.set_string_value(*literal);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    any.set_string_value(*text);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    any.set_bool_value(*flag);
  } else if (const auto* whole = std::get_if<int>(&value)) {
    any.set_int_value(*whole);
  } else {
    any.set_double_value(std::get<double>(value));
  }
}

using AttributeList = std::initializer_list<std::pair<const char*, Scalar>>;

// A span of two seconds below another one.
inline Span MakeSpan(const std::string& name, AttributeList attributes) {
  Span span;
  span.set_trace_id(std::string(15, '\0') + '\x0a');
  span.set_span_id(std::string(7, '\0') + '\x0b');
  span.set_parent_span_id(std::string(7, '\0') + '\x0c');
  span.set_name(name);
  span.set_start_time_unix_nano(kStartNanos);
  span.set_end_time_unix_nano(kStartNanos + 2'500'000'000);
  for (const auto& [key, value] : attributes) {
    AddAttribute(key, value, span.mutable_attributes());
  }
  return span;
}

inline Span MakeRoot(const std::string& name, AttributeList attributes) {
  Span span = MakeSpan(name, attributes);
  span.clear_parent_span_id();
  return span;
}

inline void AddEvent(const std::string& name, AttributeList attributes,
                     Span* span) {
  Span::Event& event = *span->add_events();
  event.set_name(name);
  event.set_time_unix_nano(kStartNanos + 1'000'000'000);
  for (const auto& [key, value] : attributes) {
    AddAttribute(key, value, event.mutable_attributes());
  }
}

inline absl::StatusOr<MappedSpan> Map(const Span& span,
                                      AttributeList resource = {}) {
  KeyValues attributes;
  for (const auto& [key, value] : resource) {
    AddAttribute(key, value, &attributes);
  }
  return MapSpan(AttributeTable(attributes).view(), span,
                 trace::TraceValidator::Create({})->limits());
}

// The mapped span, which must be valid for the log.
inline MappedSpan MapValid(const Span& span, AttributeList resource = {}) {
  absl::StatusOr<MappedSpan> mapped = Map(span, resource);
  EXPECT_OK(mapped);
  if (!mapped.ok()) return {};
  const auto validator = trace::TraceValidator::Create({});
  const absl::Time now = absl::FromUnixNanos(kStartNanos);
  if (mapped->piece.has_value()) {
    const auto fault = validator->CheckPiece(*mapped->piece, "p", 0, now);
    EXPECT_FALSE(fault.has_value()) << fault->ShortDebugString();
  }
  for (const v1::OutcomeRecord& outcome : mapped->outcomes) {
    const auto fault = validator->CheckOutcome(outcome, now);
    EXPECT_FALSE(fault.has_value()) << fault->ShortDebugString();
  }
  for (const v1::AnnotationRecord& annotation : mapped->annotations) {
    const auto fault = validator->CheckAnnotation(annotation);
    EXPECT_FALSE(fault.has_value()) << fault->ShortDebugString();
  }
  return *std::move(mapped);
}

inline v1::Trace PartOf(const Span& span, AttributeList resource = {}) {
  const MappedSpan mapped = MapValid(span, resource);
  EXPECT_TRUE(mapped.piece.has_value());
  return mapped.piece.has_value() ? mapped.piece->part() : v1::Trace();
}

// The step of a span that has one.
inline v1::Step StepOf(const Span& span) {
  const v1::Trace part = PartOf(span);
  EXPECT_EQ(part.steps_size(), 1);
  return part.steps_size() == 1 ? part.steps(0) : v1::Step();
}

// The message in text format.
MATCHER_P(EqualsText, text, "") {
  std::decay_t<decltype(arg)> expected;
  if (!google::protobuf::TextFormat::ParseFromString(text, &expected)) {
    *result_listener << "the expected text is malformed";
    return false;
  }
  google::protobuf::util::MessageDifferencer differencer;
  std::string report;
  differencer.ReportDifferencesToString(&report);
  const bool equal = differencer.Compare(expected, arg);
  *result_listener << report;
  return equal;
}

}  // namespace faultline::otlp

#endif  // FAULTLINE_TESTS_UNIT_OTLP_SPAN_BUILDER_H_
