#include "server/cluster_review.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "server/grpc_status.h"
#include "server/request_check.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

using v1::ClusterReview;

constexpr size_t kMaxLabelBytes = 200;
constexpr size_t kMaxReviewerBytes = 128;
constexpr size_t kMaxReasonBytes = 1024;
constexpr size_t kMaxRequestIdBytes = 128;
constexpr int kMaxOthers = 50;
constexpr int kLeastSplitRuns = 10;
constexpr int kMaxSplitRuns = 10000;

absl::Status BadField(v1::ErrorDetail::Reason reason, absl::string_view field,
                      absl::string_view limit, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kInvalidArgument,
      base::MakeErrorDetail(reason, field, limit, message));
}

absl::Status WrongState(absl::string_view field, absl::string_view message) {
  return base::DetailedError(
      absl::StatusCode::kFailedPrecondition,
      base::MakeErrorDetail(v1::ErrorDetail::REASON_WRONG_STATE, field, "",
                            message));
}

bool Links(ClusterReview::Decision decision) {
  return decision == ClusterReview::DECISION_MUST_LINK ||
         decision == ClusterReview::DECISION_CANNOT_LINK;
}

// Fields of other decisions must be empty, so that a slip is not taken for
// something else.
absl::Status CheckUnused(const v1::ReviewClusterRequest& request) {
  const auto decision = request.decision();
  const bool splits = decision == ClusterReview::DECISION_SPLIT;
  const struct {
    absl::string_view field;
    bool present;
    bool used;
  } fields[] = {
      {"label", !request.label().empty(),
       decision == ClusterReview::DECISION_LABEL},
      {"others", !request.others().empty(),
       decision == ClusterReview::DECISION_MERGE},
      {"sub_modes", !request.sub_modes().empty(), splits},
      {"trace_ids", !request.trace_ids().empty(), splits || Links(decision)},
  };
  for (const auto& [field, present, used] : fields) {
    if (present && !used) {
      return BadField(v1::ErrorDetail::REASON_MALFORMED, field, "empty",
                      absl::StrCat("has no meaning with ",
                                   ClusterReview::Decision_Name(decision)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const v1::ReviewClusterRequest& request) {
  const auto decision = request.decision();
  if (!ClusterReview::Decision_IsValid(decision) ||
      decision == ClusterReview::DECISION_UNSPECIFIED) {
    return BadField(v1::ErrorDetail::REASON_REQUIRED, "decision",
                    "label, merge, split, must-link, cannot-link or reject",
                    "is missing");
  }
  FAULTLINE_RETURN_IF_ERROR(
      CheckLength("reviewer", request.reviewer(), 1, kMaxReviewerBytes));
  FAULTLINE_RETURN_IF_ERROR(
      CheckLength("reason", request.reason(), 1, kMaxReasonBytes));
  FAULTLINE_RETURN_IF_ERROR(
      CheckLength("request_id", request.request_id(), 0, kMaxRequestIdBytes));
  FAULTLINE_RETURN_IF_ERROR(CheckUnused(request));
  if (decision == ClusterReview::DECISION_LABEL) {
    return CheckLength("label", request.label(), 1, kMaxLabelBytes);
  }
  if (decision == ClusterReview::DECISION_MERGE) {
    return CheckCount("others", request.others_size(), 1, kMaxOthers);
  }
  if (Links(decision)) {
    return CheckCount("trace_ids", request.trace_ids_size(), 2, 2);
  }
  if (decision == ClusterReview::DECISION_SPLIT) {
    if (request.sub_modes().empty() == request.trace_ids().empty()) {
      return BadField(v1::ErrorDetail::REASON_REQUIRED, "sub_modes",
                      "either `sub_modes` or `trace_ids`",
                      "must say what leaves the cluster");
    }
    if (!request.trace_ids().empty()) {
      return CheckCount("trace_ids", request.trace_ids_size(), kLeastSplitRuns,
                        kMaxSplitRuns);
    }
  }
  return absl::OkStatus();
}

bool IsRejected(const v1::Cluster& cluster) {
  return std::any_of(cluster.reviews().begin(), cluster.reviews().end(),
                     [](const ClusterReview& review) {
                       return review.decision() ==
                                  ClusterReview::DECISION_REJECT &&
                              review.problem().empty();
                     });
}

const v1::ClusterMembers* MembersOf(const v1::TickState& state,
                                    absl::string_view id) {
  for (const v1::ClusterMembers& members : state.members()) {
    if (members.cluster_id() == id) return &members;
  }
  return nullptr;
}

bool Holds(const v1::ClusterMembers* members, uint64_t sequence) {
  return members != nullptr &&
         std::binary_search(members->sequences().begin(),
                            members->sequences().end(), sequence);
}

absl::StatusOr<uint64_t> FindRun(const trace::TraceLog& log,
                                 absl::string_view project,
                                 absl::string_view field,
                                 const std::string& trace_id) {
  absl::StatusOr<uint64_t> sequence = log.FindTrace(project, trace_id);
  if (absl::IsNotFound(sequence.status())) {
    return NotFoundError(field, MakeResourceName(project, "traces", trace_id));
  }
  return sequence;
}

absl::Status AddOthers(const v1::ReviewClusterRequest& request,
                       const v1::Cluster& cluster, const v1::TickState& state,
                       absl::string_view project, ClusterReview* review) {
  for (int i = 0; i < request.others_size(); ++i) {
    const std::string field = absl::StrCat("others[", i, "]");
    FAULTLINE_ASSIGN_OR_RETURN(
        const ResourceName name,
        ParseResourceName(field, request.others(i), "clusters"));
    const v1::Cluster* other =
        name.project == project ? FindCluster(state, name.id) : nullptr;
    if (other == nullptr) return NotFoundError(field, request.others(i));
    if (other->cluster_id() == cluster.cluster_id()) {
      return WrongState(field, "is this cluster already");
    }
    if (IsRejected(*other)) return WrongState(field, "was rejected");
    review->add_other_ids(other->cluster_id());
  }
  return absl::OkStatus();
}

absl::Status AddSubModes(const v1::ReviewClusterRequest& request,
                         const v1::ClusterMembers& members,
                         const v1::Cluster& cluster, ClusterReview* review) {
  const std::set<uint32_t> leaving(request.sub_modes().begin(),
                                   request.sub_modes().end());
  const auto parts = static_cast<uint32_t>(cluster.sub_modes_size());
  if (members.sub_modes().empty()) {
    return WrongState("sub_modes",
                      "the cluster has no parts; name runs by `trace_ids`");
  }
  size_t left = members.sequences_size();
  for (const uint32_t part : leaving) {
    if (part < 1 || part > parts) {
      return BadField(v1::ErrorDetail::REASON_OUT_OF_RANGE, "sub_modes",
                      absl::StrCat("1 to ", parts), absl::StrCat("got ", part));
    }
    ClusterReview::Part& out = *review->add_parts();
    for (int i = 0; i < members.sub_modes_size(); ++i) {
      if (members.sub_modes(i) == part) {
        out.add_sequences(members.sequences(i));
      }
    }
    left -= out.sequences_size();
  }
  if (left == 0) {
    return BadField(v1::ErrorDetail::REASON_TOO_MANY, "sub_modes",
                    absl::StrCat("at most ", parts - 1),
                    "nothing would be left of the cluster");
  }
  return absl::OkStatus();
}

absl::Status AddSplitRuns(const v1::ReviewClusterRequest& request,
                          const v1::ClusterMembers& members,
                          absl::string_view project, const trace::TraceLog& log,
                          ClusterReview* review) {
  std::set<uint64_t> leaving;
  for (int i = 0; i < request.trace_ids_size(); ++i) {
    const std::string field = absl::StrCat("trace_ids[", i, "]");
    FAULTLINE_ASSIGN_OR_RETURN(
        const uint64_t sequence,
        FindRun(log, project, field, request.trace_ids(i)));
    if (!Holds(&members, sequence)) {
      return WrongState(field, "is no member of the cluster");
    }
    leaving.insert(sequence);
  }
  if (leaving.size() == static_cast<size_t>(members.sequences_size())) {
    return WrongState("trace_ids", "nothing would be left of the cluster");
  }
  ClusterReview::Part& part = *review->add_parts();
  for (const uint64_t sequence : leaving) part.add_sequences(sequence);
  return absl::OkStatus();
}

absl::Status AddLink(const v1::ReviewClusterRequest& request,
                     const v1::Cluster& cluster, const v1::TickState& state,
                     absl::string_view project, const trace::TraceLog& log,
                     ClusterReview* review) {
  for (int i = 0; i < request.trace_ids_size(); ++i) {
    FAULTLINE_ASSIGN_OR_RETURN(
        const uint64_t sequence,
        FindRun(log, project, absl::StrCat("trace_ids[", i, "]"),
                request.trace_ids(i)));
    review->add_runs(sequence);
  }
  if (review->runs(0) == review->runs(1)) {
    return BadField(v1::ErrorDetail::REASON_MALFORMED, "trace_ids", "two runs",
                    "is the same run twice");
  }
  const v1::ClusterMembers* own = MembersOf(state, cluster.cluster_id());
  if (!Holds(own, review->runs(0))) {
    return WrongState("trace_ids[0]", "is no member of the cluster");
  }
  // A run that several clusters share is of this one first.
  const v1::ClusterMembers* of_second =
      Holds(own, review->runs(1)) ? own : nullptr;
  for (const v1::ClusterMembers& members : state.members()) {
    if (of_second == nullptr && Holds(&members, review->runs(1))) {
      of_second = &members;
    }
  }
  if (of_second == nullptr) {
    return WrongState("trace_ids[1]", "is no member of any cluster");
  }
  const v1::Cluster* other = FindCluster(state, of_second->cluster_id());
  if (other == nullptr || IsRejected(*other)) {
    return WrongState("trace_ids[1]", "its cluster was rejected");
  }
  review->add_other_ids(other->cluster_id());
  return absl::OkStatus();
}

}  // namespace

const v1::Cluster* FindCluster(const v1::TickState& state, std::string id) {
  const auto& aliases = state.aliases();
  for (size_t i = 0; i < aliases.size(); ++i) {
    const auto alias = aliases.find(id);
    if (alias == aliases.end()) break;
    id = alias->second;
  }
  for (const v1::Cluster& cluster : state.clusters()) {
    if (cluster.cluster_id() == id) return &cluster;
  }
  return nullptr;
}

absl::StatusOr<const v1::ClusterReview*> FindRecorded(
    const v1::ReviewClusterRequest& request, const v1::TickState& state) {
  if (request.request_id().empty()) return nullptr;
  for (const ClusterReview& review : state.cluster_reviews()) {
    if (review.request_id() != request.request_id()) continue;
    if (review.decision() == request.decision()) return &review;
    return base::DetailedError(
        absl::StatusCode::kAlreadyExists,
        base::MakeErrorDetail(
            v1::ErrorDetail::REASON_CONFLICT, "request_id", "",
            absl::StrCat("was that of ",
                         ClusterReview::Decision_Name(review.decision()))));
  }
  return nullptr;
}

absl::StatusOr<v1::ClusterReview> MakeClusterReview(
    const v1::ReviewClusterRequest& request, const v1::Cluster& cluster,
    const v1::TickState& state, absl::string_view project,
    const trace::TraceLog& log) {
  FAULTLINE_RETURN_IF_ERROR(CheckRequest(request));
  if (!request.etag().empty() && request.etag() != cluster.etag()) {
    return base::DetailedError(
        absl::StatusCode::kAborted,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_STALE_ETAG, "etag",
                              absl::StrCat("`", cluster.etag(), "`"),
                              "the cluster has changed; read it again"));
  }
  const auto decision = request.decision();
  if (IsRejected(cluster) && decision != ClusterReview::DECISION_LABEL) {
    return WrongState("decision", "the cluster was rejected");
  }
  ClusterReview review;
  review.set_decision(decision);
  review.set_cluster_id(cluster.cluster_id());
  review.set_label(request.label());
  review.set_reviewer(request.reviewer());
  review.set_reason(request.reason());
  review.set_request_id(request.request_id());
  FAULTLINE_RETURN_IF_ERROR(
      AddOthers(request, cluster, state, project, &review));
  if (decision == ClusterReview::DECISION_SPLIT) {
    const v1::ClusterMembers* members = MembersOf(state, cluster.cluster_id());
    if (members == nullptr) {
      return WrongState("name", "the cluster has no members in the window");
    }
    FAULTLINE_RETURN_IF_ERROR(
        request.sub_modes().empty()
            ? AddSplitRuns(request, *members, project, log, &review)
            : AddSubModes(request, *members, cluster, &review));
  }
  if (Links(decision)) {
    FAULTLINE_RETURN_IF_ERROR(
        AddLink(request, cluster, state, project, log, &review));
  }
  return review;
}

}  // namespace faultline::server
