#include "lib/base/ulid.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::base {
namespace {

constexpr int64_t kMillis = 1'800'000'000'123;

TEST(MakeUlidTest, HasTheForm) {
  Random random(1);
  const std::string id = MakeUlid(absl::FromUnixMillis(kMillis), &random);
  EXPECT_EQ(id.size(), 26);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdefghjkmnpqrstvwxyz"),
            std::string::npos)
      << id;
}

TEST(MakeUlidTest, SpellsTheMillisecondsInBase32) {
  Random random(1);
  EXPECT_EQ(MakeUlid(absl::FromUnixMillis(0), &random).substr(0, 10),
            "0000000000");
  EXPECT_EQ(MakeUlid(absl::FromUnixMillis(31), &random).substr(0, 10),
            "000000000z");
  EXPECT_EQ(MakeUlid(absl::FromUnixMillis(32 * 32 + 1), &random).substr(0, 10),
            "0000000101");
  // Before 1970 there is no such id: the least one.
  EXPECT_EQ(MakeUlid(absl::FromUnixMillis(-5), &random).substr(0, 10),
            "0000000000");
}

TEST(MakeUlidTest, SortsByTime) {
  Random random(1);
  std::string previous;
  for (int64_t millis = kMillis; millis < kMillis + 100; ++millis) {
    const std::string id = MakeUlid(absl::FromUnixMillis(millis), &random);
    EXPECT_LT(previous, id);
    previous = id;
  }
}

TEST(MakeUlidTest, DiffersWithinAMillisecondAndRepeatsForASeed) {
  const absl::Time time = absl::FromUnixMillis(kMillis);
  Random random(1);
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(MakeUlid(time, &random));
  EXPECT_EQ(ids.size(), 1000);
  Random one(7);
  Random two(7);
  EXPECT_EQ(MakeUlid(time, &one), MakeUlid(time, &two));
}

}  // namespace
}  // namespace faultline::base
