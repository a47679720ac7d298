#include "lib/ingest/otlp/json_value.h"

#include <cmath>

#include "absl/strings/escaping.h"

namespace faultline::otlp {
namespace {

// A parsed document takes an order more memory than its text.
constexpr size_t kMaxJsonBytes = 1 << 20;

const Json* Member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

Json ToJson(const AnyValue& value) {
  switch (value.value_case()) {
    case AnyValue::kStringValue:
      return value.string_value();
    case AnyValue::kBoolValue:
      return value.bool_value();
    case AnyValue::kIntValue:
      return value.int_value();
    case AnyValue::kDoubleValue:
      return value.double_value();
    case AnyValue::kArrayValue: {
      Json array = Json::array();
      for (const AnyValue& element : value.array_value().values()) {
        array.push_back(ToJson(element));
      }
      return array;
    }
    case AnyValue::kKvlistValue: {
      Json object = Json::object();
      for (const KeyValue& member : value.kvlist_value().values()) {
        object[member.key()] = ToJson(member.value());
      }
      return object;
    }
    case AnyValue::kBytesValue:
      return absl::Base64Escape(value.bytes_value());
    case AnyValue::kStringValueStrindex:
    case AnyValue::VALUE_NOT_SET:
      break;
  }
  return nullptr;
}

std::optional<Json> ReadJson(const AnyValue& value) {
  if (value.has_string_value()) return ReadJson(value.string_value());
  return ToJson(value);
}

std::optional<Json> ReadJson(absl::string_view text) {
  if (text.size() > kMaxJsonBytes) return std::nullopt;
  Json json = Json::parse(text.begin(), text.end(), nullptr,
                          /*allow_exceptions=*/false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

std::string WriteJson(const Json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/false,
                    Json::error_handler_t::replace);
}

absl::string_view TextMember(const Json& object, const char* key) {
  const Json* member = Member(object, key);
  if (member == nullptr || !member->is_string()) return "";
  return member->get_ref<const std::string&>();
}

std::optional<double> NumberMember(const Json& object, const char* key) {
  const Json* member = Member(object, key);
  if (member == nullptr || !member->is_number()) return std::nullopt;
  const double number = member->get<double>();
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

}  // namespace faultline::otlp
