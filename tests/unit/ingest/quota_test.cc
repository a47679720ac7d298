#include "lib/ingest/quota.h"

#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "tests/support/status_matchers.h"

namespace faultline::ingest {
namespace {

using ::testing::HasSubstr;

v1::QuotaConfig Records(double per_second) {
  v1::QuotaConfig limits;
  limits.set_records_per_second(per_second);
  return limits;
}

// What a refusal says; nothing where it is none.
std::optional<absl::Duration> Delay(const absl::Status& status) {
  const auto detail = base::GetErrorDetail(status);
  if (!absl::IsResourceExhausted(status) || !detail.has_value() ||
      detail->reason() != v1::ErrorDetail::REASON_QUOTA) {
    return std::nullopt;
  }
  return absl::Seconds(detail->retry_delay().seconds()) +
         absl::Nanoseconds(detail->retry_delay().nanos());
}

TEST(QuotaTest, WithoutLimitsEverythingPasses) {
  Quota quota;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_OK(quota.Take({}, 1 << 20, 1 << 30, 1 << 30, absl::ZeroDuration()));
  }
}

TEST(QuotaTest, ABurstOfTenSecondsPassesAndThenTheRateHolds) {
  Quota quota;
  absl::Duration now = absl::Hours(5);
  EXPECT_OK(quota.Take(Records(100), 1000, 0, 0, now));
  EXPECT_EQ(Delay(quota.Take(Records(100), 50, 0, 0, now)),
            absl::Milliseconds(500));
  // What was refused took nothing.
  now += absl::Milliseconds(500);
  EXPECT_OK(quota.Take(Records(100), 50, 0, 0, now));
  EXPECT_EQ(Delay(quota.Take(Records(100), 1, 0, 0, now)),
            absl::Milliseconds(10));
  // Rest is not saved up beyond the burst.
  now += absl::Hours(1);
  EXPECT_OK(quota.Take(Records(100), 1000, 0, 0, now));
  EXPECT_NE(Delay(quota.Take(Records(100), 1, 0, 0, now)), std::nullopt);
}

TEST(QuotaTest, ABatchLargerThanTheBurstPassesWhenTheBucketIsFull) {
  Quota quota;
  EXPECT_OK(quota.Take(Records(1), 4096, 0, 0, absl::ZeroDuration()));
  // It is paid for later.
  EXPECT_EQ(Delay(quota.Take(Records(1), 1, 0, 0, absl::ZeroDuration())),
            absl::Seconds(4087));
}

TEST(QuotaTest, BytesAreLimitedAsRecordsAre) {
  Quota quota;
  v1::QuotaConfig limits;
  limits.set_bytes_per_second(1000);
  EXPECT_OK(quota.Take(limits, 1, 10'000, 0, absl::ZeroDuration()));
  const absl::Status refused =
      quota.Take(limits, 1, 2'000, 0, absl::ZeroDuration());
  EXPECT_EQ(Delay(refused), absl::Seconds(2));
  EXPECT_THAT(refused.message(), HasSubstr("quota.bytes_per_second"));
  EXPECT_THAT(refused.message(), HasSubstr("1000 bytes a second"));
}

TEST(QuotaTest, WhatFailsOneLimitTakesNothingOfTheOther) {
  Quota quota;
  v1::QuotaConfig limits = Records(1);
  limits.set_bytes_per_second(1);
  EXPECT_OK(quota.Take(limits, 1, 10, 0, absl::ZeroDuration()));
  EXPECT_NE(Delay(quota.Take(limits, 9, 1, 0, absl::ZeroDuration())),
            std::nullopt);
  EXPECT_OK(quota.Take(limits, 9, 0, 0, absl::ZeroDuration()));
}

TEST(QuotaTest, StorageIsLimitedByWhatWouldBeStored) {
  Quota quota;
  v1::QuotaConfig limits;
  limits.set_stored_bytes(1000);
  EXPECT_OK(quota.Take(limits, 1, 100, 900, absl::ZeroDuration()));
  const absl::Status refused =
      quota.Take(limits, 1, 101, 900, absl::ZeroDuration());
  EXPECT_EQ(Delay(refused), absl::Minutes(1));
  EXPECT_THAT(refused.message(), HasSubstr("stores 900 bytes"));
}

TEST(QuotaTest, ALimitSetLaterBeginsWithAFullBucket) {
  Quota quota;
  EXPECT_OK(quota.Take({}, 1'000'000, 0, 0, absl::ZeroDuration()));
  EXPECT_OK(quota.Take(Records(10), 100, 0, 0, absl::ZeroDuration()));
  EXPECT_NE(Delay(quota.Take(Records(10), 1, 0, 0, absl::ZeroDuration())),
            std::nullopt);
}

}  // namespace
}  // namespace faultline::ingest
