#ifndef FAULTLINE_LIB_INTERVENE_PLANNER_H_
#define FAULTLINE_LIB_INTERVENE_PLANNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "lib/intervene/intervention_type.h"

namespace faultline::intervene {

// What the planner decides over.
struct PlanInput {
  std::vector<v1::Intervention> interventions;  // every one so far
  std::vector<v1::InterventionReview> reviews;  // since the last tick
  std::vector<ProposalContext> contexts;        // clusters that may act
  v1::ProjectConfig config;                     // filled in
  std::string project;
  uint64_t tick = 0;
  uint64_t seed = 0;
  absl::Time now;
  int threads = 1;  // the result does not depend on it
};

// One tick of the life cycle (DESIGN section 2): applies reviews, then the
// verdicts of the effects (Effect.verdict), retires what has expired, proposes,
// approves the kinds of config.auto_approve, and starts approved interventions,
// largest expected reduction first, while trials are free. A review that does
// not fit the status it finds changes nothing.
//
// For each cluster without an open intervention (PROPOSED, APPROVED or TRIAL)
// proposes one change: of a kind that answers the failure mode, or a cause,
// before others, then by expected reduction, which is what the type expects
// times the share that changes of its kind have kept so far (Efficacy). None
// whose kind, knob and scope equal those of one that was decided or refused, or
// whose trial showed nothing and cools down, and none where open ones on the
// same knob cover most of its scope: they answer the cluster, too. Every
// transition carries its reason and who asked for it. Pure. Returns every
// intervention, ascending by id.
std::vector<v1::Intervention> Plan(const PlanInput& input);

// Whether the status makes routers apply the intervention.
bool IsActive(v1::Intervention::Status status);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_PLANNER_H_
