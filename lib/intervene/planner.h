#ifndef FAULTLINE_LIB_INTERVENE_PLANNER_H_
#define FAULTLINE_LIB_INTERVENE_PLANNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "lib/intervene/intervention_type.h"

namespace faultline::intervene {

// What the planner decides over.
struct PlanInput {
  std::vector<v1::Intervention> interventions;  // every one so far, by id
  std::vector<v1::InterventionReview> reviews;  // since the last tick
  std::vector<ProposalContext> contexts;        // clusters that may act
  v1::ProjectConfig config;                     // filled in
  std::string project;
  uint64_t tick = 0;
  uint64_t seed = 0;
  absl::Time now;
};

// Applies reviews, expiry and auto-approval, starts approved interventions
// while trials are free, and proposes new ones: at most one open intervention
// for a cluster, and none whose knob and scope equal those of an open or
// rejected one (DESIGN section 2 has the life cycle). Every transition carries
// its reason. Pure. Returns every intervention, ascending by id.
std::vector<v1::Intervention> Plan(const PlanInput& input);

// Whether the status makes routers apply the intervention.
bool IsActive(v1::Intervention::Status status);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_PLANNER_H_
