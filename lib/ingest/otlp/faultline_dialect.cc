#include "lib/ingest/otlp/faultline_dialect.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/trace/utf8.h"

namespace faultline::otlp {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr char kPrefix[] = "faultline.";
constexpr double kMaxSeconds = 315'576'000'000;  // duration.proto

// Fields that the server or the spans themselves fill in.
bool IsOurs(const FieldDescriptor& field) {
  const std::string& owner = field.containing_type()->name();
  const std::string& name = field.name();
  if (owner == "Trace") {
    return name == "trace_id" || name == "project" || name == "start_time" ||
           name == "end_time" || name == "steps" || name == "closing" ||
           name == "left_out";
  }
  return (owner == "Step" && (name == "start_offset" || name == "duration")) ||
         (owner == "Decision" && name == "step") ||
         (owner == "Annotation" && name == "culprit_step");
}

absl::Status BadValue(absl::string_view key, absl::string_view form,
                      const AnyValue& value) {
  constexpr size_t kShown = 48;
  const std::string text = TextOf(value);
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(
          v1::ErrorDetail::REASON_MALFORMED,
          absl::StrCat("attributes[", trace::RepairUtf8(key.substr(0, 128)),
                       "]"),
          form,
          absl::StrCat("is \"", absl::CHexEscape(text.substr(0, kShown)),
                       text.size() > kShown ? "..." : "",
                       "\"; send another value or leave it out")));
}

// The value that `text` names: with its prefix or without, in any case. Null:
// none.
const EnumValueDescriptor* FindEnumValue(const EnumDescriptor& type,
                                         absl::string_view text) {
  const std::string name = absl::AsciiStrToUpper(text);
  const std::string& zero = type.value(0)->name();
  const std::string prefix = zero.substr(0, zero.rfind("UNSPECIFIED"));
  const EnumValueDescriptor* value = type.FindValueByName(name);
  return value != nullptr ? value : type.FindValueByName(prefix + name);
}

std::string EnumForm(const EnumDescriptor& type) {
  const std::string& zero = type.value(0)->name();
  const size_t prefix = zero.rfind("UNSPECIFIED");
  std::vector<std::string> names;
  for (int i = 1; i < type.value_count(); ++i) {
    names.push_back(
        absl::AsciiStrToLower(type.value(i)->name().substr(prefix)));
  }
  return absl::StrCat("one of ", absl::StrJoin(names, ", "));
}

// Fills messages from attributes by reflection: the descriptors of trace.proto
// are the list of what there is.
class FieldReader {
 public:
  uint64_t ignored() const { return ignored_; }

