#ifndef FAULTLINE_LIB_DIAGNOSE_EVIDENCE_TABLE_H_
#define FAULTLINE_LIB_DIAGNOSE_EVIDENCE_TABLE_H_

#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/diagnosis.pb.h"
#include "lib/diagnose/behavior_contrast.h"
#include "lib/diagnose/cause_test.h"
#include "lib/diagnose/route_contrast.h"

namespace faultline::diagnose {

// What a cluster is read from.
struct Evidence {
  // Members against successes in scope, or against the rest where these are
  // too few.
  std::vector<TokenContrast> tokens;
  double steps_effect = 0;               // log steps, in standard deviations
  double errors_effect = 0;              // error share, in standard deviations
  std::vector<const CauseTest*> causes;  // that passed
  v1::Predicate scope;
  std::optional<RouteContrast> routes;  // within the scope
};

// How a cluster reads.
struct Reading {
  v1::FailureMode mode = v1::FAILURE_MODE_UNKNOWN;
  double posterior = 0;                    // of the best mode
  std::vector<v1::ModeEvidence> evidence;  // strongest first
};

// Adds up the rules of the evidence table for each mode, turns the scores into
// a posterior by softmax, and answers UNKNOWN where the best is below .5 or
// leads by less than .15 (METHODS 4.2). Pure.
Reading ReadFailureMode(const Evidence& evidence);

}  // namespace faultline::diagnose

#endif  // FAULTLINE_LIB_DIAGNOSE_EVIDENCE_TABLE_H_
