#include "lib/space/faiss_guard.h"

#include <new>
#include <stdexcept>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace faultline::space {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

TEST(FaissGuardTest, ExceptionsBecomeStatuses) {
  EXPECT_OK(GuardFaiss("search", [] {}));
  EXPECT_THAT(GuardFaiss("search", [] { throw std::runtime_error("nprobe"); }),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("cannot search: nprobe")));
  EXPECT_THAT(GuardFaiss("train", [] { throw std::bad_alloc(); }),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("no memory to train")));
}

}  // namespace
}  // namespace faultline::space
