#include "lib/intervene/type_list.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/intervene/bounds.h"

namespace faultline::intervene {

// A type NAME is MakeNAME() in its file in types/.
#define FAULTLINE_INTERVENTION_TYPES(TYPE) \
  TYPE(RoutingPolicy)                      \
  TYPE(MemorySchema)                       \
  TYPE(ToolConstraint)                     \
  TYPE(BanditWeights)                      \
  TYPE(Guardrail)                          \
  TYPE(PromptStrategy)

#define FAULTLINE_DECLARE(NAME) \
  std::unique_ptr<const InterventionType> Make##NAME();
FAULTLINE_INTERVENTION_TYPES(FAULTLINE_DECLARE)
#undef FAULTLINE_DECLARE

const std::vector<std::unique_ptr<const InterventionType>>&
InterventionTypes() {
  static const auto* const types = [] {
    auto* list = new std::vector<std::unique_ptr<const InterventionType>>;
#define FAULTLINE_ADD(NAME) list->push_back(Make##NAME());
    FAULTLINE_INTERVENTION_TYPES(FAULTLINE_ADD)
#undef FAULTLINE_ADD
    std::sort(list->begin(), list->end(), [](const auto& a, const auto& b) {
      return a->kind() < b->kind();
    });
    return list;
  }();
  return *types;
}

const InterventionType* FindInterventionType(v1::InterventionKind kind) {
  for (const auto& type : InterventionTypes()) {
    if (type->kind() == kind) return type.get();
  }
  return nullptr;
}

v1::InterventionKind KindOf(const v1::Action& action) {
  // The arms of Action have the numbers of InterventionKind.
  return static_cast<v1::InterventionKind>(action.kind_case());
}

absl::Status ValidateAction(const v1::Action& action) {
  const InterventionType* type = FindInterventionType(KindOf(action));
  if (type == nullptr) {
    return Invalid(v1::ErrorDetail::REASON_UNKNOWN_ENUM, "action.kind",
                   "a known arm",
                   absl::StrCat("is ", static_cast<int>(action.kind_case())));
  }
  return type->Validate(action);
}

}  // namespace faultline::intervene
