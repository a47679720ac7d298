#ifndef FAULTLINE_LIB_EVALUATE_CHAIN_REPORT_H_
#define FAULTLINE_LIB_EVALUATE_CHAIN_REPORT_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/evaluation_service.pb.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/tick.pb.h"

// Whether the loop closed: from a failure mode over the policy and the routers
// to its reduction, each link with its reason. Pure functions.

namespace faultline::evaluate {

// What a report reads. Views, valid during the call.
struct ChainInput {
  const v1::TickState* state = nullptr;
  const v1::Policy* policy = nullptr;    // current
  absl::Span<const v1::Router> routers;  // known since the server started
  absl::Span<const v1::Tick> ticks;      // the last ones, for their lineage
  // By id of each intervention that started: the policy version of its
  // start_tick.
  const absl::flat_hash_map<std::string, uint64_t>* first_versions = nullptr;
};

// The chain of `cluster`, which is of the state.
v1::ChainReport ReportChain(const ChainInput& input,
                            const v1::Cluster& cluster);

}  // namespace faultline::evaluate

#endif  // FAULTLINE_LIB_EVALUATE_CHAIN_REPORT_H_
