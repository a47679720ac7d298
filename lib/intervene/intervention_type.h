#ifndef FAULTLINE_LIB_INTERVENE_INTERVENTION_TYPE_H_
#define FAULTLINE_LIB_INTERVENE_INTERVENTION_TYPE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/embedding/run.h"

namespace faultline::intervene {

// What a type may look at when it proposes. Views; valid during the call.
struct ProposalContext {
  const v1::Cluster* cluster = nullptr;          // with its diagnosis
  std::vector<const v1::Trace*> member_traces;   // a sample, discovery side
  std::vector<const v1::Trace*> success_traces;  // a sample, discovery side
  // Every run of the window with known outcome, ascending by sequence, and
  // its side.
  std::vector<const embedding::Run*> runs;
  std::vector<bool> discovery;
  const embedding::FeatureNames* names = nullptr;
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
// type_list.cc. Immutable, so thread-safe.
class InterventionType {
 public:
  virtual ~InterventionType() = default;

  virtual v1::InterventionKind kind() const = 0;

  // Proposals for a diagnosed cluster that may act, best first; often none.
  // Scopes are found on the discovery side and must hold on the held-out side.
  virtual std::vector<Proposal> Propose(
      const ProposalContext& context) const = 0;

  // INVALID_ARGUMENT, naming field and limit, where the action breaks its
  // bounds or is of another kind.
  virtual absl::Status Validate(const v1::Action& action) const = 0;

  // The knob that the action turns: two actions with the same knob exclude
  // each other on one run.
  virtual std::string Knob(const v1::Action& action) const = 0;
};

// Every known type, one of each kind, in order of kind.
const std::vector<std::unique_ptr<const InterventionType>>& InterventionTypes();

// The type of a kind; null where none is known.
const InterventionType* FindInterventionType(v1::InterventionKind kind);

}  // namespace faultline::intervene

#endif  // FAULTLINE_LIB_INTERVENE_INTERVENTION_TYPE_H_
