#include "lib/store/synced_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "lib/base/hash.h"

namespace faultline::store {
namespace {

constexpr uint64_t kMagic = 0x314B4D434E5953ull;  // "SYNCMK1"

// The file, in the byte order of the machines that we run on.
struct Image {
  uint64_t magic;
  SyncedMark::State state;
  uint64_t digest;  // of all before
};
static_assert(sizeof(Image) == 48);

uint64_t DigestOf(const Image& image) {
  return base::Hash64(absl::string_view(reinterpret_cast<const char*>(&image),
                                        offsetof(Image, digest)));
}

absl::Status SystemError(absl::string_view what, const std::string& path) {
  return absl::InternalError(
      absl::StrCat("store: cannot ", what, " ", path, ": ",
                   std::generic_category().message(errno)));
}

}  // namespace

absl::StatusOr<std::optional<SyncedMark::State>> SyncedMark::Read(
    const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return std::nullopt;
    return SystemError("open", path);
  }
  Image image;
  const ssize_t got = pread(descriptor, &image, sizeof(image), 0);
  close(descriptor);
  if (got < 0) return SystemError("read", path);
  if (got != sizeof(image) || image.magic != kMagic ||
      image.digest != DigestOf(image)) {
    return std::nullopt;
  }
  return image.state;
}

absl::StatusOr<std::unique_ptr<SyncedMark>> SyncedMark::Open(
    const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) return SystemError("open", path);
  return std::unique_ptr<SyncedMark>(new SyncedMark(descriptor));
}

SyncedMark::~SyncedMark() { close(descriptor_); }

void SyncedMark::SetSequence(uint64_t sequence) {
  absl::MutexLock lock(&mutex_);
  if (sequence <= state_.sequence) return;
  state_.sequence = sequence;
  Write();
}

void SyncedMark::SetManifest(uint64_t number, uint64_t bytes, uint64_t digest) {
  absl::MutexLock lock(&mutex_);
  state_.manifest = number;
  state_.manifest_bytes = bytes;
  state_.manifest_digest = digest;
  Write();
}

void SyncedMark::Write() {
  Image image{kMagic, state_, 0};
  image.digest = DigestOf(image);
  // Less than a page, over what is there: it takes no space.
  [[maybe_unused]] const ssize_t written =
      pwrite(descriptor_, &image, sizeof(image), 0);
}

}  // namespace faultline::store
