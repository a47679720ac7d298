#include "lib/ingest/checkpoint_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace faultline::ingest {
namespace {

constexpr uint32_t kVersion = 1;
constexpr absl::string_view kMagic = "FLTCKPT\n";
constexpr size_t kBufferBytes = 1 << 20;
// Bytes that wait for the disk at most. A file system may make a sync of the
// log wait for all that was written before, and a checkpoint is gigabytes.
constexpr uint64_t kUnsyncedBytes = 8 << 20;
constexpr uint64_t kMaxSummaryBytes = 1 << 16;

// The last bytes of a file.
struct Footer {
  uint64_t summary_bytes;
  uint64_t summary_digest;
  std::array<char, 8> magic;
};
static_assert(sizeof(Footer) == 24);

absl::Status SystemError(absl::string_view what, const std::string& path) {
  const int error = errno;
  const std::string message =
      absl::StrCat("checkpoint ", path, ": cannot ", what, ": ",
                   std::generic_category().message(error));
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(message);
  }
  return error == ENOENT ? absl::NotFoundError(message)
                         : absl::InternalError(message);
}

absl::Status WriteAll(int descriptor, absl::string_view bytes,
                      const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return SystemError("write", path);
    }
    bytes.remove_prefix(written);
  }
  return absl::OkStatus();
}

absl::Status ReadAt(int descriptor, uint64_t offset, absl::Span<char> bytes,
                    const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t got = pread(descriptor, bytes.data(), bytes.size(),
                              static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return SystemError("read", path);
    }
    if (got == 0) {
      return absl::DataLossError(
          absl::StrCat("checkpoint ", path, ": is cut short"));
    }
    offset += got;
    bytes.remove_prefix(got);
  }
  return absl::OkStatus();
}

// So that a rename survives a loss of power.
absl::Status SyncDirectory(const std::string& directory) {
  const int descriptor = open(directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return SystemError("open", directory);
  const bool synced = fsync(descriptor) == 0;
  absl::Status status =
      synced ? absl::OkStatus() : SystemError("sync", directory);
  close(descriptor);
  return status;
}

absl::StatusOr<v1::CheckpointSummary> ReadSummary(int descriptor,
                                                  const std::string& path) {
  const auto damaged = [&path](absl::string_view how) {
    return absl::DataLossError(absl::StrCat("checkpoint ", path, ": ", how));
  };
  struct stat file {};
  if (fstat(descriptor, &file) != 0) return SystemError("examine", path);
  const auto size = static_cast<uint64_t>(file.st_size);
  if (size < sizeof(Footer)) return damaged("is cut short");
  Footer footer;
  FAULTLINE_RETURN_IF_ERROR(ReadAt(
      descriptor, size - sizeof(footer),
      absl::MakeSpan(reinterpret_cast<char*>(&footer), sizeof(footer)), path));
  if (absl::string_view(footer.magic.data(), footer.magic.size()) != kMagic) {
    return damaged("has not the end of a checkpoint");
  }
  if (footer.summary_bytes > kMaxSummaryBytes ||
      footer.summary_bytes > size - sizeof(footer)) {
    return damaged("has a damaged end");
  }
  std::string bytes(footer.summary_bytes, '\0');
  const uint64_t body = size - sizeof(footer) - bytes.size();
  FAULTLINE_RETURN_IF_ERROR(
      ReadAt(descriptor, body, absl::MakeSpan(bytes), path));
  v1::CheckpointSummary summary;
  if (base::Hash64(bytes) != footer.summary_digest ||
      !summary.ParseFromString(bytes)) {
    return damaged("has a damaged summary");
  }
  if (summary.version() != kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint ", path, ": is of version ", summary.version(),
                     ", not ", kVersion));
  }
  if (summary.body_bytes() != body) return damaged("has another length");
  return summary;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CheckpointWriter>> CheckpointWriter::Create(
    const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(),
                                      error);
  const std::string temporary = absl::StrCat(path, ".new");
  const int descriptor =
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return SystemError("make", temporary);
  return std::unique_ptr<CheckpointWriter>(
      new CheckpointWriter(path, temporary, descriptor));
}

CheckpointWriter::CheckpointWriter(std::string path, std::string temporary,
                                   int descriptor)
    : path_(std::move(path)),
      temporary_(std::move(temporary)),
      descriptor_(descriptor) {
  buffer_.reserve(kBufferBytes);
}

