#ifndef FAULTLINE_TESTS_CONFORMANCE_KEY_VALUE_STORE_SUITE_H_
#define FAULTLINE_TESTS_CONFORMANCE_KEY_VALUE_STORE_SUITE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/store/key_value_store.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::store {

// How an implementation is made, in an empty directory of its own.
struct StoreFactory {
  std::string name;
  std::function<std::unique_ptr<KeyValueStore>(const std::string& directory)>
      make;
};

// What every KeyValueStore does. Include in one file only and instantiate with
// the implementations.
class KeyValueStoreSuite : public ::testing::TestWithParam<StoreFactory> {
 protected:
  using Entries = std::vector<std::pair<std::string, std::string>>;

  KeyValueStoreSuite() : store_(GetParam().make(directory_.path())) {}

  void Put(Family family, absl::string_view key, absl::string_view value) {
    WriteBatch batch;
    batch.Put(family, std::string(key), std::string(value));
    EXPECT_OK(store_->Write(batch, /*sync=*/false));
  }

  Entries Scan(absl::string_view begin, absl::string_view end,
               Family family = Family::kLog) {
    Entries entries;
    EXPECT_OK(store_->Scan(family, begin, end,
                           [&](absl::string_view key, absl::string_view value) {
                             entries.emplace_back(key, value);
                             return true;
                           }));
    return entries;
  }

  Entries ScanReverse(absl::string_view begin, absl::string_view end) {
    Entries entries;
    EXPECT_OK(store_->ScanReverse(
        Family::kLog, begin, end,
        [&](absl::string_view key, absl::string_view value) {
          entries.emplace_back(key, value);
          return true;
        }));
    return entries;
  }

  const testing::TempDir directory_;
  const std::unique_ptr<KeyValueStore> store_;
};

TEST_P(KeyValueStoreSuite, GivesBackWhatWasPutLast) {
  Put(Family::kMeta, "key", "first");
  Put(Family::kMeta, "key", "second");
  ASSERT_OK_AND_ASSIGN(const std::string value,
                       store_->Get(Family::kMeta, "key"));
  EXPECT_EQ(value, "second");
}

