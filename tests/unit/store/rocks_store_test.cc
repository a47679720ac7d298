#include "lib/store/rocks_store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::store {
namespace {

using ::testing::_;
using ::testing::HasSubstr;

class RocksStoreTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<RocksStore>> Open() {
    return RocksStore::Open(RocksStore::Options(), path_);
  }

  static void Put(KeyValueStore* store, const std::string& key,
                  const std::string& value) {
    WriteBatch batch;
    batch.Put(Family::kLog, key, value);
    ASSERT_OK(store->Write(batch, /*sync=*/true));
  }

  // The state that a kill would leave: a copy of the files while they are in
  // use.
  void CopyWhileOpen(const std::string& to) {
    std::filesystem::copy(path_, to, std::filesystem::copy_options::recursive);
    std::filesystem::remove(to + "/LOCK");
  }

  // The write-ahead log that has bytes in it.
  static std::filesystem::path LogFile(const std::string& directory) {
    std::filesystem::path found;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (entry.path().extension() == ".log" && entry.file_size() > 0) {
        found = entry.path();
      }
    }
    return found;
  }

  const testing::TempDir directory_;
  const std::string path_ = directory_.path() + "/made/on/the/way";
};

TEST_F(RocksStoreTest, KeepsWhatItHoldsWhenClosedAndOpened) {
  {
    ASSERT_OK_AND_ASSIGN(const auto store, Open());
    Put(store.get(), "key", "value");
  }
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  ASSERT_OK_AND_ASSIGN(const std::string value,
                       store->Get(Family::kLog, "key"));
  EXPECT_EQ(value, "value");
}

TEST_F(RocksStoreTest, ASyncedWriteOutlivesAKill) {
  const std::string copy = directory_.path() + "/copy";
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  Put(store.get(), "key", "value");
  CopyWhileOpen(copy);
  ASSERT_OK_AND_ASSIGN(const auto reopened,
                       RocksStore::Open(RocksStore::Options(), copy));
  ASSERT_OK_AND_ASSIGN(const std::string value,
                       reopened->Get(Family::kLog, "key"));
  EXPECT_EQ(value, "value");
}

TEST_F(RocksStoreTest, AWriteCutShortAtTheEndIsDroppedAndTheRestKept) {
  const std::string copy = directory_.path() + "/copy";
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  Put(store.get(), "whole", "value");
  Put(store.get(), "cut", std::string(1000, 'x'));
  CopyWhileOpen(copy);
  const std::filesystem::path log = LogFile(copy);
  std::filesystem::resize_file(log, std::filesystem::file_size(log) - 10);
  ASSERT_OK_AND_ASSIGN(const auto reopened,
                       RocksStore::Open(RocksStore::Options(), copy));
  EXPECT_OK(reopened->Get(Family::kLog, "whole"));
  EXPECT_THAT(reopened->Get(Family::kLog, "cut"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(RocksStoreTest, ADamagedRecordBeforeTheEndIsReported) {
  const std::string copy = directory_.path() + "/copy";
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  Put(store.get(), "first", std::string(1000, 'x'));
  Put(store.get(), "second", std::string(1000, 'y'));
  CopyWhileOpen(copy);
  std::fstream file(LogFile(copy),
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(500);
  file.put('?');
  file.close();
  EXPECT_THAT(RocksStore::Open(RocksStore::Options(), copy),
              testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr(copy)));
}

TEST_F(RocksStoreTest, ASecondOpenOfTheSameDirectoryFails) {
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  EXPECT_THAT(Open(),
              testing::StatusIs(absl::StatusCode::kInternal, HasSubstr(path_)));
}

TEST_F(RocksStoreTest, ADirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(directory_.path() + "/file") << "not a directory";
  EXPECT_THAT(
      RocksStore::Open(RocksStore::Options(),
                       directory_.path() + "/file/store"),
      testing::StatusIs(absl::StatusCode::kInternal, HasSubstr("/file/store")));
}

TEST_F(RocksStoreTest, ServesMoreThanItsMemoryHolds) {
  ASSERT_OK_AND_ASSIGN(
      const auto store,
      RocksStore::Open(
          {.cache_bytes = 1 << 20, .write_buffer_bytes = 256 << 10}, path_));
  constexpr int kKeys = 2000;
  for (int i = 0; i < kKeys; ++i) {
    WriteBatch batch;
    const std::string key = absl::StrCat("k", i);
    batch.Put(Family::kLog, key, std::string(1000, 'a' + i % 26));
    batch.Put(Family::kIds, key, absl::StrCat(i));
    ASSERT_OK(store->Write(batch, /*sync=*/false));
  }
  std::vector<std::string> keys;
  keys.reserve(2 * kKeys);
  for (int i = 0; i < 2 * kKeys; ++i) keys.push_back(absl::StrCat("k", i));
  ASSERT_OK_AND_ASSIGN(const auto found, store->MultiGet(Family::kIds, keys));
  for (int i = 0; i < 2 * kKeys; ++i) {
    EXPECT_EQ(found[i].has_value(), i < kKeys) << i;
  }
  int visits = 0;
  EXPECT_OK(store->Scan(Family::kLog, "", "",
                        [&](absl::string_view, absl::string_view value) {
                          visits += value.size() == 1000;
                          return true;
                        }));
  EXPECT_EQ(visits, kKeys);
}

}  // namespace
}  // namespace faultline::store
