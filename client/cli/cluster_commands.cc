#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/case_file.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "faultline/v1/intervention_service.grpc.pb.h"

namespace faultline::cli {
namespace {

using Member = v1::ListMembersResponse::Member;
using Role = Member::Role;

struct ClustersOptions {
  int limit = 50;
  std::vector<std::string> statuses;
};

absl::Status ListClusters(Session* session, const ClustersOptions& options) {
  v1::ListClustersRequest request;
  request.set_parent(session->Parent());
  for (const std::string& word : options.statuses) {
    request.add_statuses(ParseEnumWord<v1::Cluster::Status>(word));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::ClusterService::Stub::ListClusters, request,
                    options.limit,
                    [](auto* page) { return page->mutable_clusters(); }));
  if (session->options().json) return session->PrintJson(response);
  Table table({{"CLUSTER"},
               {"STATUS"},
               {"SIZE", Column::Fit::kNumber},
               {"SHARE", Column::Fit::kNumber},
               {"ODDS RATIO"},
               {"STABLE", Column::Fit::kNumber},
               {"FAILURE MODE"},
               {"CONF.", Column::Fit::kNumber},
               {"TITLE", Column::Fit::kCut}});
  for (const v1::Cluster& cluster : response.clusters()) {
    const v1::Enrichment& enrichment = cluster.enrichment();
    table.AddRow(
        {cluster.cluster_id(),
         {EnumWord(cluster.status()), ToneOf(cluster.status())},
         absl::StrCat(cluster.size()),
         Percent(cluster.failure_share()),
         cluster.has_enrichment() ? WithInterval(enrichment.odds_ratio(),
                                                 enrichment.odds_ratio_lower(),
                                                 enrichment.odds_ratio_upper())
                                  : "-",
         cluster.has_stability() ? Number(cluster.stability()) : "-",
         EnumWord(cluster.diagnosis().failure_mode()),
         cluster.has_diagnosis() ? Number(cluster.diagnosis().confidence())
                                 : "-",
         OneLine(cluster.title())});
  }
  session->PrintTable(table, "No clusters.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

absl::StatusOr<v1::ListMembersResponse> ReadRuns(Session* session,
                                                 const std::string& cluster,
                                                 const std::vector<Role>& roles,
                                                 int limit) {
  v1::ListMembersRequest request;
  request.set_parent(session->Name("clusters", cluster));
  for (const Role role : roles) request.add_roles(role);
  return session->List(&v1::ClusterService::Stub::ListMembers, request, limit,
                       [](auto* page) { return page->mutable_members(); });
}

absl::Status ShowCluster(Session* session, const std::string& id) {
  v1::GetClusterRequest request;
  request.set_name(session->Name("clusters", id));
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::ClusterService::Stub::GetCluster, request));
  if (session->options().json) return session->PrintJson(response);
  constexpr int kEnoughRuns = 40;  // of each role, some
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto runs,
      ReadRuns(
          session, response.cluster().name(),
          {Member::ROLE_MEDOID, Member::ROLE_EXEMPLAR, Member::ROLE_BOUNDARY,
           Member::ROLE_NEAREST_SUCCESS, Member::ROLE_MEMBER},
          kEnoughRuns));
  v1::ListInterventionsRequest interventions_request;
  interventions_request.set_parent(session->Parent());
  constexpr int kAll = 10000;
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto interventions,
      session->List(&v1::InterventionService::Stub::ListInterventions,
                    interventions_request, kAll,
                    [](auto* page) { return page->mutable_interventions(); }));
  PrintCaseFile(session, response.cluster(), runs.members(),
                interventions.interventions());
  return absl::OkStatus();
}

struct MembersOptions {
  std::string id;
  int limit = 20;
  std::vector<std::string> roles;
};

absl::Status ListMembers(Session* session, const MembersOptions& options) {
  std::vector<Role> roles;
  for (const std::string& word : options.roles) {
    roles.push_back(ParseEnumWord<Role>(word));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response, ReadRuns(session, options.id, roles, options.limit));
  if (session->options().json) return session->PrintJson(response);
  session->PrintTable(ClusterRunTable(response.members()),
                      "No such run of it in the last tick.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

}  // namespace

void AddClusterCommands(CLI::App* app, Session* session) {
  auto list = std::make_shared<ClustersOptions>();
  CLI::App* clusters = AddCommand(
      app, session, "clusters", "Clusters of failures, largest first",
      [session, list] { return ListClusters(session, *list); });
  AddLimit(clusters, &list->limit);
  clusters
      ->add_option("--status", list->statuses,
                   "Only these; default: all but retired")
      ->check(CLI::IsMember(EnumWords<v1::Cluster::Status>()))
      ->type_name("STATUS")
      ->delimiter(',');

  auto id = std::make_shared<std::string>();
  CLI::App* cluster =
      AddCommand(app, session, "cluster", "One cluster, as a case file",
                 [session, id] { return ShowCluster(session, *id); });
  cluster->add_option("CLUSTER", *id, "Id or resource name")->required();

  auto members_options = std::make_shared<MembersOptions>();
  CLI::App* members = AddCommand(
      app, session, "members", "Runs of a cluster, strongest members first",
      [session, members_options] {
        return ListMembers(session, *members_options);
      });
  members->add_option("CLUSTER", members_options->id, "Id or resource name")
      ->required();
  AddLimit(members, &members_options->limit);
  members
      ->add_option("--role", members_options->roles,
                   "Only these; default: every member")
      ->check(CLI::IsMember(EnumWords<Role>()))
      ->type_name("ROLE")
      ->delimiter(',');
}

}  // namespace faultline::cli
