#ifndef FAULTLINE_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define FAULTLINE_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <ostream>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::testing {

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& statusor) {
  return statusor.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// Code and a matcher of the message.
MATCHER_P2(StatusIs, code, message, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         ::testing::Matches(message)(std::string(StatusOf(arg).message()));
}

}  // namespace faultline::testing

#define EXPECT_OK(expression) \
  EXPECT_THAT(expression, ::faultline::testing::IsOk())
#define ASSERT_OK(expression) \
  ASSERT_THAT(expression, ::faultline::testing::IsOk())

// `target` may be a declaration, so it cannot stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)

// Assigns the value of a StatusOr or fails the test.
#define ASSERT_OK_AND_ASSIGN(target, expression)                          \
  ASSERT_OK_AND_ASSIGN_IMPL_(FAULTLINE_TEST_CONCAT_(statusor_, __LINE__), \
                             target, expression)
#define ASSERT_OK_AND_ASSIGN_IMPL_(statusor, target, expression) \
  auto statusor = (expression);                                  \
  ASSERT_OK(statusor);                                           \
  target = *std::move(statusor)
#define FAULTLINE_TEST_CONCAT_(a, b) FAULTLINE_TEST_CONCAT_INNER_(a, b)
#define FAULTLINE_TEST_CONCAT_INNER_(a, b) a##b

// NOLINTEND(bugprone-macro-parentheses)

#endif  // FAULTLINE_TESTS_SUPPORT_STATUS_MATCHERS_H_
