#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/record.pb.h"

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

// `9 too_long, 3 quota`, largest first.
template <typename Enum>
std::string AccountText(
    const google::protobuf::Map<std::string, uint64_t>& counts) {
  std::vector<std::pair<uint64_t, std::string>> parts;
  for (const auto& [name, count] : counts) {
    const auto* value =
        google::protobuf::GetEnumDescriptor<Enum>()->FindValueByName(name);
    parts.emplace_back(
        count,
        value == nullptr ? name : EnumWord(static_cast<Enum>(value->number())));
  }
  if (parts.empty()) return "-";
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  return absl::StrJoin(parts, ", ", [](std::string* out, const auto& part) {
    absl::StrAppend(out, part.first, " ", part.second);
  });
}

std::string RemovedText(const Project& project) {
  std::string text = AccountText<v1::DeletionReason>(project.expired());
  if (project.deleted() == 0) return text;
  const std::string deleted = absl::StrCat(project.deleted(), " requested");
  return text == "-" ? deleted : absl::StrCat(text, ", ", deleted);
}

std::string SampledText(const Project& project) {
  return project.sampled() == 0
             ? "-"
             : absl::StrCat(project.sampled(), " for ",
                            Number(static_cast<double>(project.sampled()) +
                                   project.unsent()));
}

// `3 open, 5 ended, 1 idle`.
std::string AssemblyText(const v1::GetStatusResponse::Assembly& assembly) {
  std::vector<std::string> parts;
  const auto add = [&parts](uint64_t count, absl::string_view what) {
    if (count > 0) parts.push_back(absl::StrCat(count, " ", what));
  };
  add(assembly.open_runs(), "open");
  add(assembly.closed_explicit() + assembly.closed_root_ended(), "ended");
  add(assembly.closed_idle(), "idle");
  add(assembly.closed_evicted(), "evicted");
  add(assembly.amended(), "amended");
  add(assembly.empty(), "empty");
  add(assembly.lost(), "lost");
  return parts.empty() ? "-" : absl::StrJoin(parts, ", ");
}

// `12 of 80`: new failures that are like nothing known; with what was usual
// before. Bad where that is more than chance gives.
Cell EmergingCell(const v1::Novelty& novelty) {
  constexpr double kAlertLevel = 0.001;
  if (novelty.compared() == 0) return "-";
  const auto share = [](uint64_t part, uint64_t of) {
    return Percent(static_cast<double>(part) / static_cast<double>(of));
  };
  std::string text =
      absl::StrCat(novelty.emerging(), " of ", novelty.compared());
  if (novelty.earlier_compared() > 0) {
    absl::StrAppend(
        &text, " (before ",
        share(novelty.earlier_emerging(), novelty.earlier_compared()), ")");
  }
  const bool alert = novelty.p_value() < kAlertLevel;
  if (alert) absl::StrAppend(&text, " !");
  return {text, alert ? Tone::kBad : Tone::kPlain};
}

// What became of everything that was sent since the start.
void PrintAccount(Session* session, const v1::GetStatusResponse& response) {
  Table table({{"PROJECT"},
               {"STORED", Column::Fit::kNumber},
               {"REFUSED"},
               {"REMOVED"},
               {"SAMPLED"},
               {"IN PIECES"}});
  for (const Project& project : response.projects()) {
    table.AddRow({ShortName(project.name()), Bytes(project.stored_bytes()),
                  AccountText<v1::ErrorDetail::Reason>(project.refused()),
                  RemovedText(project), SampledText(project),
                  AssemblyText(project.assembly())});
  }
  if (response.projects().empty()) return;
  session->out() << "\n";
  session->PrintTable(table, "");
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
               {"EMERGING"},
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
         EmergingCell(project.novelty()),
         CountsText<v1::Cluster::Status>(project.clusters()),
         CountsText<v1::Intervention::Status>(project.interventions())});
  }
  session->PrintTable(table, "No project yet: import traces to make one.");
  PrintAccount(session, response);
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
