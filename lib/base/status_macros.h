#ifndef FAULTLINE_LIB_BASE_STATUS_MACROS_H_
#define FAULTLINE_LIB_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function where `expression` (a Status) is not OK.
#define FAULTLINE_RETURN_IF_ERROR(expression)            \
  do {                                                   \
    absl::Status faultline_status = (expression);        \
    if (!faultline_status.ok()) return faultline_status; \
  } while (false)

// `target` may be a declaration, so it cannot stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)

// Assigns the value of `expression` (a StatusOr) to `target`, or returns.
#define FAULTLINE_ASSIGN_OR_RETURN(target, expression) \
  FAULTLINE_ASSIGN_OR_RETURN_IMPL_(                    \
      FAULTLINE_CONCAT_(faultline_statusor_, __LINE__), target, expression)

#define FAULTLINE_ASSIGN_OR_RETURN_IMPL_(statusor, target, expression) \
  auto statusor = (expression);                                        \
  if (!statusor.ok()) return std::move(statusor).status();             \
  target = *std::move(statusor)

// NOLINTEND(bugprone-macro-parentheses)

#define FAULTLINE_CONCAT_(a, b) FAULTLINE_CONCAT_INNER_(a, b)
#define FAULTLINE_CONCAT_INNER_(a, b) a##b

#endif  // FAULTLINE_LIB_BASE_STATUS_MACROS_H_
