#include "lib/trace/utf8.h"

#include <cstdint>
#include <cstring>

namespace faultline::trace {
namespace {

// Length of the well-formed sequence at `text`, not ASCII, of `size` bytes; 0:
// there is none (Unicode 15, table 3-7).
size_t Utf8SequenceLength(const unsigned char* text, size_t size) {
  const auto tail = [&](size_t i) { return (text[i] & 0xc0) == 0x80; };
  const unsigned char lead = text[0];
  if (lead >= 0xc2 && lead <= 0xdf) {
    return size >= 2 && tail(1) ? 2 : 0;
  }
  if (lead >= 0xe0 && lead <= 0xef) {
    if (size < 3 || !tail(1) || !tail(2)) return 0;
    if (lead == 0xe0 && text[1] < 0xa0) return 0;  // too long a form
    if (lead == 0xed && text[1] > 0x9f) return 0;  // surrogate
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (size < 4 || !tail(1) || !tail(2) || !tail(3)) return 0;
    if (lead == 0xf0 && text[1] < 0x90) return 0;  // too long a form
    if (lead == 0xf4 && text[1] > 0x8f) return 0;  // beyond U+10FFFF
    return 4;
  }
  return 0;
}

}  // namespace

size_t FindNotUtf8(absl::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  size_t i = 0;
  while (i < text.size()) {
    // Most text is ASCII: eight bytes at a time.
    uint64_t word = 0;
    while (i + sizeof(word) <= text.size()) {
      std::memcpy(&word, bytes + i, sizeof(word));
      if ((word & 0x8080808080808080u) != 0) break;
      i += sizeof(word);
    }
    while (i < text.size() && bytes[i] < 0x80) ++i;
    while (i < text.size() && bytes[i] >= 0x80) {
      const size_t length = Utf8SequenceLength(bytes + i, text.size() - i);
      if (length == 0) return i;
      i += length;
    }
  }
  return i;
}

std::string RepairUtf8(absl::string_view text) {
  constexpr char kReplacement[] = "\xef\xbf\xbd";
  std::string repaired;
  repaired.reserve(text.size());
  while (true) {
    const size_t bad = FindNotUtf8(text);
    repaired.append(text.data(), bad);
    if (bad == text.size()) return repaired;
    repaired += kReplacement;
    text.remove_prefix(bad + 1);
  }
}

}  // namespace faultline::trace
