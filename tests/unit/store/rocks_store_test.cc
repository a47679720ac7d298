#include "lib/store/rocks_store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
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

  static void Cut(const std::filesystem::path& file, uint64_t bytes) {
    std::filesystem::resize_file(file,
                                 std::filesystem::file_size(file) - bytes);
  }

  static void Flip(const std::string& path, uint64_t at, int bits) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ bits));
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
  WriteBatch unsynced;
  unsynced.Put(Family::kLog, "cut", std::string(1000, 'x'));
  ASSERT_OK(store->Write(unsynced, /*sync=*/false));
  CopyWhileOpen(copy);
  Cut(LogFile(copy), 10);
  ASSERT_OK_AND_ASSIGN(const auto reopened,
                       RocksStore::Open(RocksStore::Options(), copy));
  EXPECT_OK(reopened->Get(Family::kLog, "whole"));
  EXPECT_THAT(reopened->Get(Family::kLog, "cut"),
              testing::StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(RocksStoreTest, ASyncedWriteThatIsCutOffIsReportedUntilItIsAccepted) {
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  Put(store.get(), "whole", "value");
  Put(store.get(), "cut", std::string(1000, 'x'));
  const uint64_t size = std::filesystem::file_size(LogFile(path_));
  // In the middle, at the end of a record, and all of it.
  for (const uint64_t bytes : {uint64_t{10}, uint64_t{1030}, size}) {
    const std::string copy = absl::StrCat(directory_.path(), "/copy", bytes);
    CopyWhileOpen(copy);
    const std::filesystem::path log = LogFile(copy);
    Cut(log, bytes);
    for (int start = 0; start < 2; ++start) {
      EXPECT_THAT(
          RocksStore::Open(RocksStore::Options(), copy),
          testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr(".log")));
    }
    RocksStore::Options options;
    options.accept_loss = true;
    ASSERT_OK_AND_ASSIGN(const auto accepted, RocksStore::Open(options, copy));
    EXPECT_THAT(accepted->Get(Family::kLog, "cut"),
                testing::StatusIs(absl::StatusCode::kNotFound, _));
  }
}

TEST_F(RocksStoreTest, AnOlderLogFileThatIsCutIsReported) {
  const std::string copy = directory_.path() + "/copy";
  ASSERT_OK_AND_ASSIGN(
      auto store,
      RocksStore::Open(
          {.cache_bytes = 1 << 20, .write_buffer_bytes = 256 << 10}, path_));
  // The settings stay in the first file when the log's table is written.
  WriteBatch settings;
  settings.Put(Family::kMeta, "key", "value");
  ASSERT_OK(store->Write(settings, /*sync=*/true));
  const std::filesystem::path first = LogFile(path_);
  for (int i = 0; i < 200; ++i) {
    Put(store.get(), absl::StrCat("key", i), std::string(1000, 'x'));
    if (LogFile(path_) != first) break;
  }
  // The table may still be on its way: no file may change while it is copied.
  store.reset();
  ASSERT_TRUE(std::filesystem::exists(first));
  ASSERT_NE(LogFile(path_), first);
  CopyWhileOpen(copy);
  ASSERT_OK(RocksStore::Open(RocksStore::Options(), copy));
  std::filesystem::remove_all(copy);
  CopyWhileOpen(copy);
  std::filesystem::resize_file(copy + "/" + first.filename().string(), 0);
  EXPECT_THAT(RocksStore::Open(RocksStore::Options(), copy),
              testing::StatusIs(absl::StatusCode::kDataLoss,
                                HasSubstr(first.filename().string())));
}

