#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/store/key_value_store.h"

namespace faultline::store {
namespace {

TEST(WriteBatchTest, CountsItsBytesAndForgetsThemWhenCleared) {
  WriteBatch batch;
  EXPECT_TRUE(batch.empty());
  batch.Put(Family::kLog, "key", "value");
  batch.Delete(Family::kIds, "ab");
  EXPECT_FALSE(batch.empty());
  EXPECT_EQ(batch.byte_size(), 10);
  ASSERT_EQ(batch.operations().size(), 2);
  EXPECT_FALSE(batch.operations()[0].erase);
  EXPECT_TRUE(batch.operations()[1].erase);
  batch.Clear();
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.byte_size(), 0);
}

// The names are on disks that exist: a change loses their contents.
TEST(FamilyNameTest, NamesAreWhatTheyWere) {
  EXPECT_EQ(FamilyName(Family::kLog), "log");
  EXPECT_EQ(FamilyName(Family::kIds), "ids");
  EXPECT_EQ(FamilyName(Family::kTicks), "ticks");
  EXPECT_EQ(FamilyName(Family::kPolicies), "policies");
  EXPECT_EQ(FamilyName(Family::kMeta), "meta");
  EXPECT_EQ(FamilyName(Family::kPieces), "pieces");
}

}  // namespace
}  // namespace faultline::store
