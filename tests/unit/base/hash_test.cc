#include "lib/base/hash.h"

#include <fstream>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::base {
namespace {

// Test vectors of the xxHash specification: the values are on disks and in
// routers.
TEST(Hash64Test, IsXxh64) {
  EXPECT_EQ(Hash64(""), 0xef46db3751d8e999u);
  EXPECT_EQ(Hash64("a"), 0xd24ec4f1a98c6e5bu);
  EXPECT_EQ(Hash64("abc"), 0x44bc2cf5ad770999u);
  EXPECT_NE(Hash64("abc", 1), Hash64("abc"));
  EXPECT_NE(Hash64(std::string("a\0", 2)), Hash64("a"));
}

// The first outputs of splitmix64 from seed 0.
TEST(Mix64Test, IsTheFinaliserOfSplitMix) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;
  EXPECT_EQ(Mix64(0), 0xe220a8397b1dcdafu);
  EXPECT_EQ(Mix64(kStep), 0x6e789e6aa1b965f4u);
  EXPECT_EQ(Mix64(2 * kStep), 0x06c45d188009454fu);
}

TEST(ToUnitIntervalTest, ReachesZeroAndNeverOne) {
  EXPECT_EQ(ToUnitInterval(0), 0);
  EXPECT_EQ(ToUnitInterval(uint64_t{1} << 63), 0.5);
  EXPECT_LT(ToUnitInterval(UINT64_MAX), 1);
}

TEST(FileSha256HexTest, IsThatOfTheBytes) {
  const testing::TempDir directory;
  const std::string path = directory.path() + "/file";
  const std::string bytes(3'000'000, 'x');
  std::ofstream(path, std::ios::binary) << bytes;
  ASSERT_OK_AND_ASSIGN(const std::string digest, FileSha256Hex(path));
  EXPECT_EQ(digest, Sha256Hex(bytes));
  EXPECT_THAT(FileSha256Hex(path + "2"),
              testing::StatusIs(absl::StatusCode::kNotFound,
                                ::testing::HasSubstr("file2")));
}

// FIPS 180-4 examples.
TEST(Sha256HexTest, IsSha256) {
  EXPECT_EQ(Sha256Hex(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace faultline::base