  absl::Status ReadMessage(const AttributeView& view, Message* message) {
    const Descriptor& type = *message->GetDescriptor();
    for (size_t i = 0; i < view.size();) {
      const absl::string_view segment =
          view.name(i).substr(0, view.name(i).find('.'));
      const std::string name(segment);
      const FieldDescriptor* field = type.FindFieldByName(name);
      const bool leaf = view.name(i).size() == segment.size();
      const AttributeView below =
          leaf ? AttributeView() : view.Under(name + ".");
      if (field == nullptr || IsOurs(*field)) {
        ignored_ += leaf ? 1 : below.size();
      } else if (leaf) {
        FAULTLINE_RETURN_IF_ERROR(
            ReadLeaf(view.value(i), view.key(i), *field, message));
      } else {
        FAULTLINE_RETURN_IF_ERROR(ReadBranch(below, *field, message));
      }
      i += leaf ? 1 : below.size();
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadBranch(const AttributeView& below,
                          const FieldDescriptor& field, Message* message) {
    const Reflection& reflection = *message->GetReflection();
    if (field.is_map()) {
      const Descriptor& entry_type = *field.message_type();
      for (size_t i = 0; i < below.size(); ++i) {
        Message* entry = reflection.AddMessage(message, &field);
        entry->GetReflection()->SetString(entry, entry_type.map_key(),
                                          std::string(below.name(i)));
        FAULTLINE_RETURN_IF_ERROR(SetValue(below.value(i), below.key(i),
                                           *entry_type.map_value(),
                                           /*append=*/false, entry));
      }
    } else if (field.message_type() == nullptr || IsDuration(field)) {
      ignored_ += below.size();
    } else if (field.is_repeated()) {
      size_t read = 0;
      for (const AttributeView& element : below.Elements()) {
        read += element.size();
        FAULTLINE_RETURN_IF_ERROR(
            ReadMessage(element, reflection.AddMessage(message, &field)));
      }
      ignored_ += below.size() - read;
    } else {
      return ReadMessage(below, reflection.MutableMessage(message, &field));
    }
    return absl::OkStatus();
  }

  absl::Status ReadLeaf(const AnyValue& value, absl::string_view key,
                        const FieldDescriptor& field, Message* message) {
    if (field.message_type() != nullptr && !IsDuration(field)) {
      ++ignored_;
      return absl::OkStatus();
    }
    if (!field.is_repeated()) {
      return SetValue(value, key, field, /*append=*/false, message);
    }
    if (!value.has_array_value()) return BadValue(key, "a list", value);
    for (const AnyValue& element : value.array_value().values()) {
      FAULTLINE_RETURN_IF_ERROR(
          SetValue(element, key, field, /*append=*/true, message));
    }
    return absl::OkStatus();
  }

  static bool IsDuration(const FieldDescriptor& field) {
    return field.message_type() == google::protobuf::Duration::descriptor();
  }

  static absl::Status SetValue(const AnyValue& value, absl::string_view key,
                               const FieldDescriptor& field, bool append,
                               Message* message) {
    const Reflection& reflection = *message->GetReflection();
    const std::optional<double> number = NumberOf(value);
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        reflection.SetString(message, &field, TextOf(value));
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_BOOL: {
        const std::optional<bool> flag = FlagOf(value);
        if (!flag.has_value()) return BadValue(key, "true or false", value);
        reflection.SetBool(message, &field, *flag);
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_DOUBLE:
        if (!number.has_value()) return BadValue(key, "a number", value);
        reflection.SetDouble(message, &field, *number);
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_FLOAT:
        if (!number.has_value()) return BadValue(key, "numbers", value);
        if (append) {
          reflection.AddFloat(message, &field, static_cast<float>(*number));
        } else {
          reflection.SetFloat(message, &field, static_cast<float>(*number));
        }
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_UINT64: {
        const std::optional<uint64_t> count = CountOf(value);
        if (!count.has_value()) {
          return BadValue(key, "a whole number, not negative", value);
        }
        reflection.SetUInt64(message, &field, *count);
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        const EnumDescriptor& type = *field.enum_type();
        const EnumValueDescriptor* named =
            FindEnumValue(type, value.string_value());
        if (named == nullptr) return BadValue(key, EnumForm(type), value);
        reflection.SetEnum(message, &field, named);
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_MESSAGE: {  // a duration
        if (!number.has_value() || *number < 0 || *number > kMaxSeconds) {
          return BadValue(key, "seconds, not negative", value);
        }
        google::protobuf::Duration duration;
        duration.set_seconds(static_cast<int64_t>(*number));
        duration.set_nanos(
            static_cast<int32_t>((*number - std::floor(*number)) * 1e9));
        reflection.MutableMessage(message, &field)->CopyFrom(duration);
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_INT64:
      case FieldDescriptor::CPPTYPE_UINT32:
        break;
    }
    return absl::InternalError(
        absl::StrCat(field.full_name(), " is of a type without attribute"));
  }

  uint64_t ignored_ = 0;
};

}  // namespace

absl::Status ReadFaultline(const AttributeView& attributes, Draft* draft) {
  const AttributeView ours = attributes.Under(kPrefix);
  if (ours.empty()) return absl::OkStatus();
  const AnyValue* closed = ours.Find("run.closed");
  if (closed != nullptr) {
    const std::optional<bool> flag = FlagOf(*closed);
    if (!flag.has_value()) {
      return BadValue("faultline.run.closed", "true or false", *closed);
    }
    draft->closes_run = *flag;
  }
  const AttributeView step = ours.Under("step.");
  FieldReader reader;
  FAULTLINE_RETURN_IF_ERROR(reader.ReadMessage(step, &draft->step));
  FAULTLINE_RETURN_IF_ERROR(reader.ReadMessage(ours, &draft->part));
  // A run has no fields `step` and `run`.
  draft->ignored +=
      reader.ignored() - step.size() - (closed != nullptr ? 1 : 0);
  return absl::OkStatus();
}

}  // namespace faultline::otlp