TEST_F(RocksStoreTest, AFlippedBitInAnyFileIsHarmlessOrNamed) {
  const std::map<std::string, std::string> values = {
      {"log", std::string(1000, 'y')}, {"table", std::string(1000, 'x')}};
  {
    ASSERT_OK_AND_ASSIGN(const auto store, Open());
    Put(store.get(), "table", values.at("table"));
    ASSERT_OK(store->Compact(Family::kLog, "", ""));
    Put(store.get(), "log", values.at("log"));
    CopyWhileOpen(directory_.path() + "/good");
  }
  const std::string copy = directory_.path() + "/copy";
  base::Random random(1);
  std::vector<std::string> files;
  for (const auto& entry :
       std::filesystem::directory_iterator(directory_.path() + "/good")) {
    if (entry.file_size() > 0) {
      files.push_back(entry.path().filename().string());
    }
  }
  std::sort(files.begin(), files.end());
  for (const std::string& name : files) {
    const std::string file = absl::StrCat(copy, "/", name);
    for (int round = 0; round < 8; ++round) {
      std::filesystem::remove_all(copy);
      std::filesystem::copy(directory_.path() + "/good", copy);
      const uint64_t size = std::filesystem::file_size(file);
      // Half of them at the ends, where the headers are.
      const uint64_t edge = std::min<uint64_t>(size, 64);
      const uint64_t at = round % 4 == 0   ? random.Below(edge)
                          : round % 4 == 1 ? size - 1 - random.Below(edge)
                                           : random.Below(size);
      Flip(file, at, 1 << random.Below(8));
      const auto store = RocksStore::Open(RocksStore::Options(), copy);
      for (const auto& [key, value] : values) {
        const absl::StatusOr<std::string> got =
            store.ok() ? (*store)->Get(Family::kLog, key) : store.status();
        if (got.ok()) {
          EXPECT_EQ(*got, value) << name << " at " << at;
          continue;
        }
        EXPECT_THAT(got, testing::StatusIs(absl::StatusCode::kDataLoss,
                                           HasSubstr(copy)))
            << name << " at " << at << " of " << size;
      }
    }
  }
}

TEST_F(RocksStoreTest, AManifestThatLostItsEndIsNamed) {
  const std::string copy = directory_.path() + "/copy";
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  Put(store.get(), "table", std::string(1000, 'x'));
  ASSERT_OK(store->Compact(Family::kLog, "", ""));
  Put(store.get(), "log", std::string(1000, 'y'));
  CopyWhileOpen(copy);
  std::string manifest;
  for (const auto& entry : std::filesystem::directory_iterator(copy)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "MANIFEST-")) manifest = entry.path().string();
  }
  Cut(manifest, 20);
  EXPECT_THAT(
      RocksStore::Open(RocksStore::Options(), copy),
      testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr(manifest)));
}

TEST_F(RocksStoreTest, AStoreWithoutCurrentIsNotTakenForANewOne) {
  const std::string copy = directory_.path() + "/copy";
  ASSERT_OK_AND_ASSIGN(const auto store, Open());
  Put(store.get(), "key", "value");
  CopyWhileOpen(copy);
  std::filesystem::remove(copy + "/CURRENT");
  EXPECT_THAT(
      RocksStore::Open(RocksStore::Options(), copy),
      testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("CURRENT")));
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

TEST_F(RocksStoreTest, AFullDiskIsSaidAndReadsGoOn) {
  {
    ASSERT_OK_AND_ASSIGN(const auto store, Open());
    Put(store.get(), "key", "value");
  }
  RocksStore::Options options;
  options.reserve_bytes = uint64_t{1} << 62;  // no disk has so much
  ASSERT_OK_AND_ASSIGN(const auto full, RocksStore::Open(options, path_));
  WriteBatch batch;
  batch.Put(Family::kLog, "other", "value");
  const absl::Status status = full->Write(batch, /*sync=*/true);
  EXPECT_THAT(status, testing::StatusIs(absl::StatusCode::kUnavailable,
                                        HasSubstr("disk")));
  const auto detail = base::GetErrorDetail(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->metadata().at("cause"), "disk_full");
  EXPECT_TRUE(detail->has_retry_delay());
  EXPECT_OK(full->Get(Family::kLog, "key"));
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
