#include "lib/ingest/otlp/attributes.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/ingest/otlp/json_value.h"

namespace faultline::otlp {
namespace {

// Longest index of a flattened list, in digits: fits into 32 bits.
constexpr size_t kIndexDigits = 9;
// Whole numbers up to here have one double each.
constexpr double kMaxWhole = 9007199254740992;  // 2^53

// Digits before the first point, or "" where the name has another form.
absl::string_view IndexOf(absl::string_view name) {
  size_t digits = 0;
  while (digits < name.size() &&
         absl::ascii_isdigit(static_cast<unsigned char>(name[digits]))) {
    ++digits;
  }
  const bool good = digits > 0 && digits <= kIndexDigits &&
                    digits < name.size() && name[digits] == '.';
  return good ? name.substr(0, digits) : "";
}

}  // namespace

std::string TextOf(const AnyValue& value) {
  switch (value.value_case()) {
    case AnyValue::kStringValue:
      return value.string_value();
    case AnyValue::kBytesValue:
      return absl::Base64Escape(value.bytes_value());
    case AnyValue::kBoolValue:
    case AnyValue::kIntValue:
    case AnyValue::kDoubleValue:
    case AnyValue::kArrayValue:
    case AnyValue::kKvlistValue:
      return WriteJson(ToJson(value));
    case AnyValue::kStringValueStrindex:
    case AnyValue::VALUE_NOT_SET:
      break;
  }
  return "";
}

std::optional<double> NumberOf(const AnyValue& value) {
  double number = 0;
  if (value.has_double_value()) {
    number = value.double_value();
  } else if (value.has_int_value()) {
    number = static_cast<double>(value.int_value());
  } else if (!value.has_string_value() ||
             !absl::SimpleAtod(value.string_value(), &number)) {
    return std::nullopt;
  }
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

std::optional<uint64_t> CountOf(const AnyValue& value) {
  if (value.has_int_value()) {
    if (value.int_value() < 0) return std::nullopt;
    return value.int_value();
  }
  const std::optional<double> number = NumberOf(value);
  if (!number.has_value() || *number < 0 || *number > kMaxWhole ||
      *number != std::floor(*number)) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(*number);
}

std::optional<bool> FlagOf(const AnyValue& value) {
  if (value.has_bool_value()) return value.bool_value();
  if (value.string_value() == "true") return true;
  if (value.string_value() == "false") return false;
  return std::nullopt;
}

const AnyValue* AttributeView::Find(absl::string_view name) const {
  const auto found = std::lower_bound(
      attributes_.begin(), attributes_.end(), name,
      [this](const Attribute& attribute, absl::string_view wanted) {
        return attribute.key.substr(prefix_) < wanted;
      });
  if (found == attributes_.end() || found->key.substr(prefix_) != name) {
    return nullptr;
  }
  return found->value;
}

absl::string_view AttributeView::Text(absl::string_view name) const {
  const AnyValue* value = Find(name);
  return value == nullptr ? absl::string_view() : value->string_value();
}

std::optional<double> AttributeView::Number(absl::string_view name) const {
  const AnyValue* value = Find(name);
  return value == nullptr ? std::nullopt : NumberOf(*value);
}

std::optional<uint64_t> AttributeView::Count(absl::string_view name) const {
  const AnyValue* value = Find(name);
  return value == nullptr ? std::nullopt : CountOf(*value);
}

std::optional<bool> AttributeView::Flag(absl::string_view name) const {
  const AnyValue* value = Find(name);
  return value == nullptr ? std::nullopt : FlagOf(*value);
}

AttributeView AttributeView::Under(absl::string_view prefix) const {
  const auto begin = std::lower_bound(
      attributes_.begin(), attributes_.end(), prefix,
      [this](const Attribute& attribute, absl::string_view wanted) {
        return attribute.key.substr(prefix_) < wanted;
      });
  const auto end =
      std::partition_point(begin, attributes_.end(), [&](const Attribute& a) {
        return a.key.substr(prefix_, prefix.size()) == prefix;
      });
  return AttributeView(
      attributes_.subspan(begin - attributes_.begin(), end - begin),
      prefix_ + prefix.size());
}

std::vector<AttributeView> AttributeView::Elements(
    absl::string_view list) const {
  return Under(absl::StrCat(list, ".")).Elements();
}

std::vector<AttributeView> AttributeView::Elements() const {
  // Keys of one element are neighbours, but element 10 comes before 2.
  std::vector<std::pair<uint32_t, AttributeView>> found;
  for (size_t i = 0; i < size();) {
    const absl::string_view digits = IndexOf(name(i));
    if (digits.empty()) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < size() && IndexOf(name(end)) == digits) ++end;
    uint32_t index = 0;
    if (absl::SimpleAtoi(digits, &index)) {
      found.emplace_back(index, AttributeView(attributes_.subspan(i, end - i),
                                              prefix_ + digits.size() + 1));
    }
    i = end;
  }
  std::stable_sort(
      found.begin(), found.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<AttributeView> elements;
  elements.reserve(found.size());
  for (const auto& [index, view] : found) elements.push_back(view);
  return elements;
}

AttributeTable::AttributeTable(const KeyValues& attributes) {
  attributes_.reserve(attributes.size());
  for (const KeyValue& attribute : attributes) {
    if (attribute.key_strindex() != 0 ||
        attribute.value().has_string_value_strindex()) {
      ++string_indexes_;
    } else if (attribute.value().value_case() != AnyValue::VALUE_NOT_SET) {
      attributes_.push_back({attribute.key(), &attribute.value()});
    }
  }
  std::stable_sort(
      attributes_.begin(), attributes_.end(),
      [](const Attribute& a, const Attribute& b) { return a.key < b.key; });
  size_t kept = 0;
  for (const Attribute& attribute : attributes_) {
    if (kept > 0 && attributes_[kept - 1].key == attribute.key) --kept;
    attributes_[kept++] = attribute;
  }
  attributes_.resize(kept);
}

}  // namespace faultline::otlp
