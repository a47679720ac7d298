#include "lib/ingest/checkpoint_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::ingest {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::HasSubstr;

class CheckpointFileTest : public ::testing::Test {
 protected:
  absl::Status Write(const std::string& body) {
    auto writer = CheckpointWriter::Create(path_);
    if (!writer.ok()) return writer.status();
    if (auto status = (*writer)->Write(body); !status.ok()) return status;
    v1::CheckpointSummary summary;
    summary.set_project("p");
    summary.set_watermark(7);
    return (*writer)->Commit(summary);
  }

  // The whole body, in parts of 5 bytes.
  absl::StatusOr<std::string> Read() {
    auto reader = CheckpointReader::Open(path_);
    if (!reader.ok()) return reader.status();
    EXPECT_EQ((*reader)->summary().project(), "p");
    EXPECT_EQ((*reader)->summary().watermark(), 7);
    std::string body((*reader)->summary().body_bytes(), '\0');
    for (size_t at = 0; at < body.size(); at += 5) {
      const auto part = absl::MakeSpan(body).subspan(at, 5);
      if (auto status = (*reader)->Read(part); !status.ok()) return status;
    }
    if (auto status = (*reader)->Finish(); !status.ok()) return status;
    return body;
  }

  std::string Bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void SetBytes(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
  }

  const testing::TempDir directory_;
  const std::string path_ = directory_.path() + "/checkpoint";
};

TEST_F(CheckpointFileTest, WhatIsWrittenIsRead) {
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path_)));
  std::string large;
  for (int i = 0; i < 20; ++i) large.append(1'000'000, 'x');
  for (const std::string& body : {std::string(), std::string("abc"), large}) {
    ASSERT_OK(Write(body));
    ASSERT_OK_AND_ASSIGN(const std::string read, Read());
    EXPECT_EQ(read, body);
  }
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

TEST_F(CheckpointFileTest, WithoutCommitTheOldFileStays) {
  ASSERT_OK(Write("old"));
  {
    ASSERT_OK_AND_ASSIGN(const auto writer, CheckpointWriter::Create(path_));
    ASSERT_OK(writer->Write("new"));
  }
  ASSERT_OK_AND_ASSIGN(const std::string read, Read());
  EXPECT_EQ(read, "old");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

TEST_F(CheckpointFileTest, EveryFlippedByteIsNoticed) {
  ASSERT_OK(Write("a body of some bytes"));
  const std::string bytes = Bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    SetBytes(flipped);
    EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)))
        << i;
  }
}

TEST_F(CheckpointFileTest, EveryCutIsNoticed) {
  ASSERT_OK(Write("a body of some bytes"));
  const std::string bytes = Bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    SetBytes(bytes.substr(0, size));
    EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)))
        << size;
  }
  SetBytes(bytes + "more");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)));
}

TEST_F(CheckpointFileTest, ReadingPartOfTheBodyIsNotFinished) {
  ASSERT_OK(Write("body"));
  ASSERT_OK_AND_ASSIGN(const auto reader, CheckpointReader::Open(path_));
  char part[3];
  ASSERT_OK(reader->Read(absl::MakeSpan(part)));
  EXPECT_THAT(reader->Finish(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("has more")));
  EXPECT_THAT(reader->Read(absl::MakeSpan(part)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)));
}

TEST_F(CheckpointFileTest, SaysWhatCannotBeMade) {
  EXPECT_THAT(
      CheckpointWriter::Create("/proc/none/x"),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/proc/none/x.new")));
}

}  // namespace
}  // namespace faultline::ingest
