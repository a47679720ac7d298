#ifndef FAULTLINE_CLIENT_LAB_CALCULATOR_H_
#define FAULTLINE_CLIENT_LAB_CALCULATOR_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline::lab {

// The calculator tool, with a grammar as strict as a real tool's:
//
//   sum     = product { ("+" | "-") product }
//   product = factor { ("*" | "/") factor }
//   factor  = "-" factor | "(" sum ")" | digits [ "." digits ]
//
// Spaces between symbols are allowed, nothing else is. INVALID_ARGUMENT, naming
// the character, for anything outside the grammar, such as thousands
// separators, signs beyond ASCII, words and percent; OUT_OF_RANGE for a
// division by zero or a result that is not finite.
absl::StatusOr<double> Calculate(absl::string_view expression);

// A number as the lab writes answers: up to 12 significant digits.
std::string NumberText(double value);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_CALCULATOR_H_
