#ifndef FAULTLINE_LIB_TRACE_UTF8_H_
#define FAULTLINE_LIB_TRACE_UTF8_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace faultline::trace {

// Index of the first byte that is not UTF-8; the size: none.
size_t FindNotUtf8(absl::string_view text);

// `text` with U+FFFD in the place of each byte that is not UTF-8.
std::string RepairUtf8(absl::string_view text);

}  // namespace faultline::trace

#endif  // FAULTLINE_LIB_TRACE_UTF8_H_
