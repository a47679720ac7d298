#include "server/request_check.h"

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"

namespace faultline::server {
namespace {

absl::Status OutOfBounds(absl::string_view field, bool missing,
                         v1::ErrorDetail::Reason too_much, size_t least,
                         size_t most, absl::string_view unit, size_t seen) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(
          missing ? v1::ErrorDetail::REASON_REQUIRED : too_much, field,
          absl::StrCat(least, " to ", most, " ", unit),
          missing ? "is missing" : absl::StrCat("got ", seen, " ", unit)));
}

}  // namespace

absl::Status CheckLength(absl::string_view field, absl::string_view text,
                         size_t least, size_t most) {
  if (text.size() >= least && text.size() <= most) return absl::OkStatus();
  return OutOfBounds(field, text.empty(), v1::ErrorDetail::REASON_TOO_LONG,
                     least, most, "bytes", text.size());
}

absl::Status CheckCount(absl::string_view field, int count, int least,
                        int most) {
  if (count >= least && count <= most) return absl::OkStatus();
  return OutOfBounds(field, count == 0, v1::ErrorDetail::REASON_TOO_MANY, least,
                     most, "elements", count);
}

absl::Status CheckRange(absl::string_view field, int value, int least,
                        int most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_OUT_OF_RANGE, field,
                            absl::StrCat(least, " to ", most),
                            absl::StrCat("got ", value)));
}

}  // namespace faultline::server
