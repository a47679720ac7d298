#include "lib/intervene/bounds.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/error_detail.h"

namespace faultline::intervene {
namespace {
constexpr size_t kMaxNameBytes = 128;
}  // namespace

absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

absl::Status CheckArm(const v1::Action& action, v1::Action::KindCase expected,
                      absl::string_view field) {
  if (action.kind_case() == expected) return absl::OkStatus();
  return Invalid(v1::ErrorDetail::REASON_REQUIRED, field, "must be set",
                 "is not the arm of the action");
}

absl::Status CheckName(absl::string_view field, absl::string_view value) {
  if (value.empty()) {
    return Invalid(v1::ErrorDetail::REASON_REQUIRED, field, "1 to 128 bytes",
                   "is empty");
  }
  return CheckOptionalName(field, value);
}

absl::Status CheckOptionalName(absl::string_view field,
                               absl::string_view value) {
  if (value.size() <= kMaxNameBytes) return absl::OkStatus();
  return Invalid(v1::ErrorDetail::REASON_TOO_LONG, field, "at most 128 bytes",
                 absl::StrCat("has ", value.size(), " bytes"));
}

absl::Status CheckRange(absl::string_view field, double value, double least,
                        double most) {
  if (!std::isfinite(value)) {
    return Invalid(v1::ErrorDetail::REASON_NOT_FINITE, field, "finite",
                   "is NaN or infinite");
  }
  if (value >= least && value <= most) return absl::OkStatus();
  return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, field,
                 absl::StrFormat("%g to %g", least, most),
                 absl::StrFormat("is %g", value));
}

}  // namespace faultline::intervene