TEST_P(KeyValueStoreSuite, AbsentAndDeletedKeysAreNotFound) {
  using ::testing::HasSubstr;
  EXPECT_THAT(
      store_->Get(Family::kMeta, "absent"),
      testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
  Put(Family::kMeta, "key", "value");
  WriteBatch batch;
  batch.Delete(Family::kMeta, "key");
  batch.Delete(Family::kMeta, "never there");
  ASSERT_OK(store_->Write(batch, /*sync=*/true));
  EXPECT_THAT(store_->Get(Family::kMeta, "key"),
              testing::StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_P(KeyValueStoreSuite, KeysAndValuesMayBeAnyBytes) {
  const std::string key("\x00\xff\x00k", 4);
  const std::string value("\x00\n\xff", 3);
  Put(Family::kIds, key, value);
  Put(Family::kIds, "empty", "");
  ASSERT_OK_AND_ASSIGN(const std::string found, store_->Get(Family::kIds, key));
  EXPECT_EQ(found, value);
  ASSERT_OK_AND_ASSIGN(const std::string empty,
                       store_->Get(Family::kIds, "empty"));
  EXPECT_EQ(empty, "");
}

TEST_P(KeyValueStoreSuite, FamiliesAreApart) {
  for (int i = 0; i < kFamilyCount; ++i) {
    Put(static_cast<Family>(i), "key", absl::StrCat(i));
  }
  for (int i = 0; i < kFamilyCount; ++i) {
    const auto family = static_cast<Family>(i);
    ASSERT_OK_AND_ASSIGN(const std::string value, store_->Get(family, "key"));
    EXPECT_EQ(value, absl::StrCat(i));
    EXPECT_EQ(Scan("", "", family).size(), 1);
  }
}

TEST_P(KeyValueStoreSuite, MultiGetKeepsTheOrderOfItsKeys) {
  Put(Family::kIds, "a", "1");
  Put(Family::kIds, "c", "3");
  ASSERT_OK_AND_ASSIGN(const std::vector<std::optional<std::string>> values,
                       store_->MultiGet(Family::kIds, {"c", "b", "a", "c"}));
  EXPECT_THAT(values, ::testing::ElementsAre("3", std::nullopt, "1", "3"));
  ASSERT_OK_AND_ASSIGN(const auto none, store_->MultiGet(Family::kIds, {}));
  EXPECT_THAT(none, ::testing::IsEmpty());
}

TEST_P(KeyValueStoreSuite, ABatchIsAppliedInItsOrder) {
  WriteBatch batch;
  batch.Put(Family::kMeta, "kept", "1");
  batch.Delete(Family::kMeta, "kept");
  batch.Put(Family::kMeta, "kept", "2");
  batch.Put(Family::kMeta, "gone", "1");
  batch.Delete(Family::kMeta, "gone");
  ASSERT_OK(store_->Write(batch, /*sync=*/true));
  EXPECT_THAT(Scan("", "", Family::kMeta),
              ::testing::ElementsAre(::testing::Pair("kept", "2")));
}

TEST_P(KeyValueStoreSuite, AnEmptyBatchIsWritten) {
  EXPECT_OK(store_->Write(WriteBatch(), /*sync=*/true));
}

TEST_P(KeyValueStoreSuite, ScansInByteOrderWithinHalfOpenBounds) {
  for (const char* key : {"b", "a", "ab", "\xff", "c", "B"}) {
    Put(Family::kLog, key, key);
  }
  using ::testing::ElementsAre;
  using ::testing::Key;
  EXPECT_THAT(Scan("", ""), ElementsAre(Key("B"), Key("a"), Key("ab"), Key("b"),
                                        Key("c"), Key("\xff")));
  EXPECT_THAT(Scan("ab", "c"), ElementsAre(Key("ab"), Key("b")));
  EXPECT_THAT(Scan("aa", "bb"), ElementsAre(Key("ab"), Key("b")));
  EXPECT_THAT(Scan("d", ""), ElementsAre(Key("\xff")));
  EXPECT_THAT(ScanReverse("", ""), ElementsAre(Key("\xff"), Key("c"), Key("b"),
                                               Key("ab"), Key("a"), Key("B")));
  EXPECT_THAT(ScanReverse("ab", "c"), ElementsAre(Key("b"), Key("ab")));
}

TEST_P(KeyValueStoreSuite, EmptyAndReversedRangesHoldNothing) {
  Put(Family::kLog, "b", "");
  EXPECT_THAT(Scan("b", "b"), ::testing::IsEmpty());
  EXPECT_THAT(Scan("c", "a"), ::testing::IsEmpty());
  EXPECT_THAT(ScanReverse("b", "b"), ::testing::IsEmpty());
  EXPECT_THAT(ScanReverse("c", "a"), ::testing::IsEmpty());
  EXPECT_THAT(ScanReverse("c", ""), ::testing::IsEmpty());
}

TEST_P(KeyValueStoreSuite, AScanStopsWhenTold) {
  for (const char* key : {"a", "b", "c"}) Put(Family::kLog, key, "");
  int visits = 0;
  const auto stop_at_second = [&](absl::string_view, absl::string_view) {
    return ++visits < 2;
  };
  EXPECT_OK(store_->Scan(Family::kLog, "", "", stop_at_second));
  EXPECT_EQ(visits, 2);
  visits = 0;
  EXPECT_OK(store_->ScanReverse(Family::kLog, "", "", stop_at_second));
  EXPECT_EQ(visits, 2);
}

TEST_P(KeyValueStoreSuite, AScanSeesOneSnapshotAndItsVisitorMayUseTheStore) {
  for (const char* key : {"a", "b", "c"}) Put(Family::kLog, key, "old");
  std::vector<std::string> values;
  EXPECT_OK(store_->Scan(Family::kLog, "", "",
                         [&](absl::string_view, absl::string_view value) {
                           values.emplace_back(value);
                           WriteBatch batch;
                           batch.Put(Family::kLog, "b", "new");
                           batch.Delete(Family::kLog, "c");
                           batch.Put(Family::kLog, "d", "new");
                           EXPECT_OK(store_->Write(batch, /*sync=*/false));
                           EXPECT_OK(store_->Get(Family::kLog, "b"));
                           return true;
                         }));
  EXPECT_THAT(values, ::testing::ElementsAre("old", "old", "old"));
}

TEST_P(KeyValueStoreSuite, CompactionKeepsWhatIsLiveAndNothingElse) {
  for (const char* key : {"a", "b", "c", "d"}) Put(Family::kLog, key, "old");
  WriteBatch batch;
  batch.Put(Family::kLog, "b", "new");
  batch.Delete(Family::kLog, "c");
  ASSERT_OK(store_->Write(batch, /*sync=*/true));
  ASSERT_OK(store_->Compact(Family::kLog, "a", "d"));
  ASSERT_OK(store_->Compact(Family::kLog, "", ""));
  ASSERT_OK(store_->Compact(Family::kMeta, "x", ""));
  using ::testing::Pair;
  EXPECT_THAT(Scan("", ""),
              ::testing::ElementsAre(Pair("a", "old"), Pair("b", "new"),
                                     Pair("d", "old")));
}

// Two keys always move together; a reader must never see them apart.
TEST_P(KeyValueStoreSuite, ReadersSeeBatchesWholeWhileAnotherThreadWrites) {
  constexpr int kRounds = 300;
  std::thread writer([this] {
    for (int i = 0; i < kRounds; ++i) {
      WriteBatch batch;
      batch.Put(Family::kLog, "x", absl::StrCat(i));
      batch.Put(Family::kLog, "y", absl::StrCat(i));
      EXPECT_OK(store_->Write(batch, /*sync=*/false));
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    const Entries entries = Scan("", "");
    if (entries.empty()) continue;
    ASSERT_EQ(entries.size(), 2);
    EXPECT_EQ(entries[0].second, entries[1].second);
  }
  writer.join();
}

}  // namespace faultline::store

#endif  // FAULTLINE_TESTS_CONFORMANCE_KEY_VALUE_STORE_SUITE_H_
