#include "lib/base/error_detail.h"

#include "lib/base/status_macros.h"
#include "tests/support/status_matchers.h"

namespace faultline::base {
namespace {

TEST(ErrorDetailTest, TravelsInAStatus) {
  v1::ErrorDetail detail =
      MakeErrorDetail(v1::ErrorDetail::REASON_TOO_LONG, "steps[3].name",
                      "at most 128 bytes", "has 200 bytes");
  (*detail.mutable_metadata())["trace"] = "t1";
  const absl::Status status =
      DetailedError(absl::StatusCode::kInvalidArgument, detail);
  EXPECT_THAT(status, testing::StatusIs(
                          absl::StatusCode::kInvalidArgument,
                          "steps[3].name: has 200 bytes (at most 128 bytes)"));
  const auto found = GetErrorDetail(status);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->SerializeAsString(), detail.SerializeAsString());
}

TEST(ErrorDetailTest, AMessageWithoutFieldOrLimitStandsAlone) {
  const absl::Status status = DetailedError(
      absl::StatusCode::kUnavailable,
      MakeErrorDetail(v1::ErrorDetail::REASON_OVERLOADED, "", "", "busy"));
  EXPECT_EQ(status.message(), "busy");
}

TEST(ErrorDetailTest, AStatusWithoutOneHasNone) {
  EXPECT_FALSE(GetErrorDetail(absl::OkStatus()).has_value());
  EXPECT_FALSE(GetErrorDetail(absl::InternalError("x")).has_value());
}

absl::StatusOr<int> Half(int number) {
  if (number % 2 != 0) return absl::InvalidArgumentError("odd");
  return number / 2;
}

absl::StatusOr<int> Quarter(int number) {
  FAULTLINE_ASSIGN_OR_RETURN(const int half, Half(number));
  FAULTLINE_RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(StatusMacrosTest, PassValuesOnAndErrorsUp) {
  ASSERT_OK_AND_ASSIGN(const int quarter, Quarter(12));
  EXPECT_EQ(quarter, 3);
  EXPECT_THAT(Quarter(3),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, "odd"));
  EXPECT_THAT(Quarter(6),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, "odd"));
}

}  // namespace
}  // namespace faultline::base
