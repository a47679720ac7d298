#ifndef FAULTLINE_CLIENT_LAB_TRUTH_H_
#define FAULTLINE_CLIENT_LAB_TRUTH_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/lab/lab.h"
#include "client/lab/problem.h"
#include "faultline/v1/diagnosis.pb.h"
#include "faultline/v1/intervention.pb.h"

namespace faultline::lab {

// What only the examiner can tell of what the server did.

// What an intervention does in truth: the same fresh problems run with it on
// every run in scope, and without any policy.
struct Truth {
  enum class Effect { kHelps, kInert, kHurts };

  int in_scope = 0;
  int prevented = 0;  // failed without it and not with it
  int caused = 0;     // failed with it and not without it

  // Inert where what was prevented and caused differ by no more than twice the
  // standard error of the difference.
  Effect effect() const;
};

// `tick`: whose runtime. The same problems for every intervention.
Truth MeasureTruth(const Lab& lab, const v1::Intervention& intervention,
                   int tick, int problems);

// The failure modes that name a hidden kind rightly: the parts at fault, as
// docs/lab.md has them.
std::vector<v1::FailureMode> ModesOf(Family family, absl::string_view kind);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_TRUTH_H_
