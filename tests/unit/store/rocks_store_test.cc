#include "lib/store/rocks_store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/random.h"
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

  // Bytes of all files.
  uint64_t DirectoryBytes() const {
    uint64_t bytes = 0;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(path_)) {
      if (entry.is_regular_file()) bytes += entry.file_size();
    }
    return bytes;
  }

  // Whether any file holds `text`.
  bool AnyFileHolds(const std::string& text) const {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(path_)) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)),
                              std::istreambuf_iterator<char>());
      if (bytes.find(text) != std::string::npos) return true;
    }
    return false;
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

TEST_F(RocksStoreTest, CompactionGivesBackTheSpaceOfWhatWasOverwritten) {
  const std::string secret = "what nobody may read any more";
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  base::Random random(1);
  constexpr int kKeys = 200;
  for (int i = 0; i < kKeys; ++i) {
    std::string value(10'000, ' ');  // that does not compress
    for (char& c : value) c = static_cast<char>(random.Next());
    Put(store.get(), absl::StrCat("key", i), value + secret);
  }
  ASSERT_OK(store->Compact(Family::kLog, "", ""));
  EXPECT_GT(DirectoryBytes(), kKeys * 10'000);
  for (int i = 0; i < kKeys; ++i) {
    Put(store.get(), absl::StrCat("key", i), "gone");
  }
  ASSERT_TRUE(AnyFileHolds(secret));
  ASSERT_OK(store->Compact(Family::kLog, "", ""));
  EXPECT_LT(DirectoryBytes(), kKeys * 1'000);
  EXPECT_FALSE(AnyFileHolds(secret));
  ASSERT_OK_AND_ASSIGN(const std::string value,
                       store->Get(Family::kLog, "key7"));
  EXPECT_EQ(value, "gone");
}

TEST_F(RocksStoreTest, ACheckpointHoldsWhatWasWrittenBeforeIt) {
  const std::string copy = directory_.path() + "/copy";
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  Put(store.get(), "before", "value");
  ASSERT_OK(store->Checkpoint(copy));
  Put(store.get(), "after", "value");
  EXPECT_THAT(store->Checkpoint(copy),
              testing::StatusIs(absl::StatusCode::kInternal, HasSubstr(copy)));
  ASSERT_OK_AND_ASSIGN(const auto copied,
                       RocksStore::Open(RocksStore::Options(), copy));
  EXPECT_OK(copied->Get(Family::kLog, "before"));
  EXPECT_THAT(copied->Get(Family::kLog, "after"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_OK(store->Get(Family::kLog, "after"));
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
