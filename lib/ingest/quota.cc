#include "lib/ingest/quota.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"

namespace faultline::ingest {
namespace {

constexpr double kBurstSeconds = 10;
// What is stored shrinks by retention and deletion only, which are slow.
constexpr absl::Duration kStorageDelay = absl::Minutes(1);
// Below it a caller would only come too early.
constexpr absl::Duration kLeastDelay = absl::Milliseconds(10);

absl::Status OverQuota(absl::string_view field, absl::string_view limit,
                       absl::string_view message, absl::Duration delay) {
  v1::ErrorDetail detail = base::MakeErrorDetail(v1::ErrorDetail::REASON_QUOTA,
                                                 field, limit, message);
  delay = std::max(delay, kLeastDelay);
  detail.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  detail.mutable_retry_delay()->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(delay % absl::Seconds(1))));
  return base::DetailedError(absl::StatusCode::kResourceExhausted, detail);
}

absl::Status OverRate(absl::string_view field, double rate,
                      absl::string_view unit, absl::Duration delay) {
  return OverQuota(
      field, absl::StrCat(rate, " ", unit, " a second, averaged over 10 s"),
      "the project sends more than its quota; send again later", delay);
}

}  // namespace

void Quota::Bucket::Fill(double rate, absl::Duration elapsed) {
  const double full = rate * kBurstSeconds;
  level = limited
              ? std::min(full, level + rate * absl::ToDoubleSeconds(elapsed))
              : full;
  limited = rate > 0;
}

absl::Duration Quota::Bucket::WaitFor(double amount, double rate) const {
  const double missing = std::min(amount, rate * kBurstSeconds) - level;
  return missing <= 0 ? absl::ZeroDuration() : absl::Seconds(missing / rate);
}

absl::Status Quota::Take(const v1::QuotaConfig& limits, uint64_t records,
                         uint64_t bytes, uint64_t stored_bytes,
                         absl::Duration now) {
  if (limits.stored_bytes() > 0 &&
      stored_bytes + bytes > limits.stored_bytes()) {
    return OverQuota("quota.stored_bytes",
                     absl::StrCat(limits.stored_bytes(), " bytes stored"),
                     absl::StrCat("the project stores ", stored_bytes,
                                  " bytes; delete runs, keep them shorter or "
                                  "raise the quota"),
                     kStorageDelay);
  }
  const absl::Duration elapsed = now - last_;
  last_ = now;
  const double record_rate = limits.records_per_second();
  const double byte_rate = limits.bytes_per_second();
  records_.Fill(record_rate, elapsed);
  bytes_.Fill(byte_rate, elapsed);
  if (record_rate > 0) {
    const absl::Duration wait =
        records_.WaitFor(static_cast<double>(records), record_rate);
    if (wait > absl::ZeroDuration()) {
      return OverRate("quota.records_per_second", record_rate, "records", wait);
    }
  }
  if (byte_rate > 0) {
    const absl::Duration wait =
        bytes_.WaitFor(static_cast<double>(bytes), byte_rate);
    if (wait > absl::ZeroDuration()) {
      return OverRate("quota.bytes_per_second", byte_rate, "bytes", wait);
    }
  }
  records_.level -= static_cast<double>(records);
  bytes_.level -= static_cast<double>(bytes);
  return absl::OkStatus();
}

}  // namespace faultline::ingest
