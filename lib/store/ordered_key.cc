#include "lib/store/ordered_key.h"

namespace faultline::store {
namespace {
constexpr char kEscape = '\x00';
constexpr char kEscapedZero = '\xff';
constexpr char kTerminator = '\x01';
}  // namespace

void AppendText(absl::string_view text, std::string* key) {
  for (const char c : text) {
    key->push_back(c);
    if (c == kEscape) key->push_back(kEscapedZero);
  }
  key->push_back(kEscape);
  key->push_back(kTerminator);
}

void AppendNumber(uint64_t number, std::string* key) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    key->push_back(static_cast<char>(number >> shift));
  }
}

bool ConsumeText(absl::string_view* key, std::string* text) {
  text->clear();
  for (size_t i = 0; i < key->size(); ++i) {
    const char c = (*key)[i];
    if (c != kEscape) {
      text->push_back(c);
      continue;
    }
    if (++i == key->size()) return false;
    if ((*key)[i] == kTerminator) {
      key->remove_prefix(i + 1);
      return true;
    }
    if ((*key)[i] != kEscapedZero) return false;
    text->push_back(kEscape);
  }
  return false;
}

bool ConsumeNumber(absl::string_view* key, uint64_t* number) {
  if (key->size() < 8) return false;
  *number = 0;
  for (int i = 0; i < 8; ++i) {
    *number = *number << 8 | static_cast<unsigned char>((*key)[i]);
  }
  key->remove_prefix(8);
  return true;
}

std::string PrefixEnd(absl::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (!end.empty()) ++end.back();
  return end;
}

}  // namespace faultline::store
