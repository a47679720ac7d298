// Makes writes fail in a program that knows nothing of it (LD_PRELOAD): what a
// bad or full disk does. The environment says what fails:
//   FAILING_FILES  end of the names of the files that are concerned: `.log`
//   FAILING_CALL   `write`: after FAILING_AFTER bytes, a write is cut short,
//                  and the next ones fail; `sync`: after so many calls,
//                  fdatasync and fsync fail
//   FAILING_AFTER  bytes or calls
//   FAILING_TIMES  how often they fail; absent: for ever
//   FAILING_ERROR  `ENOSPC`, or EIO where it is absent
// Only files below FAILING_BELOW are concerned.
#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

struct Order {
  std::string below, files, call;
  int error = EIO;
  long after = 0;
  std::atomic<long> seen{0};
  std::atomic<long> times{LONG_MAX};

  Order() {
    const auto text = [](const char* name) {
      const char* value = std::getenv(name);
      return std::string(value == nullptr ? "" : value);
    };
    below = text("FAILING_BELOW");
    files = text("FAILING_FILES");
    call = text("FAILING_CALL");
    if (text("FAILING_ERROR") == "ENOSPC") error = ENOSPC;
    after = std::atol(text("FAILING_AFTER").c_str());
    if (!text("FAILING_TIMES").empty()) {
      times = std::atol(text("FAILING_TIMES").c_str());
    }
  }

  bool Concerns(int descriptor, std::string_view what) const {
    if (below.empty() || call != what) return false;
    char name[PATH_MAX];
    const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
    const ssize_t size = readlink(link.c_str(), name, sizeof(name));
    if (size <= 0) return false;
    const std::string_view path(name, static_cast<size_t>(size));
    // `MANIFEST-000005`: the end is a number.
    const std::string_view file = path.substr(path.rfind('/') + 1);
    const bool ends = file.size() >= files.size() &&
                      file.substr(file.size() - files.size()) == files;
    return path.substr(0, below.size()) == below &&
           (ends || file.substr(0, files.size()) == files);
  }

  bool Fails() { return times-- > 0; }
};

Order& order() {
  static Order& made = *new Order;
  return made;
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// How many of `size` bytes may be written; -1: the call fails.
ssize_t Allowed(int descriptor, size_t size) {
  Order& now = order();
  if (!now.Concerns(descriptor, "write")) return static_cast<ssize_t>(size);
  const long before = now.seen.fetch_add(static_cast<long>(size));
  if (before + static_cast<long>(size) <= now.after) {
    return static_cast<ssize_t>(size);
  }
  // Half of the first one gets through.
  if (before <= now.after && size > 1) return static_cast<ssize_t>(size / 2);
  if (now.Fails()) return -1;
  return static_cast<ssize_t>(size);
}

int Sync(int descriptor, const char* name) {
  Order& now = order();
  if (now.Concerns(descriptor, "sync") && ++now.seen > now.after &&
      now.Fails()) {
    errno = now.error;
    return -1;
  }
  return Real<int (*)(int)>(name)(descriptor);
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t size) {
  static const auto real = Real<ssize_t (*)(int, const void*, size_t)>("write");
  const ssize_t allowed = Allowed(descriptor, size);
  if (allowed < 0) {
    errno = order().error;
    return -1;
  }
  return real(descriptor, bytes, static_cast<size_t>(allowed));
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off_t at) {
  static const auto real =
      Real<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite64");
  const ssize_t allowed = Allowed(descriptor, size);
  if (allowed < 0) {
    errno = order().error;
    return -1;
  }
  return real(descriptor, bytes, static_cast<size_t>(allowed), at);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t at) {
  return pwrite64(descriptor, bytes, size, at);
}

int fdatasync(int descriptor) { return Sync(descriptor, "fdatasync"); }
int fsync(int descriptor) { return Sync(descriptor, "fsync"); }

}  // extern "C"
