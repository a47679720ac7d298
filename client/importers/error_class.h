#ifndef FAULTLINE_CLIENT_IMPORTERS_ERROR_CLASS_H_
#define FAULTLINE_CLIENT_IMPORTERS_ERROR_CLASS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace faultline::importers {

// A short class for an error's text, so that the same trouble has the same
// name whatever ids, numbers and paths it mentions: the exception's name where
// the text has one (`KeyError`), else the first words after the first `Error`,
// lower-cased, without quoted parts and words that hold digits or other
// symbols. `Error: Flight HAT030 not available on date 2024-05-13` becomes
// `flight_not_available_on_date`. At most 6 words; empty where no word is left.
std::string ErrorClass(absl::string_view text);

}  // namespace faultline::importers

#endif  // FAULTLINE_CLIENT_IMPORTERS_ERROR_CLASS_H_
