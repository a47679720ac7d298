#include "lib/base/ulid.h"

#include <algorithm>
#include <cstdint>

namespace faultline::base {

std::string MakeUlid(absl::Time time, Random* random) {
  static constexpr char kDigits[] = "0123456789abcdefghjkmnpqrstvwxyz";
  uint64_t milliseconds =
      static_cast<uint64_t>(std::max<int64_t>(0, absl::ToUnixMillis(time)));
  std::string id(26, '0');
  for (int i = 9; i >= 0; --i, milliseconds >>= 5) {
    id[i] = kDigits[milliseconds & 31];
  }
  uint64_t bits[2] = {random->Next(), random->Next()};
  for (int i = 0; i < 16; ++i) {
    id[10 + i] = kDigits[bits[i / 8] & 31];
    bits[i / 8] >>= 5;
  }
  return id;
}

}  // namespace faultline::base
