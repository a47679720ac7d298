#include "client/importers/error_class.h"

#include "gtest/gtest.h"

namespace faultline::importers {
namespace {

TEST(ErrorClassTest, LeavesOutWhatDiffersFromRunToRun) {
  EXPECT_EQ(ErrorClass("Error: Flight X1 not available on date 2024-05-13"),
            ErrorClass("Error: Flight Q77 not available on date 2023-01-02"));
  EXPECT_EQ(ErrorClass("Error: Tool 'send_mms' not found."), "tool_not_found");
  EXPECT_EQ(ErrorClass("Error: Tool 'run speed test' not found."),
            "tool_not_found");
  EXPECT_EQ(ErrorClass("Error: Unknown ID format or type: 555-123"),
            "unknown_id_format_or_type");
}

TEST(ErrorClassTest, TakesTheNameOfAnException) {
  EXPECT_EQ(ErrorClass("Traceback: line 3\nKeyError: 'page'"), "KeyError");
  EXPECT_EQ(ErrorClass("java.lang failed, IOException here"), "IOException");
}

TEST(ErrorClassTest, StartsBehindTheFirstError) {
  EXPECT_EQ(ErrorClass("Tool 'search' executed. Result: [ { \"error\": "
                       "\"Request contains nothing\""),
            "request_contains_nothing");
  EXPECT_EQ(ErrorClass("exitcode: 1 (execution failed) Code output: File x"),
            "exitcode_execution_failed");
  EXPECT_EQ(ErrorClass("the timeout was reached"), "the_timeout_was_reached");
}

TEST(ErrorClassTest, EndsAfterSixWordsOrAClause) {
  EXPECT_EQ(ErrorClass("Error: a b c d e f g h"), "a_b_c_d_e_f");
  EXPECT_EQ(ErrorClass("Error: amount does not add up, total is off"),
            "amount_does_not_add_up");
}

TEST(ErrorClassTest, IsEmptyWhereNoWordIsLeft) {
  EXPECT_EQ(ErrorClass(""), "");
  EXPECT_EQ(ErrorClass("404 ' 12_b"), "");
}

}  // namespace
}  // namespace faultline::importers
