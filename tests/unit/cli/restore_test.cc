#include "client/cli/restore.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "lib/base/hash.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

void Write(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(
      std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)),
                     std::istreambuf_iterator<char>());
}

class RestoreTest : public ::testing::Test {
 protected:
  RestoreTest() {
    manifest_.set_format(1);
    manifest_.set_server_version("1.2.3");
    AddFile("000004.sst", "table");
    AddFile("checkpoints/p.ckpt", "vectors");
    WriteManifest();
  }

  void AddFile(const std::string& path, const std::string& bytes) {
    Write(from_ + "/" + path, bytes);
    v1::BackupManifest::File& file = *manifest_.add_files();
    file.set_path(path);
    file.set_bytes(bytes.size());
    file.set_sha256(base::Sha256Hex(bytes));
  }

  void WriteManifest() {
    std::string text;
    google::protobuf::TextFormat::PrintToString(manifest_, &text);
    Write(from_ + "/faultline_backup.textproto", text);
  }

  const testing::TempDir directory_;
  const std::string from_ = directory_.path() + "/backup";
  const std::string to_ = directory_.path() + "/data";
  v1::BackupManifest manifest_;
};

TEST_F(RestoreTest, CopiesTheFilesOfTheManifest) {
  Write(from_ + "/something else", "left out");
  ASSERT_OK_AND_ASSIGN(const auto manifest, RestoreBackup(from_, to_));
  EXPECT_EQ(manifest.files_size(), 2);
  EXPECT_EQ(Read(to_ + "/000004.sst"), "table");
  EXPECT_EQ(Read(to_ + "/checkpoints/p.ckpt"), "vectors");
  EXPECT_FALSE(std::filesystem::exists(to_ + "/something else"));
  EXPECT_FALSE(std::filesystem::exists(to_ + "/faultline_backup.textproto"));
}

TEST_F(RestoreTest, AnEmptyTargetIsFilledAndAnyOtherRefused) {
  std::filesystem::create_directories(to_);
  EXPECT_OK(RestoreBackup(from_, to_));
  EXPECT_THAT(RestoreBackup(from_, to_),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("not empty")));
  EXPECT_EQ(Read(to_ + "/000004.sst"), "table");
}

TEST_F(RestoreTest, EveryDamagedFileIsNamedAndNothingIsRestored) {
  AddFile("MANIFEST-000005", "manifest");
  WriteManifest();
  Write(from_ + "/000004.sst", "tabXe");
  std::filesystem::remove(from_ + "/checkpoints/p.ckpt");
  EXPECT_THAT(
      RestoreBackup(from_, to_),
      testing::StatusIs(
          absl::StatusCode::kDataLoss,
          AllOf(HasSubstr("000004.sst: its bytes have changed"),
                HasSubstr("p.ckpt"), Not(HasSubstr("MANIFEST-000005")))));
  EXPECT_FALSE(std::filesystem::exists(to_));
  Write(from_ + "/000004.sst", "tab");
  EXPECT_THAT(RestoreBackup(from_, to_),
              testing::StatusIs(absl::StatusCode::kDataLoss,
                                HasSubstr("has 3 bytes, not 5")));
}

TEST_F(RestoreTest, ABackupWithoutManifestWasNeverFinished) {
  std::filesystem::remove(from_ + "/faultline_backup.textproto");
  EXPECT_THAT(RestoreBackup(from_, to_),
              testing::StatusIs(absl::StatusCode::kNotFound,
                                HasSubstr("never finished")));
}

TEST_F(RestoreTest, ADamagedOrLaterManifestIsRefused) {
  manifest_.set_format(2);
  WriteManifest();
  EXPECT_THAT(RestoreBackup(from_, to_),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("1.2.3")));
  Write(from_ + "/faultline_backup.textproto", "format: ");
  EXPECT_THAT(RestoreBackup(from_, to_),
              testing::StatusIs(absl::StatusCode::kDataLoss,
                                HasSubstr("faultline_backup.textproto")));
}

TEST_F(RestoreTest, AManifestCannotReachOutOfItsDirectory) {
  Write(directory_.path() + "/secret", "secret");
  for (const std::string& path :
       {std::string("../secret"), directory_.path() + "/secret"}) {
    manifest_.mutable_files(0)->set_path(path);
    WriteManifest();
    EXPECT_THAT(
        RestoreBackup(from_, to_),
        testing::StatusIs(absl::StatusCode::kDataLoss, HasSubstr("outside")));
  }
}

}  // namespace
}  // namespace faultline::cli
