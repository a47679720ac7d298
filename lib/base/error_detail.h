#ifndef FAULTLINE_LIB_BASE_ERROR_DETAIL_H_
#define FAULTLINE_LIB_BASE_ERROR_DETAIL_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/error.pb.h"

namespace faultline::base {

// A detail from its parts.
v1::ErrorDetail MakeErrorDetail(v1::ErrorDetail::Reason reason,
                                absl::string_view field,
                                absl::string_view limit,
                                absl::string_view message);

// A status whose message is made of the detail (`field: message (limit)`) and
// which carries it as a payload, so that the server can send both. `code` must
// not be OK.
absl::Status DetailedError(absl::StatusCode code,
                           const v1::ErrorDetail& detail);

// `text`, or as much of its beginning as fits into `max_bytes` without cutting
// a character of UTF-8 in two: for texts of callers that messages quote.
std::string CutText(absl::string_view text, size_t max_bytes);

// The detail of a status, where it has one.
std::optional<v1::ErrorDetail> GetErrorDetail(const absl::Status& status);

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_ERROR_DETAIL_H_
