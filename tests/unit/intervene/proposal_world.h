#ifndef FAULTLINE_TESTS_UNIT_INTERVENE_PROPOSAL_WORLD_H_
#define FAULTLINE_TESTS_UNIT_INTERVENE_PROPOSAL_WORLD_H_

#include <vector>

#include "lib/diagnose/context_table.h"
#include "lib/diagnose/diagnoser.h"
#include "lib/intervene/intervention_type.h"
#include "lib/intervene/types/proposal_support.h"
#include "tests/unit/diagnose/run_world.h"

namespace faultline::testing {

// A cluster of a RunWorld, diagnosed, ready to be proposed for. Holds views of
// the world.
class DiagnosedCluster {
 public:
  // `chosen` picks the failed runs that belong to it.
  DiagnosedCluster(const RunWorld& world, const RunWorld::Choice& chosen) {
    diagnose::Subject subject = world.MakeSubject(chosen);
    subject.trajectory_only = true;
    cluster_.set_name(subject.cluster);
    cluster_.set_size(subject.members.size());
    cluster_.set_failure_share(.5);
    *cluster_.mutable_diagnosis() =
        diagnose::Diagnose(world.input(), {subject}).front();
    *cluster_.mutable_scope() = cluster_.diagnosis().scope();

    context_.cluster = &cluster_;
    context_.runs = world.runs();
    context_.discovery = world.discovery();
    context_.names = &world.names();
    for (const int32_t run : subject.members) {
      if (context_.member_traces.size() == kSample) break;
      context_.member_traces.push_back(&world.traces()[run]);
    }
    for (size_t i = 0; i < world.traces().size(); ++i) {
      if (context_.success_traces.size() == kSample) break;
      if (world.discovery()[i] && !context_.runs[i]->failed()) {
        context_.success_traces.push_back(&world.traces()[i]);
      }
    }
  }

  DiagnosedCluster(const DiagnosedCluster&) = delete;
  DiagnosedCluster& operator=(const DiagnosedCluster&) = delete;

  v1::Cluster& cluster() { return cluster_; }
  intervene::ProposalContext& context() { return context_; }

  std::vector<intervene::Proposal> Propose(
      const intervene::InterventionType& type) const {
    const diagnose::ContextTable table(
        {context_.runs, context_.discovery, context_.names},
        {intervene::SampledMembers(context_)});
    return type.Propose(context_, table);
  }

 private:
  static constexpr size_t kSample = 200;

  v1::Cluster cluster_;
  intervene::ProposalContext context_;
};

}  // namespace faultline::testing

#endif  // FAULTLINE_TESTS_UNIT_INTERVENE_PROPOSAL_WORLD_H_
