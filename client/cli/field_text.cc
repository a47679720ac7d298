#include "client/cli/field_text.h"

#include <cstdint>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "client/cli/text.h"
#include "google/protobuf/duration.pb.h"

namespace faultline::cli {
namespace {

using google::protobuf::Duration;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status Malformed(const FieldDescriptor& field, absl::string_view expected,
                       absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      field.name(), ": ", expected, " is expected, not `", text, "`"));
}

absl::Status SetEnums(Message* message, const FieldDescriptor& field,
                      absl::string_view text) {
  const Reflection& reflection = *message->GetReflection();
  std::vector<int> values;
  for (const absl::string_view word :
       absl::StrSplit(text, ',', absl::SkipEmpty())) {
    values.push_back(ParseEnumWord(*field.enum_type(), word));
    if (values.back() == 0) {
      return Malformed(
          field, absl::StrJoin(EnumWords(*field.enum_type()), ", "), word);
    }
  }
  reflection.ClearField(message, &field);
  for (const int value : values) {
    reflection.AddEnumValue(message, &field, value);
  }
  return absl::OkStatus();
}

}  // namespace

std::string FieldText(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    const int size = reflection.FieldSize(message, &field);
    std::vector<std::string> words;
    words.reserve(size);
    for (int i = 0; i < size; ++i) {
      words.push_back(
          EnumWord(*field.enum_type(),
                   reflection.GetRepeatedEnumValue(message, &field, i)));
    }
    return absl::StrJoin(words, ",");
  }
  if (!reflection.HasField(message, &field)) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumWord(*field.enum_type(),
                      reflection.GetEnumValue(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const auto* duration = google::protobuf::DynamicCastToGenerated<Duration>(
          &reflection.GetMessage(message, &field));
      return duration == nullptr ? ""
                                 : absl::FormatDuration(ToDuration(*duration));
    }
    default:  // no setting has another type
      return "";
  }
}

absl::Status SetFieldText(Message* message, const FieldDescriptor& field,
                          absl::string_view text) {
  const Reflection& reflection = *message->GetReflection();
  if (field.is_repeated()) return SetEnums(message, field, text);
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) {
        return Malformed(field, "a whole number", text);
      }
      reflection.SetUInt32(message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) {
        return Malformed(field, "a whole number", text);
      }
      reflection.SetUInt64(message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value = 0;
      if (!absl::SimpleAtod(text, &value)) {
        return Malformed(field, "a number", text);
      }
      reflection.SetDouble(message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int value = ParseEnumWord(*field.enum_type(), text);
      if (value == 0) {
        return Malformed(
            field, absl::StrJoin(EnumWords(*field.enum_type()), ", "), text);
      }
      reflection.SetEnumValue(message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      absl::Duration value;
      auto* duration = google::protobuf::DynamicCastToGenerated<Duration>(
          reflection.MutableMessage(message, &field));
      if (duration == nullptr || !absl::ParseDuration(text, &value)) {
        return Malformed(field, "a duration such as 90s, 5m or 24h", text);
      }
      duration->set_seconds(
          absl::IDivDuration(value, absl::Seconds(1), &value));
      duration->set_nanos(static_cast<int32_t>(
          absl::IDivDuration(value, absl::Nanoseconds(1), &value)));
      return absl::OkStatus();
    }
    default:  // no setting has another type
      return Malformed(field, "a field that this version can set", text);
  }
}

}  // namespace faultline::cli
