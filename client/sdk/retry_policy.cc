#include "client/sdk/retry_policy.h"

#include <algorithm>
#include <optional>

#include "lib/base/error_detail.h"
#include "lib/base/hash.h"

namespace faultline::sdk {
namespace {

absl::Duration RequestedDelay(const absl::Status& status) {
  const std::optional<v1::ErrorDetail> detail = base::GetErrorDetail(status);
  if (!detail.has_value()) return absl::ZeroDuration();
  return absl::Seconds(detail->retry_delay().seconds()) +
         absl::Nanoseconds(detail->retry_delay().nanos());
}

absl::Status Invalid(absl::string_view field, absl::string_view limit) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_OUT_OF_RANGE, field, limit,
                            "is out of range"));
}

}  // namespace

absl::Status ValidateRetryPolicy(const RetryPolicy& policy) {
  if (policy.initial_delay <= absl::ZeroDuration()) {
    return Invalid("retry.initial_delay", "above zero");
  }
  if (policy.max_delay < policy.initial_delay ||
      policy.max_delay == absl::InfiniteDuration()) {
    return Invalid("retry.max_delay", "finite, at least initial_delay");
  }
  if (!(policy.multiplier >= 1)) {
    return Invalid("retry.multiplier", "at least 1");
  }
  if (!(policy.jitter >= 0 && policy.jitter <= 1)) {
    return Invalid("retry.jitter", "in [0, 1]");
  }
  return absl::OkStatus();
}

bool IsRetryable(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kUnknown:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return RequestedDelay(status) > absl::ZeroDuration();
    default:
      return false;
  }
}

Backoff::Backoff(const RetryPolicy& policy, const base::Clock& clock,
                 absl::string_view client_name)
    : policy_(policy),
      random_(base::Hash64(
          client_name, static_cast<uint64_t>(absl::ToUnixNanos(clock.Now())))),
      delay_(policy.initial_delay) {}

absl::Duration Backoff::Next(const absl::Status& failure) {
  absl::Duration delay = policy_.max_delay;
  if (IsRetryable(failure)) {
    delay = delay_;
    delay_ = std::min(delay_ * policy_.multiplier, policy_.max_delay);
  }
  delay *= 1 - policy_.jitter * random_.Uniform();
  return std::max(delay, RequestedDelay(failure));
}

}  // namespace faultline::sdk
