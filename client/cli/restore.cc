#include "client/cli/restore.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/text_format.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"

namespace faultline::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kFormat = 1;
constexpr char kManifestName[] = "faultline_backup.textproto";

absl::StatusOr<v1::BackupManifest> ReadManifest(const fs::path& from) {
  const fs::path path = from / kManifestName;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat(from.string(), ": has no ", kManifestName,
                     "; it is no backup, or was never finished"));
  }
  const std::string text((std::istreambuf_iterator<char>(file)),
                         std::istreambuf_iterator<char>());
  v1::BackupManifest manifest;
  if (!google::protobuf::TextFormat::ParseFromString(text, &manifest) ||
      manifest.files().empty()) {
    return absl::DataLossError(absl::StrCat(path.string(), ": is damaged"));
  }
  if (manifest.format() != kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(path.string(), ": has format ", manifest.format(),
                     "; this version reads ", kFormat,
                     ", take that of the server, ", manifest.server_version()));
  }
  return manifest;
}

// A path of a manifest that stays below the directory.
bool IsInside(const fs::path& path) {
  if (path.empty() || path.is_absolute()) return false;
  for (const fs::path& part : path) {
    if (part == "..") return false;
  }
  return true;
}

// What is wrong with a file of the backup; empty where nothing is.
std::string Fault(const fs::path& from, const v1::BackupManifest::File& file) {
  if (!IsInside(file.path())) {
    return absl::StrCat(file.path(), ": lies outside of the backup");
  }
  const fs::path path = from / file.path();
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  if (error) return absl::StrCat(path.string(), ": ", error.message());
  if (bytes != file.bytes()) {
    return absl::StrCat(path.string(), ": has ", bytes, " bytes, not ",
                        file.bytes());
  }
  const absl::StatusOr<std::string> digest = base::FileSha256Hex(path.string());
  if (!digest.ok()) return std::string(digest.status().message());
  return *digest == file.sha256()
             ? ""
             : absl::StrCat(path.string(), ": its bytes have changed");
}

absl::Status CheckFiles(const fs::path& from,
                        const v1::BackupManifest& manifest) {
  std::vector<std::string> faults;
  for (const v1::BackupManifest::File& file : manifest.files()) {
    std::string fault = Fault(from, file);
    if (!fault.empty()) faults.push_back(std::move(fault));
  }
  if (faults.empty()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the backup is damaged: ", absl::StrJoin(faults, "; "),
                   "; nothing was restored"));
}

absl::Status Sync(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = file >= 0 && fsync(file) == 0;
  if (file >= 0) close(file);
  return synced ? absl::OkStatus()
                : absl::InternalError(
                      absl::StrCat(path.string(), ": cannot be synced"));
}

absl::Status CopyFiles(const fs::path& from, const fs::path& to,
                       const v1::BackupManifest& manifest) {
  std::error_code error;
  std::set<fs::path> directories = {to};
  for (const v1::BackupManifest::File& file : manifest.files()) {
    const fs::path target = to / file.path();
    fs::create_directories(target.parent_path(), error);
    if (!error) fs::copy_file(from / file.path(), target, error);
    if (error) {
      return absl::InternalError(absl::StrCat(
          target.string(), ": cannot be written: ", error.message()));
    }
    FAULTLINE_RETURN_IF_ERROR(Sync(target));
    directories.insert(target.parent_path());
  }
  for (const fs::path& directory : directories) {
    FAULTLINE_RETURN_IF_ERROR(Sync(directory));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::BackupManifest> RestoreBackup(const std::string& from,
                                                 const std::string& data_dir) {
  std::error_code error;
  if (fs::exists(data_dir, error) && !fs::is_empty(data_dir, error)) {
    return absl::FailedPreconditionError(absl::StrCat(
        data_dir, ": is there and not empty; name a new directory"));
  }
  FAULTLINE_ASSIGN_OR_RETURN(v1::BackupManifest manifest, ReadManifest(from));
  FAULTLINE_RETURN_IF_ERROR(CheckFiles(from, manifest));
  absl::Status copied = CopyFiles(from, data_dir, manifest);
  if (!copied.ok()) {
    fs::remove_all(data_dir, error);
    return copied;
  }
  return manifest;
}

}  // namespace faultline::cli
