#include "client/importers/json_fields.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"

namespace faultline::importers {
namespace {

using nlohmann::json;

absl::Status NotJson(v1::ErrorDetail::Reason reason, absl::string_view limit,
                     absl::string_view message) {
  return base::DetailedError(absl::StatusCode::kInvalidArgument,
                             base::MakeErrorDetail(reason, "", limit, message));
}

// What stands there, without the value itself.
std::string Seen(const json& value) {
  return absl::StrCat("is a JSON ", value.type_name());
}

}  // namespace

absl::StatusOr<json> ParseJsonObject(absl::string_view text) {
  bool too_deep = false;
  const auto limit_depth = [&too_deep](int depth, json::parse_event_t event,
                                       json&) {
    if (event == json::parse_event_t::object_start ||
        event == json::parse_event_t::array_start) {
      too_deep |= depth >= kMaxJsonDepth;
    }
    return !too_deep;
  };
  json value;
  try {
    value = json::parse(text.begin(), text.end(), limit_depth);
  } catch (const json::parse_error& e) {
    return NotJson(v1::ErrorDetail::REASON_MALFORMED, "",
                   absl::StrCat("not valid JSON at byte ", e.byte));
  } catch (const json::exception&) {
    return NotJson(v1::ErrorDetail::REASON_MALFORMED, "a 64-bit number",
                   "a number is out of range");
  }
  if (too_deep) {
    return NotJson(v1::ErrorDetail::REASON_TOO_MANY,
                   absl::StrCat("at most ", kMaxJsonDepth, " levels"),
                   "the JSON is nested too deeply");
  }
  if (!value.is_object()) {
    return NotJson(v1::ErrorDetail::REASON_MALFORMED, "a JSON object",
                   absl::StrCat("the record ", Seen(value)));
  }
  return value;
}

std::string JsonText(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

JsonFields::JsonFields(const json& object, absl::Status* error)
    : JsonFields(object, "", error) {}

JsonFields::JsonFields(const json& object, std::string path,
                       absl::Status* error)
    : object_(object), path_(std::move(path)), error_(error) {}

const json* JsonFields::Find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

std::string JsonFields::PathOf(absl::string_view key) const {
  return absl::StrCat(path_, path_.empty() ? "" : ".", key);
}

void JsonFields::Fail(absl::string_view key, absl::string_view expected,
                      absl::string_view seen) const {
  if (!error_->ok()) return;
  *error_ = base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_MALFORMED, PathOf(key),
                            expected, seen));
}

bool JsonFields::Has(const char* key) const { return Find(key) != nullptr; }

std::string JsonFields::Text(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return "";
  if (const auto* text = value->get_ptr<const json::string_t*>()) return *text;
  Fail(key, "text", Seen(*value));
  return "";
}

std::string JsonFields::AnyText(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return "";
  if (const auto* text = value->get_ptr<const json::string_t*>()) return *text;
  return JsonText(*value);
}

std::optional<double> JsonFields::Number(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) return value->get<double>();
  Fail(key, "a number", Seen(*value));
  return std::nullopt;
}

std::optional<int32_t> JsonFields::Integer(const char* key) const {
  const std::optional<double> number = Number(key);
  if (!number.has_value()) return std::nullopt;
  if (*number == std::floor(*number) && std::abs(*number) <= INT32_MAX) {
    return static_cast<int32_t>(*number);
  }
  Fail(key, "a whole number of 32 bits", "is another number");
  return std::nullopt;
}

std::optional<bool> JsonFields::Flag(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, "true or false", Seen(*value));
  return std::nullopt;
}

std::vector<std::string> JsonFields::Texts(const char* key) const {
  std::vector<std::string> texts;
  const json* value = Find(key);
  if (value == nullptr) return texts;
  if (!value->is_array()) {
    Fail(key, "an array of texts", Seen(*value));
    return texts;
  }
  for (const json& element : *value) {
    if (const auto* text = element.get_ptr<const json::string_t*>()) {
      texts.push_back(*text);
    } else {
      Fail(absl::StrCat(key, "[", texts.size(), "]"), "text", Seen(element));
      return {};
    }
  }
  return texts;
}

void JsonFields::Object(
    const char* key,
    const std::function<void(const JsonFields&)>& visit) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_object()) return Fail(key, "an object", Seen(*value));
  visit(JsonFields(*value, PathOf(key), error_));
}

void JsonFields::Objects(
    const char* key,
    const std::function<void(const JsonFields&)>& visit) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_array()) {
    return Fail(key, "an array of objects", Seen(*value));
  }
  for (size_t i = 0; i < value->size(); ++i) {
    const std::string element = absl::StrCat(key, "[", i, "]");
    if (!(*value)[i].is_object()) {
      return Fail(element, "an object", Seen((*value)[i]));
    }
    visit(JsonFields((*value)[i], PathOf(element), error_));
  }
}

}  // namespace faultline::importers
