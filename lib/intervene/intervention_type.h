#ifndef FAULTLINE_LIB_INTERVENE_INTERVENTION_TYPE_H_
#define FAULTLINE_LIB_INTERVENE_INTERVENTION_TYPE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/diagnose/context_table.h"
#include "lib/embedding/run.h"

namespace faultline::intervene {

// What a type may look at when it proposes. Views; valid during the call.
struct ProposalContext {
  const v1::Cluster* cluster = nullptr;  // with its diagnosis
  // A sample of the cluster's members: failed, of the discovery side.
  std::vector<const v1::Trace*> member_traces;
  std::vector<const v1::Trace*> success_traces;  // a sample, discovery side
  // Every run of the window with known outcome, and its side. The same for
  // every cluster of a tick.
  std::vector<const embedding::Run*> runs;
  std::vector<bool> discovery;
  const embedding::FeatureNames* names = nullptr;
  // Of what is drawn at random; changes from tick to tick.
  uint64_t seed = 0;
  // Records of the log that a tick brings, on average: tells how old a run is.
  // 0: not known, and old runs count as much as new ones.
  double records_per_tick = 0;
};

// A change that a type proposes.
struct Proposal {
  v1::Action action;
  v1::Predicate scope;
  std::string summary;            // one sentence for a reviewer
  double expected_reduction = 0;  // share of all runs, in [0, 1]
};

// One kind of intervention: how it is proposed and what it may hold. Adding a
// kind is one arm of v1::Action, one file in types/ and one line in
// type_list.cc. What an action sets, and so which actions exclude each other,
// is policy::ActionKnob, which routers use too. Immutable, so thread-safe.
class InterventionType {
 public:
  virtual ~InterventionType() = default;

  virtual v1::InterventionKind kind() const = 0;

  // Whether this kind of change is the usual answer to a failure mode: such
  // proposals go before others.
  virtual bool Answers(v1::FailureMode mode) const = 0;

  // Proposals for a diagnosed cluster that may act, best first; often none.
  // Scopes and thresholds are found on the discovery side and must hold on the
  // held-out side. `table` has the features of the context's runs. Pure.
  virtual std::vector<Proposal> Propose(
      const ProposalContext& context,
      const diagnose::ContextTable& table) const = 0;

  // INVALID_ARGUMENT, naming field and limit, where the action breaks its
  // bounds (intervention.proto) or is of another kind.
  virtual absl::Status Validate(const v1::Action& action) const = 0;
};

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_INTERVENTION_TYPE_H_