CheckpointWriter::~CheckpointWriter() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(temporary_.c_str());
}

absl::Status CheckpointWriter::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const absl::string_view part =
        bytes.substr(0, kBufferBytes - buffer_.size());
    buffer_.append(part.data(), part.size());
    bytes.remove_prefix(part.size());
    if (buffer_.size() == kBufferBytes) FAULTLINE_RETURN_IF_ERROR(Flush());
  }
  return absl::OkStatus();
}

absl::Status CheckpointWriter::Flush() {
  FAULTLINE_RETURN_IF_ERROR(WriteAll(descriptor_, buffer_, temporary_));
  digest_.Update(buffer_);
  written_ += buffer_.size();
  buffer_.clear();
  if (written_ - sent_ < kUnsyncedBytes) return absl::OkStatus();
  // To the disk, without a commit of the file system's journal.
  constexpr unsigned int kWrite = SYNC_FILE_RANGE_WAIT_BEFORE |
                                  SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER;
  if (sync_file_range(descriptor_, static_cast<off_t>(sent_),
                      static_cast<off_t>(written_ - sent_), kWrite) != 0 &&
      errno != ENOSYS) {
    return SystemError("sync", temporary_);
  }
  sent_ = written_;
  return absl::OkStatus();
}

absl::Status CheckpointWriter::Commit(v1::CheckpointSummary summary) {
  FAULTLINE_RETURN_IF_ERROR(Flush());
  summary.set_version(kVersion);
  summary.set_body_bytes(written_);
  summary.set_body_digest(digest_.Digest());
  std::string end = summary.SerializeAsString();
  Footer footer;
  footer.summary_bytes = end.size();
  footer.summary_digest = base::Hash64(end);
  kMagic.copy(footer.magic.data(), footer.magic.size());
  end.append(reinterpret_cast<const char*>(&footer), sizeof(footer));
  FAULTLINE_RETURN_IF_ERROR(WriteAll(descriptor_, end, temporary_));
  if (fsync(descriptor_) != 0) return SystemError("sync", temporary_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return SystemError("rename", temporary_);
  }
  close(std::exchange(descriptor_, -1));
  return SyncDirectory(std::filesystem::path(path_).parent_path().string());
}

absl::StatusOr<std::unique_ptr<CheckpointReader>> CheckpointReader::Open(
    const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return SystemError("open", path);
  absl::StatusOr<v1::CheckpointSummary> summary = ReadSummary(descriptor, path);
  if (!summary.ok()) {
    close(descriptor);
    return std::move(summary).status();
  }
  return std::unique_ptr<CheckpointReader>(
      new CheckpointReader(path, descriptor, *std::move(summary)));
}

CheckpointReader::CheckpointReader(std::string path, int descriptor,
                                   v1::CheckpointSummary summary)
    : path_(std::move(path)),
      descriptor_(descriptor),
      summary_(std::move(summary)),
      buffer_(kBufferBytes),
      left_(summary_.body_bytes()) {}

CheckpointReader::~CheckpointReader() { close(descriptor_); }

absl::Status CheckpointReader::Read(absl::Span<char> bytes) {
  while (!bytes.empty()) {
    if (consumed_ == buffered_) {
      if (left_ == 0) return Damaged("ends too early");
      buffered_ = std::min<uint64_t>(left_, buffer_.size());
      consumed_ = 0;
      const auto part = absl::MakeSpan(buffer_).subspan(0, buffered_);
      FAULTLINE_RETURN_IF_ERROR(
          ReadAt(descriptor_, summary_.body_bytes() - left_, part, path_));
      digest_.Update(absl::string_view(part.data(), part.size()));
      left_ -= buffered_;
    }
    const size_t count = std::min(bytes.size(), buffered_ - consumed_);
    std::memcpy(bytes.data(), buffer_.data() + consumed_, count);
    consumed_ += count;
    bytes.remove_prefix(count);
  }
  return absl::OkStatus();
}

absl::Status CheckpointReader::Finish() {
  if (left_ > 0 || consumed_ < buffered_) return Damaged("has more");
  if (digest_.Digest() != summary_.body_digest()) {
    return Damaged("does not match its checksum");
  }
  return absl::OkStatus();
}

absl::Status CheckpointReader::Damaged(absl::string_view how) const {
  return absl::DataLossError(absl::StrCat("checkpoint ", path_, ": ", how));
}

}  // namespace faultline::ingest
