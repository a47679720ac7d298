#ifndef FAULTLINE_LIB_STORE_ORDERED_KEY_H_
#define FAULTLINE_LIB_STORE_ORDERED_KEY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace faultline::store {

// Keys made of components, such that byte order is the order of the component
// lists and no component list is a prefix of another one's bytes by accident.
// Persisted: never change the encoding.
//
// A text keeps its bytes, but 0x00 becomes 0x00 0xFF; 0x00 0x01 ends it. A
// number is 8 bytes, big-endian.

void AppendText(absl::string_view text, std::string* key);
void AppendNumber(uint64_t number, std::string* key);

// Reads the first component of `key` and removes it. False, with `key` and the
// output unspecified, where the bytes are not such a component.
bool ConsumeText(absl::string_view* key, std::string* text);
bool ConsumeNumber(absl::string_view* key, uint64_t* number);

// The least key above every key that begins with `prefix`: the end of a scan.
// Empty (no bound) where there is none.
std::string PrefixEnd(absl::string_view prefix);

}  // namespace faultline::store

#endif  // FAULTLINE_LIB_STORE_ORDERED_KEY_H_
