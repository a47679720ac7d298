#ifndef FAULTLINE_LIB_BASE_ULID_H_
#define FAULTLINE_LIB_BASE_ULID_H_

#include <string>

#include "absl/time/time.h"
#include "lib/base/random.h"

namespace faultline::base {

// 26 characters (Crockford base 32): 48 bits of milliseconds since 1970, then
// 80 bits of `random`. Sorts by time. Lower-case, so that it can stand in a
// resource name.
std::string MakeUlid(absl::Time time, Random* random);

}  // namespace faultline::base

#endif  // FAULTLINE_LIB_BASE_ULID_H_
