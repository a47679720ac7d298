#include "client/sdk/retry_policy.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/error_detail.h"
#include "tests/fakes/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace faultline::sdk {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

absl::Status Overloaded(absl::StatusCode code, int retry_seconds) {
  v1::ErrorDetail detail =
      base::MakeErrorDetail(v1::ErrorDetail::REASON_OVERLOADED, "", "", "busy");
  if (retry_seconds > 0)
    detail.mutable_retry_delay()->set_seconds(retry_seconds);
  return base::DetailedError(code, detail);
}

TEST(IsRetryable, KnowsWhatRepeatingCanMend) {
  EXPECT_TRUE(IsRetryable(absl::UnavailableError("")));
  EXPECT_TRUE(IsRetryable(absl::DeadlineExceededError("")));
  EXPECT_TRUE(IsRetryable(absl::InternalError("")));
  EXPECT_FALSE(IsRetryable(absl::OkStatus()));
  EXPECT_FALSE(IsRetryable(absl::InvalidArgumentError("")));
  EXPECT_FALSE(IsRetryable(absl::UnauthenticatedError("")));
  EXPECT_FALSE(IsRetryable(absl::UnimplementedError("")));
}

TEST(IsRetryable, AQuotaOnlyWhereTheServerSaysWhen) {
  EXPECT_FALSE(
      IsRetryable(Overloaded(absl::StatusCode::kResourceExhausted, 0)));
  EXPECT_TRUE(IsRetryable(Overloaded(absl::StatusCode::kResourceExhausted, 5)));
}

class BackoffTest : public ::testing::Test {
 protected:
  fakes::FakeClock clock_;
};

TEST_F(BackoffTest, GrowsUpToItsLimitAndStartsAgainAfterReset) {
  RetryPolicy policy;
  policy.initial_delay = absl::Seconds(1);
  policy.max_delay = absl::Seconds(5);
  policy.jitter = 0;
  Backoff backoff(policy, clock_, "a");
  const absl::Status failure = absl::UnavailableError("");
  for (const int seconds : {1, 2, 4, 5, 5}) {
    EXPECT_EQ(backoff.Next(failure), absl::Seconds(seconds));
  }
  backoff.Reset();
  EXPECT_EQ(backoff.Next(failure), absl::Seconds(1));
}

TEST_F(BackoffTest, JitterShortensAndDiffersBetweenClients) {
  RetryPolicy policy;
  policy.initial_delay = absl::Seconds(1);
  Backoff a(policy, clock_, "a");
  Backoff b(policy, clock_, "b");
  const absl::Duration first = a.Next(absl::UnavailableError(""));
  EXPECT_GT(first, absl::Milliseconds(499));
  EXPECT_LE(first, absl::Seconds(1));
  EXPECT_NE(first, b.Next(absl::UnavailableError("")));
}

TEST_F(BackoffTest, WaitsAtLeastAsLongAsTheServerAsks) {
  Backoff backoff(RetryPolicy(), clock_, "a");
  EXPECT_EQ(backoff.Next(Overloaded(absl::StatusCode::kUnavailable, 60)),
            absl::Seconds(60));
}

TEST_F(BackoffTest, ALastingErrorWaitsLongest) {
  RetryPolicy policy;
  policy.jitter = 0;
  Backoff backoff(policy, clock_, "a");
  EXPECT_EQ(backoff.Next(absl::InvalidArgumentError("")), policy.max_delay);
}

TEST(ValidateRetryPolicy, NamesTheField) {
  EXPECT_OK(ValidateRetryPolicy(RetryPolicy()));
  RetryPolicy policy;
  policy.multiplier = 0.5;
  EXPECT_THAT(ValidateRetryPolicy(policy),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("retry.multiplier")));
  policy = RetryPolicy();
  policy.max_delay = absl::Milliseconds(1);
  EXPECT_THAT(ValidateRetryPolicy(policy),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("retry.max_delay")));
}

}  // namespace
}  // namespace faultline::sdk
