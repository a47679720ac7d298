#ifndef FAULTLINE_LIB_INTERVENE_TYPE_LIST_H_
#define FAULTLINE_LIB_INTERVENE_TYPE_LIST_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "lib/intervene/intervention_type.h"

namespace faultline::intervene {

// Every known type, one of each kind, ascending by kind. Thread-safe; lives
// for ever.
const std::vector<std::unique_ptr<const InterventionType>>& InterventionTypes();

// The type of a kind; null where none is known.
const InterventionType* FindInterventionType(v1::InterventionKind kind);

// INVALID_ARGUMENT where no type knows the action, or its type's errors.
absl::Status ValidateAction(const v1::Action& action);

// The kind of the arm that is set; UNSPECIFIED for none.
v1::InterventionKind KindOf(const v1::Action& action);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_TYPE_LIST_H_
