#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands.h"
#include "client/cli/field_text.h"
#include "faultline/v1/admin_service.grpc.pb.h"

namespace faultline::cli {
namespace {

std::vector<std::string> SettingNames() {
  std::vector<std::string> names;
  const auto& type = *v1::ProjectConfig::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    names.push_back(type.field(i)->name());
  }
  return names;
}

void PrintConfig(Session* session, const v1::ProjectConfig& config) {
  Table table({{"SETTING"}, {"VALUE"}});
  const auto& type = *v1::ProjectConfig::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string text = FieldText(config, *type.field(i));
    table.AddRow({type.field(i)->name(), text.empty() ? "-" : text});
  }
  session->PrintTable(table, "");
}

absl::Status GetConfig(Session* session) {
  v1::GetConfigRequest request;
  request.set_parent(session->Parent());
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::AdminService::Stub::GetConfig, request));
  if (session->options().json) return session->PrintJson(response);
  PrintConfig(session, response.config());
  return absl::OkStatus();
}

// Adds one `SETTING=VALUE` to a request.
absl::Status AddSetting(const std::string& setting,
                        v1::UpdateConfigRequest* request) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(setting, absl::MaxSplits('=', 1));
  const auto* field =
      v1::ProjectConfig::descriptor()->FindFieldByName(parts.first);
  if (field == nullptr || !absl::StrContains(setting, '=')) {
    return absl::InvalidArgumentError(
        absl::StrCat(setting, ": no setting; there are ",
                     absl::StrJoin(SettingNames(), ", ")));
  }
  FAULTLINE_RETURN_IF_ERROR(
      SetFieldText(request->mutable_config(), *field, parts.second));
  request->mutable_update_mask()->add_paths(parts.first);
  return absl::OkStatus();
}

// For CLI11: empty where the text is good.
std::string SettingProblem(const std::string& setting) {
  v1::UpdateConfigRequest scratch;
  return std::string(AddSetting(setting, &scratch).message());
}

absl::Status SetConfig(Session* session,
                       const std::vector<std::string>& settings) {
  v1::UpdateConfigRequest request;
  request.set_parent(session->Parent());
  for (const std::string& setting : settings) {
    FAULTLINE_RETURN_IF_ERROR(AddSetting(setting, &request));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::AdminService::Stub::UpdateConfig, request));
  if (session->options().json) return session->PrintJson(response);
  PrintConfig(session, response.config());
  session->err() << "Recorded; applies from the next tick on.\n";
  return absl::OkStatus();
}

}  // namespace

void AddConfigCommands(CLI::App* app, Session* session) {
  CLI::App* config = app->add_subcommand("config", "Settings of the project");
  config->require_subcommand(1);
  config->fallthrough();
  AddCommand(config, session, "get", "Every setting in force",
             [session] { return GetConfig(session); });
  auto settings = std::make_shared<std::vector<std::string>>();
  CLI::App* set =
      AddCommand(config, session, "set",
                 "Change settings, such as tick_interval=30s "
                 "auto_approve=routing_policy,guardrail",
                 [session, settings] { return SetConfig(session, *settings); });
  set->add_option("SETTING=VALUE", *settings, "What to change")
      ->required()
      ->check(SettingProblem);
}

}  // namespace faultline::cli
