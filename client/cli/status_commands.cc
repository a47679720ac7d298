#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "faultline/v1/admin_service.grpc.pb.h"

namespace faultline::cli {
namespace {

using Project = v1::GetStatusResponse::Project;

// `3 stable, 1 candidate`, in the order of the enum.
template <typename Enum, typename Counts>
std::string CountsText(const Counts& counts) {
  std::map<int, std::string> parts;
  for (const auto& [name, count] : counts) {
    Enum value{};
    if (google::protobuf::GetEnumDescriptor<Enum>()->FindValueByName(name)) {
      value = static_cast<Enum>(google::protobuf::GetEnumDescriptor<Enum>()
                                    ->FindValueByName(name)
                                    ->number());
    } else {
      value = ParseEnumWord<Enum>(name);
    }
    if (count > 0) parts[value] = absl::StrCat(count, " ", EnumWord(value));
  }
  if (parts.empty()) return "-";
  return absl::StrJoin(parts, ", ", [](std::string* out, const auto& part) {
    absl::StrAppend(out, part.second);
  });
}

std::string IndexText(const Project& project) {
  const uint64_t waiting =
      project.durable_sequence() -
      std::min(project.durable_sequence(), project.indexed_sequence());
  return waiting == 0 ? "all" : absl::StrCat(waiting, " waiting");
}

absl::Status ShowStatus(Session* session, bool one_project) {
  v1::GetStatusRequest request;
  if (one_project) request.set_parent(session->Parent());
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::AdminService::Stub::GetStatus, request));
  if (session->options().json) return session->PrintJson(response);
  session->out() << "faultlined " << response.version() << " at "
                 << session->options().server << ", started "
                 << Age(response.start_time(), session->Now()) << ", "
                 << Bytes(response.resident_bytes()) << " resident\n\n";
  Table table({{"PROJECT"},
               {"TRACES", Column::Fit::kNumber},
               {"FAILED", Column::Fit::kNumber},
               {"REFUSED", Column::Fit::kNumber},
               {"DUPLICATE", Column::Fit::kNumber},
               {"INDEXED"},
               {"TICK", Column::Fit::kNumber},
               {"STARTED"},
               {"POLICY", Column::Fit::kNumber},
               {"CLUSTERS"},
               {"INTERVENTIONS"}});
  for (const Project& project : response.projects()) {
    const double traces = static_cast<double>(project.traces());
    table.AddRow(
        {ShortName(project.name()), absl::StrCat(project.traces()),
         traces == 0
             ? "-"
             : Percent(static_cast<double>(project.failures()) / traces),
         absl::StrCat(project.rejected()), absl::StrCat(project.duplicates()),
         IndexText(project), absl::StrCat(project.last_tick()),
         Age(project.last_tick_time(), session->Now()),
         absl::StrCat(project.policy_version()),
         CountsText<v1::Cluster::Status>(project.clusters()),
         CountsText<v1::Intervention::Status>(project.interventions())});
  }
  session->PrintTable(table, "No project yet: import traces to make one.");
  return absl::OkStatus();
}

}  // namespace

void AddStatusCommands(CLI::App* app, Session* session) {
  AddCommand(app, session, "status", "State of the server and its projects",
             [app, session] {
               return ShowStatus(session, app->count("--project") > 0);
             });
}

}  // namespace faultline::cli
