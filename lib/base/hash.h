#ifndef FAULTLINE_LIB_BASE_HASH_H_
#define FAULTLINE_LIB_BASE_HASH_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message_lite.h"

namespace faultline::base {

// xxh64 of the bytes. Stable across machines and releases: it is persisted and
// shared with routers.
uint64_t Hash64(absl::string_view bytes, uint64_t seed = 0);

// Hash64 of bytes that come in parts. Not thread-safe.
class Hasher64 {
 public:
  Hasher64();
  ~Hasher64();
  Hasher64(const Hasher64&) = delete;
  Hasher64& operator=(const Hasher64&) = delete;

  void Update(absl::string_view bytes);
  // Of all bytes so far.
  uint64_t Digest() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// Bijective scrambling of a 64-bit number (the finaliser of splitmix64).
uint64_t Mix64(uint64_t x);

// `hash` as a number in [0, 1), from its upper 53 bits.
double ToUnitInterval(uint64_t hash);

// SHA-256 as 64 lower-case hex digits.
std::string Sha256Hex(absl::string_view bytes);

// SHA-256 of a file's bytes, as above. NOT_FOUND where there is no such file,
// INTERNAL where it cannot be read; both name it.
absl::StatusOr<std::string> FileSha256Hex(const std::string& path);

// SHA-256, in hex, of the message's bytes with map entries in a fixed order:
// equal messages of one build have equal digests.
std::string MessageDigest(const google::protobuf::MessageLite& message);

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_HASH_H_
