#include "server/backup.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/hash.h"
#include "lib/base/status_macros.h"
#include "server/server_options.h"

namespace faultline::server {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kFormat = 1;
constexpr char kManifestName[] = "faultline_backup.textproto";

absl::Status FileError(const fs::path& path, absl::string_view what,
                       absl::string_view why) {
  return absl::InternalError(
      absl::StrCat("backup: ", path.string(), ": ", what, ": ", why));
}

absl::Status Sync(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = file >= 0 && fsync(file) == 0;
  if (file >= 0) close(file);
  return synced ? absl::OkStatus()
                : FileError(path, "cannot be synced", std::strerror(errno));
}

bool LiesIn(const fs::path& path, const fs::path& directory) {
  const fs::path inner = fs::weakly_canonical(path);
  const fs::path outer = fs::weakly_canonical(directory);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end())
             .first == outer.end();
}

// Makes the directory ready: it does not exist afterwards.
absl::Status Prepare(const fs::path& directory, const fs::path& data_dir) {
  if (!directory.is_absolute() || LiesIn(directory, data_dir)) {
    return base::DetailedError(
        absl::StatusCode::kInvalidArgument,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_MALFORMED, "directory",
                              "an absolute path outside of the data directory",
                              absl::StrCat("is `", directory.string(), "`")));
  }
  std::error_code error;
  if (fs::exists(directory, error) && !fs::is_empty(directory, error)) {
    return base::DetailedError(
        absl::StatusCode::kFailedPrecondition,
        base::MakeErrorDetail(
            v1::ErrorDetail::REASON_WRONG_STATE, "directory", "absent or empty",
            absl::StrCat(directory.string(), " is there and not empty")));
  }
  fs::remove(directory, error);
  if (!error) fs::create_directories(directory.parent_path(), error);
  return error ? FileError(directory, "cannot be made", error.message())
               : absl::OkStatus();
}

// Copies the files below `from`. One that is gone meanwhile has been replaced
// by its owner and is left out.
absl::Status CopyTree(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  if (error) return FileError(to, "cannot be made", error.message());
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    const fs::path target = to / entry.path().filename();
    if (entry.is_directory(error)) {
      FAULTLINE_RETURN_IF_ERROR(CopyTree(entry.path(), target));
    } else if (entry.is_regular_file(error)) {
      fs::copy_file(entry.path(), target, error);
      if (error == std::errc::no_such_file_or_directory) continue;
      if (error) return FileError(target, "cannot be copied", error.message());
      FAULTLINE_RETURN_IF_ERROR(Sync(target));
    }
  }
  return Sync(to);
}

absl::Status CopyDirectories(const fs::path& from, const fs::path& to) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    if (!entry.is_directory(error)) continue;
    FAULTLINE_RETURN_IF_ERROR(
        CopyTree(entry.path(), to / entry.path().filename()));
  }
  if (error) return FileError(from, "cannot be listed", error.message());
  return absl::OkStatus();
}

// Where files wait until the store has made its directory: it must be new.
fs::path BesideOf(const fs::path& directory) {
  return directory.string() + ".beside";
}

absl::Status MoveInto(const fs::path& from, const fs::path& to) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    fs::rename(entry.path(), to / entry.path().filename(), error);
    if (error) return FileError(to, "cannot be filled", error.message());
  }
  fs::remove(from, error);
  return absl::OkStatus();
}

absl::Status ListFiles(const fs::path& directory,
                       v1::BackupManifest* manifest) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::recursive_directory_iterator it(directory, error), end; it != end;
       it.increment(error)) {
    if (it->is_regular_file(error)) entries.push_back(*it);
  }
  if (error) return FileError(directory, "cannot be listed", error.message());
  std::sort(entries.begin(), entries.end());
  for (const fs::directory_entry& entry : entries) {
    const fs::path& path = entry.path();
    v1::BackupManifest::File& file = *manifest->add_files();
    file.set_path(path.lexically_relative(directory).string());
    file.set_bytes(entry.file_size(error));
    FAULTLINE_ASSIGN_OR_RETURN(*file.mutable_sha256(),
                               base::FileSha256Hex(path.string()));
  }
  return absl::OkStatus();
}

// Under another name first, so that a manifest is whole where it is.
absl::Status WriteManifest(const fs::path& directory,
                           const v1::BackupManifest& manifest) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(manifest, &text);
  const fs::path path = directory / kManifestName;
  const fs::path unfinished = path.string() + ".tmp";
  std::ofstream file(unfinished, std::ios::binary);
  file << text;
  file.close();
  if (!file) return FileError(unfinished, "cannot be written", "");
  FAULTLINE_RETURN_IF_ERROR(Sync(unfinished));
  std::error_code error;
  fs::rename(unfinished, path, error);
  if (error) return FileError(path, "cannot be written", error.message());
  FAULTLINE_RETURN_IF_ERROR(Sync(directory));
  return Sync(directory.parent_path());
}

absl::Status Copy(const store::KeyValueStore& store, const fs::path& data_dir,
                  const fs::path& directory, v1::BackupManifest* manifest) {
  // First, so that it is never ahead of the store.
  const fs::path beside = BesideOf(directory);
  FAULTLINE_RETURN_IF_ERROR(CopyDirectories(data_dir, beside));
  FAULTLINE_RETURN_IF_ERROR(store.Checkpoint(directory.string()));
  FAULTLINE_RETURN_IF_ERROR(MoveInto(beside, directory));
  FAULTLINE_RETURN_IF_ERROR(ListFiles(directory, manifest));
  return WriteManifest(directory, *manifest);
}

}  // namespace

absl::StatusOr<v1::BackupManifest> WriteBackup(
    const store::KeyValueStore& store, const std::string& data_dir,
    const std::string& directory, const base::Clock& clock) {
  FAULTLINE_RETURN_IF_ERROR(Prepare(directory, data_dir));
  v1::BackupManifest manifest;
  manifest.set_format(kFormat);
  manifest.set_server_version(std::string(ServerVersion()));
  *manifest.mutable_create_time() =
      google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
          absl::ToUnixNanos(clock.Now()));
  absl::Status status = Copy(store, data_dir, directory, &manifest);
  if (!status.ok()) {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
    fs::remove_all(BesideOf(directory), ignored);
    return status;
  }
  return manifest;
}

}  // namespace faultline::server
