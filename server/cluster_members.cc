#include "server/cluster_members.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "lib/base/error_detail.h"
#include "lib/base/status_macros.h"
#include "lib/embedding/embedder.h"
#include "lib/embedding/run.h"

namespace faultline::server {
namespace {

using Member = v1::ListMembersResponse::Member;

constexpr size_t kDefaultMembers = 20;
constexpr int kNearestSuccesses = 10;

struct Listed {
  Member::Role role;
  float strength;
  uint64_t sequence;
};

class MemberList {
 public:
  MemberList(const std::string& project, const v1::Cluster& cluster,
             const slowloop::TickSnapshot& snapshot, const trace::TraceLog& log,
             const ingest::Ingestor& ingestor)
      : project_(project),
        cluster_(cluster),
        snapshot_(snapshot),
        log_(log),
        ingestor_(ingestor),
        view_(cluster.views().empty() ? v1::VIEW_TRAJECTORY
                                      : cluster.views(0)) {}

  absl::Status ReadMedoid();
  absl::StatusOr<std::vector<Listed>> Members() const;
  absl::StatusOr<std::vector<Listed>> WithRoles(
      const google::protobuf::RepeatedField<int>& roles) const;
  absl::Status Fill(const std::vector<Listed>& page,
                    v1::ListMembersResponse* response) const;

 private:
  // Sequences of a run, oldest first; empty where it was deleted.
  absl::StatusOr<std::vector<uint64_t>> Versions(
      const std::string& trace_id) const {
    auto versions = log_.FindVersions(project_, trace_id);
    if (absl::IsNotFound(versions.status())) return std::vector<uint64_t>();
    return versions;
  }
  std::vector<float> VectorOf(const v1::Trace& trace) const {
    return embedding::EmbedInView(*snapshot_.embedder,
                                  embedding::ExtractRun(trace, nullptr), view_);
  }
  // Requires a medoid.
  double DistanceToMedoid(const v1::Trace& trace) const {
    return embedding::Distance(medoid_vector_, VectorOf(trace));
  }
  // Medoid, then exemplars, as trace ids.
  std::vector<std::pair<Member::Role, std::string>> Named() const;
  absl::Status AddNearestSuccesses(std::vector<Listed>* listed) const;

  const std::string& project_;
  const v1::Cluster& cluster_;
  const slowloop::TickSnapshot& snapshot_;
  const trace::TraceLog& log_;
  const ingest::Ingestor& ingestor_;
  const v1::View view_;
  std::optional<v1::Trace> medoid_;
  std::vector<float> medoid_vector_;
};

absl::Status MemberList::ReadMedoid() {
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<uint64_t> versions,
                             Versions(cluster_.medoid()));
  if (versions.empty()) return absl::OkStatus();
  absl::StatusOr<v1::Trace> medoid = log_.ReadTrace(project_, versions.back());
  if (absl::IsNotFound(medoid.status())) return absl::OkStatus();
  FAULTLINE_RETURN_IF_ERROR(medoid.status());
  medoid_ = *std::move(medoid);
  medoid_vector_ = embedding::EmbedInView(
      *snapshot_.embedder, embedding::ExtractRun(*medoid_, nullptr), view_);
  return absl::OkStatus();
}

std::vector<std::pair<Member::Role, std::string>> MemberList::Named() const {
  std::vector<std::pair<Member::Role, std::string>> named;
  if (!cluster_.medoid().empty()) {
    named.emplace_back(Member::ROLE_MEDOID, cluster_.medoid());
  }
  for (const std::string& exemplar : cluster_.exemplars()) {
    if (exemplar != cluster_.medoid()) {
      named.emplace_back(Member::ROLE_EXEMPLAR, exemplar);
    }
  }
  return named;
}

absl::StatusOr<std::vector<Listed>> MemberList::Members() const {
  absl::flat_hash_map<uint64_t, Member::Role> role_of;
  for (const auto& [role, trace_id] : Named()) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<uint64_t> versions,
                               Versions(trace_id));
    for (const uint64_t version : versions) role_of[version] = role;
  }
  std::vector<Listed> listed;
  for (const v1::ClusterMembers& of : snapshot_.state.members()) {
    if (of.cluster_id() != cluster_.cluster_id()) continue;
    for (int i = 0; i < of.sequences_size(); ++i) {
      const auto role = role_of.find(of.sequences(i));
      listed.push_back(
          {role == role_of.end() ? Member::ROLE_MEMBER : role->second,
           of.strengths(i), of.sequences(i)});
    }
  }
  std::sort(listed.begin(), listed.end(), [](const Listed& a, const Listed& b) {
    return a.strength != b.strength ? a.strength > b.strength
                                    : a.sequence < b.sequence;
  });
  return listed;
}

