#ifndef FAULTLINE_LIB_INTERVENE_BOUNDS_H_
#define FAULTLINE_LIB_INTERVENE_BOUNDS_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/error.pb.h"
#include "faultline/v1/intervention.pb.h"

// Checks that several intervention types make. `field` is a path such as
// `action.routing_policy.candidates`; each returns INVALID_ARGUMENT with it.

namespace faultline::intervene {

// INVALID_ARGUMENT with an ErrorDetail.
absl::Status Invalid(v1::ErrorDetail::Reason reason, absl::string_view field,
                     absl::string_view limit, absl::string_view message);

// The arm of `action` must be `expected`.
absl::Status CheckArm(const v1::Action& action, v1::Action::KindCase expected,
                      absl::string_view field);

// A name of a candidate, tool, step or signal: 1 to 128 bytes.
absl::Status CheckName(absl::string_view field, absl::string_view value);

// The same, where it may be empty.
absl::Status CheckOptionalName(absl::string_view field,
                               absl::string_view value);

// Finite and in [least, most].
absl::Status CheckRange(absl::string_view field, double value, double least,
                        double most);

// Something that is drawn, and its probability.
struct NamedWeight {
  absl::string_view name;
  double weight = 0;
};

// `least_count` to 64 of them, with different names (CheckName) and weights in
// [least, 1] that add up to 1. The weights are in the field `weight_name` of
// each entry.
absl::Status CheckWeights(absl::string_view field,
                          absl::string_view weight_name, size_t least_count,
                          double least, absl::Span<const NamedWeight> weights);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_BOUNDS_H_
