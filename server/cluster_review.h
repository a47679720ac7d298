#ifndef FAULTLINE_SERVER_CLUSTER_REVIEW_H_
#define FAULTLINE_SERVER_CLUSTER_REVIEW_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/cluster_service.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/trace/trace_log.h"

namespace faultline::server {

// The cluster that lives on under `id`, or null.
const v1::Cluster* FindCluster(const v1::TickState& state, std::string id);

// What the state has recorded under the request's id, or null. ALREADY_EXISTS
// where that was another decision.
absl::StatusOr<const v1::ClusterReview*> FindRecorded(
    const v1::ReviewClusterRequest& request, const v1::TickState& state);

// The record of a decision about `cluster`, checked against the state of the
// last tick: INVALID_ARGUMENT names the field, NOT_FOUND a cluster or a run,
// ABORTED an old etag; FAILED_PRECONDITION where the decision does not fit.
// Reads `log` to find runs by id.
absl::StatusOr<v1::ClusterReview> MakeClusterReview(
    const v1::ReviewClusterRequest& request, const v1::Cluster& cluster,
    const v1::TickState& state, absl::string_view project,
    const trace::TraceLog& log);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_CLUSTER_REVIEW_H_
