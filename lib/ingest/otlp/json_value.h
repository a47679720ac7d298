#ifndef FAULTLINE_LIB_INGEST_OTLP_JSON_VALUE_H_
#define FAULTLINE_LIB_INGEST_OTLP_JSON_VALUE_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/ingest/otlp/attributes.h"
#include "nlohmann/json.hpp"

// Attributes that hold structure, whether as OTLP values or as JSON in a text:
// the conventions allow both. Pure functions.
namespace faultline::otlp {

// Members ascend by key. (The kind that keeps their order is quadratic.)
using Json = nlohmann::json;

// The value as JSON; bytes as base64.
Json ToJson(const AnyValue& value);

// The JSON that the value holds, as structure or as text. Nothing where the
// text is no JSON, or so long that reading it would cost more than it tells.
std::optional<Json> ReadJson(const AnyValue& value);
std::optional<Json> ReadJson(absl::string_view text);

// On one line. Bytes that are not UTF-8 become U+FFFD.
std::string WriteJson(const Json& value);

// A member that is a text; "" where there is none. Points into `object`.
absl::string_view TextMember(const Json& object, const char* key);
// A member that is a finite number.
std::optional<double> NumberMember(const Json& object, const char* key);

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_JSON_VALUE_H_
