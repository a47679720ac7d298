#ifndef FAULTLINE_LIB_CLUSTER_AGREEMENT_H_
#define FAULTLINE_LIB_CLUSTER_AGREEMENT_H_

#include <cstdint>

#include "absl/types/span.h"

namespace faultline::cluster {

// Adjusted Rand index of two labellings of the same elements (Hubert and Arabie
// 1985): 1 where they are the same partition, about 0 where they have no more
// in common than chance gives. A negative label is noise, and noise is a class
// of its own. Two labellings that both put everything into one class agree.
// Requires equal lengths. Pure.
double AdjustedRandIndex(absl::Span<const int32_t> a,
                         absl::Span<const int32_t> b);

}  // namespace faultline::cluster

#endif  // FAULTLINE_LIB_CLUSTER_AGREEMENT_H_
