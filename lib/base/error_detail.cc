#include "lib/base/error_detail.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace faultline::base {
namespace {
constexpr char kPayload[] = "type.googleapis.com/faultline.v1.ErrorDetail";
}  // namespace

v1::ErrorDetail MakeErrorDetail(v1::ErrorDetail::Reason reason,
                                absl::string_view field,
                                absl::string_view limit,
                                absl::string_view message) {
  v1::ErrorDetail detail;
  detail.set_reason(reason);
  detail.set_field(field.data(), field.size());
  detail.set_limit(limit.data(), limit.size());
  detail.set_message(message.data(), message.size());
  return detail;
}

absl::Status DetailedError(absl::StatusCode code,
                           const v1::ErrorDetail& detail) {
  std::string message;
  if (!detail.field().empty()) absl::StrAppend(&message, detail.field(), ": ");
  absl::StrAppend(&message, detail.message());
  if (!detail.limit().empty())
    absl::StrAppend(&message, " (", detail.limit(), ")");
  absl::Status status(code, message);
  status.SetPayload(kPayload, absl::Cord(detail.SerializeAsString()));
  return status;
}

std::string CutText(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes;
  while (end > 0 && (text[end] & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

std::optional<v1::ErrorDetail> GetErrorDetail(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  v1::ErrorDetail detail;
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) {
    return std::nullopt;
  }
  return detail;
}

}  // namespace faultline::base
