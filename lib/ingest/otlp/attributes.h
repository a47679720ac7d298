#ifndef FAULTLINE_LIB_INGEST_OTLP_ATTRIBUTES_H_
#define FAULTLINE_LIB_INGEST_OTLP_ATTRIBUTES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "opentelemetry/proto/common/v1/common.pb.h"

namespace faultline::otlp {

using opentelemetry::proto::common::v1::AnyValue;
using opentelemetry::proto::common::v1::KeyValue;

using KeyValues = google::protobuf::RepeatedPtrField<KeyValue>;

// Values as other types; nothing where that makes no sense.

// Text as it is; lists and maps as JSON, bytes as base64, null as "".
std::string TextOf(const AnyValue& value);
// Numbers, and texts that are one. Always finite.
std::optional<double> NumberOf(const AnyValue& value);
// Whole numbers from 0 on.
std::optional<uint64_t> CountOf(const AnyValue& value);
// Flags, and the texts `true` and `false`.
std::optional<bool> FlagOf(const AnyValue& value);

// One attribute; points into the message that it was read from.
struct Attribute {
  absl::string_view key;
  const AnyValue* value;
};

// The attributes whose keys have one prefix, by what follows it. Lists that
// are flattened to keys (`tools.0.name`, `tools.1.name`) are read with
// Elements. Points into an AttributeTable. Immutable, so thread-safe.
class AttributeView {
 public:
  AttributeView() = default;
  // `attributes` ascend by key; `prefix` bytes are the same in all.
  AttributeView(absl::Span<const Attribute> attributes, size_t prefix)
      : attributes_(attributes), prefix_(prefix) {}

  bool empty() const { return attributes_.empty(); }
  size_t size() const { return attributes_.size(); }
  absl::string_view name(size_t i) const {
    return attributes_[i].key.substr(prefix_);
  }
  // The whole key.
  absl::string_view key(size_t i) const { return attributes_[i].key; }
  const AnyValue& value(size_t i) const { return *attributes_[i].value; }

  // Null where there is none.
  const AnyValue* Find(absl::string_view name) const;
  // The value where it is a text that is not empty; else "".
  absl::string_view Text(absl::string_view name) const;
  // As the functions above, of the value, if any.
  std::optional<double> Number(absl::string_view name) const;
  std::optional<uint64_t> Count(absl::string_view name) const;
  std::optional<bool> Flag(absl::string_view name) const;

  // The attributes whose names begin with `prefix`.
  AttributeView Under(absl::string_view prefix) const;
  // Those of each element of the list flattened to `LIST.INDEX.`, by ascending
  // index; gaps do not matter.
  std::vector<AttributeView> Elements(absl::string_view list) const;
  // The same for the list flattened to `INDEX.`.
  std::vector<AttributeView> Elements() const;

 private:
  absl::Span<const Attribute> attributes_;
  size_t prefix_ = 0;
};

// The attributes of one span, event or resource, in the order of their keys.
// Points into the message. Immutable, so thread-safe.
class AttributeTable {
 public:
  // Of attributes with the same key the last one counts; those that refer to a
  // string table, which only profiles have, are left out.
  explicit AttributeTable(const KeyValues& attributes);

  AttributeView view() const { return AttributeView(attributes_, 0); }
  // How many refer to a string table.
  uint64_t string_indexes() const { return string_indexes_; }

 private:
  std::vector<Attribute> attributes_;
  uint64_t string_indexes_ = 0;
};

}  // namespace faultline::otlp

#endif  // FAULTLINE_LIB_INGEST_OTLP_ATTRIBUTES_H_
