#ifndef FAULTLINE_SERVER_REQUEST_CHECK_H_
#define FAULTLINE_SERVER_REQUEST_CHECK_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace faultline::server {

// Checks of request fields. Each returns INVALID_ARGUMENT, naming the field
// and the limit, where the value is out of bounds.

// Bytes of a text; REQUIRED where it is empty and must not be.
absl::Status CheckLength(absl::string_view field, absl::string_view text,
                         size_t least, size_t most);

// Elements of a list.
absl::Status CheckCount(absl::string_view field, int count, int least,
                        int most);

// A number.
absl::Status CheckRange(absl::string_view field, int value, int least,
                        int most);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_REQUEST_CHECK_H_
