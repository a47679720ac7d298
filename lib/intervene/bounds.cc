#include "lib/intervene/bounds.h"

#include <cmath>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"

namespace faultline::intervene {
namespace {
constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxWeights = 64;
constexpr double kWeightTolerance = 1e-6;
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

absl::Status CheckWeights(absl::string_view field,
                          absl::string_view weight_name, size_t least_count,
                          double least, absl::Span<const NamedWeight> weights) {
  const std::string limit = absl::StrCat(least_count, " to ", kMaxWeights);
  if (weights.size() < least_count) {
    return Invalid(v1::ErrorDetail::REASON_REQUIRED, field, limit,
                   absl::StrCat("has ", weights.size()));
  }
  if (weights.size() > kMaxWeights) {
    return Invalid(v1::ErrorDetail::REASON_TOO_MANY, field, limit,
                   absl::StrCat("has ", weights.size()));
  }
  double sum = 0;
  absl::flat_hash_set<absl::string_view> names;
  for (size_t i = 0; i < weights.size(); ++i) {
    const NamedWeight& entry = weights[i];
    const std::string place = absl::StrCat(field, "[", i, "]");
    FAULTLINE_RETURN_IF_ERROR(
        CheckName(absl::StrCat(place, ".name"), entry.name));
    if (!names.insert(entry.name).second) {
      return Invalid(v1::ErrorDetail::REASON_CONFLICT,
                     absl::StrCat(place, ".name"), "each name once",
                     absl::StrCat("repeats ", entry.name));
    }
    FAULTLINE_RETURN_IF_ERROR(CheckRange(absl::StrCat(place, ".", weight_name),
                                         entry.weight, least, 1));
    sum += entry.weight;
  }
  if (std::abs(sum - 1) <= kWeightTolerance) return absl::OkStatus();
  return Invalid(v1::ErrorDetail::REASON_OUT_OF_RANGE, field,
                 "they add up to 1", absl::StrFormat("sum is %g", sum));
}

}  // namespace faultline::intervene
