#ifndef FAULTLINE_CLIENT_IMPORTERS_JSON_FIELDS_H_
#define FAULTLINE_CLIENT_IMPORTERS_JSON_FIELDS_H_

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline::importers {

// Deepest nesting of a record; what follows may recurse.
inline constexpr int kMaxJsonDepth = 64;

// The one place where the JSON library's exceptions end. INVALID_ARGUMENT, with
// an ErrorDetail that names the byte, where `text` is not JSON (invalid UTF-8
// and numbers out of range included), is deeper than kMaxJsonDepth or is no
// object.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text);

// `value` as compact JSON.
std::string JsonText(const nlohmann::json& value);

// Reads typed members of one JSON object. An absent member and null are alike.
// The first member of a wrong type is kept in the error that the whole record
// shares, with its path; from then on values are empty. Not thread-safe;
// outlives neither the object nor the error.
class JsonFields {
 public:
  // `error` starts OK and is shared by the object's children.
  JsonFields(const nlohmann::json& object, absl::Status* error);

  bool Has(const char* key) const;
  // Text, or empty.
  std::string Text(const char* key) const;
  // Text as it is, any other value as compact JSON, or empty.
  std::string AnyText(const char* key) const;
  std::optional<double> Number(const char* key) const;
  // A number without fraction that fits.
  std::optional<int32_t> Integer(const char* key) const;
  std::optional<bool> Flag(const char* key) const;
  // Texts of an array; elements of another type are an error.
  std::vector<std::string> Texts(const char* key) const;
  // Calls `visit` with the object, where there is one.
  void Object(const char* key,
              const std::function<void(const JsonFields&)>& visit) const;
  // Calls `visit` with each element of an array of objects.
  void Objects(const char* key,
               const std::function<void(const JsonFields&)>& visit) const;

  // Records a fault of member `key`, unless there is an earlier one.
  void Fail(absl::string_view key, absl::string_view expected,
            absl::string_view seen) const;

 private:
  JsonFields(const nlohmann::json& object, std::string path,
             absl::Status* error);

  // The member, or null where it is absent or null.
  const nlohmann::json* Find(const char* key) const;
  std::string PathOf(absl::string_view key) const;

  const nlohmann::json& object_;
  const std::string path_;  // of the object; empty: the record itself
  absl::Status* const error_;
};

}  // namespace faultline::importers

#endif  // FAULTLINE_CLIENT_IMPORTERS_JSON_FIELDS_H_
