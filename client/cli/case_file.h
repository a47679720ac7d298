#ifndef FAULTLINE_CLIENT_CLI_CASE_FILE_H_
#define FAULTLINE_CLIENT_CLI_CASE_FILE_H_

#include "client/cli/session.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/cluster_service.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace faultline::cli {

using ClusterRuns =
    google::protobuf::RepeatedPtrField<v1::ListMembersResponse::Member>;
using Interventions = google::protobuf::RepeatedPtrField<v1::Intervention>;

// A cluster as a case file: what fails, whether it holds on runs that were not
// used to find it, what goes with it, which runs to read, and what is done
// about it. `runs`: of every role, in the order of ListMembers; ten are shown.
// `interventions`: those of the project.
void PrintCaseFile(Session* session, const v1::Cluster& cluster,
                   const ClusterRuns& runs, const Interventions& interventions);

// Runs of a cluster as rows.
Table ClusterRunTable(const ClusterRuns& runs);

// An intervention: the change, why, for which runs, and what came of it.
void PrintIntervention(Session* session, const v1::Intervention& intervention);

// Interventions as rows.
Table InterventionTable(const Interventions& interventions);

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_CASE_FILE_H_