absl::Status MemberList::AddNearestSuccesses(
    std::vector<Listed>* listed) const {
  if (!medoid_.has_value()) return absl::OkStatus();
  FAULTLINE_ASSIGN_OR_RETURN(
      const std::vector<ingest::Ingestor::Similar> nearest,
      ingestor_.FindSimilar(project_, *medoid_, view_, kNearestSuccesses,
                            v1::OUTCOME_PASS));
  // The index may hold the view in eight bits, too coarse for their order.
  std::vector<std::pair<double, uint64_t>> ordered;
  for (const ingest::Ingestor::Similar& success : nearest) {
    const absl::StatusOr<v1::Trace> trace =
        log_.ReadTrace(project_, success.sequence);
    if (absl::IsNotFound(trace.status())) continue;
    FAULTLINE_RETURN_IF_ERROR(trace.status());
    ordered.emplace_back(DistanceToMedoid(*trace), success.sequence);
  }
  std::sort(ordered.begin(), ordered.end());
  for (const auto& [distance, sequence] : ordered) {
    listed->push_back({Member::ROLE_NEAREST_SUCCESS, 0, sequence});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Listed>> MemberList::WithRoles(
    const google::protobuf::RepeatedField<int>& roles) const {
  const auto asked = [&roles](Member::Role role) {
    return std::find(roles.begin(), roles.end(), role) != roles.end();
  };
  FAULTLINE_ASSIGN_OR_RETURN(std::vector<Listed> listed, Members());
  // A cluster that has not been found for long has no members any more, but
  // runs that it is known by.
  std::vector<std::pair<Member::Role, std::string>> named =
      listed.empty() ? Named()
                     : std::vector<std::pair<Member::Role, std::string>>();
  for (const std::string& failure : cluster_.boundary_exemplars()) {
    named.emplace_back(Member::ROLE_BOUNDARY, failure);
  }
  for (const auto& [role, trace_id] : named) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::vector<uint64_t> versions,
                               Versions(trace_id));
    if (!versions.empty()) listed.push_back({role, 0, versions.back()});
  }
  if (asked(Member::ROLE_NEAREST_SUCCESS)) {
    FAULTLINE_RETURN_IF_ERROR(AddNearestSuccesses(&listed));
  }
  listed.erase(
      std::remove_if(listed.begin(), listed.end(),
                     [&](const Listed& run) { return !asked(run.role); }),
      listed.end());
  std::stable_sort(
      listed.begin(), listed.end(),
      [](const Listed& a, const Listed& b) { return a.role < b.role; });
  return listed;
}

absl::Status MemberList::Fill(const std::vector<Listed>& page,
                              v1::ListMembersResponse* response) const {
  std::vector<uint64_t> sequences;
  sequences.reserve(page.size());
  for (const Listed& run : page) sequences.push_back(run.sequence);
  const std::vector<v1::Outcome> outcomes =
      ingestor_.GetOutcomes(project_, sequences);
  for (size_t i = 0; i < page.size(); ++i) {
    absl::StatusOr<v1::Trace> trace =
        log_.ReadTrace(project_, page[i].sequence);
    // Deleted since the tick.
    if (absl::IsNotFound(trace.status())) continue;
    FAULTLINE_RETURN_IF_ERROR(trace.status());
    Member& member = *response->add_members();
    member.set_role(page[i].role);
    member.set_strength(page[i].strength);
    member.set_outcome(outcomes[i]);
    if (medoid_.has_value()) member.set_distance(DistanceToMedoid(*trace));
    *member.mutable_trace() = *std::move(trace);
  }
  return absl::OkStatus();
}

absl::Status CheckRoles(const google::protobuf::RepeatedField<int>& roles) {
  for (const int role : roles) {
    if (!Member::Role_IsValid(role) || role == Member::ROLE_UNSPECIFIED) {
      return base::DetailedError(
          absl::StatusCode::kInvalidArgument,
          base::MakeErrorDetail(v1::ErrorDetail::REASON_UNKNOWN_ENUM, "roles",
                                "roles of a run",
                                absl::StrCat("`", role, "` is none")));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::ListMembersResponse> ListClusterMembers(
    const v1::ListMembersRequest& request, const std::string& project,
    const v1::Cluster& cluster, const slowloop::TickSnapshot& snapshot,
    const trace::TraceLog& log, const ingest::Ingestor& ingestor) {
  FAULTLINE_RETURN_IF_ERROR(CheckRoles(request.roles()));
  std::string scope = absl::StrCat("members/", request.parent());
  for (const int role : request.roles()) absl::StrAppend(&scope, "/", role);
  FAULTLINE_ASSIGN_OR_RETURN(
      const Page page, ParsePage(scope, request.page_size(), kDefaultMembers,
                                 request.page_token()));
  MemberList list(project, cluster, snapshot, log, ingestor);
  FAULTLINE_RETURN_IF_ERROR(list.ReadMedoid());
  FAULTLINE_ASSIGN_OR_RETURN(std::vector<Listed> listed,
                             request.roles().empty()
                                 ? list.Members()
                                 : list.WithRoles(request.roles()));
  v1::ListMembersResponse response;
  response.set_next_page_token(TakePage(page, scope, &listed));
  FAULTLINE_RETURN_IF_ERROR(list.Fill(listed, &response));
  return response;
}

}  // namespace faultline::server
