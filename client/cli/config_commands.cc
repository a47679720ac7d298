#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands.h"
#include "client/cli/field_text.h"
#include "client/cli/settings.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "google/protobuf/duration.pb.h"

namespace faultline::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Whether a field is a group of settings, such as `quota`.
bool IsGroup(const FieldDescriptor& field) {
  return field.message_type() != nullptr &&
         field.message_type() != google::protobuf::Duration::descriptor();
}

// Calls `visit(name, group, field)` for each setting, such as `max_trials` or
// `quota.stored_bytes`; `group` is null where it is in none.
void VisitSettings(const std::function<
                   void(const std::string& name, const FieldDescriptor* group,
                        const FieldDescriptor& field)>& visit) {
  const Descriptor& type = *v1::ProjectConfig::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (!IsGroup(field)) {
      visit(field.name(), nullptr, field);
      continue;
    }
    const Descriptor& members = *field.message_type();
    for (int j = 0; j < members.field_count(); ++j) {
      const FieldDescriptor& member = *members.field(j);
      visit(absl::StrCat(field.name(), ".", member.name()), &field, member);
    }
  }
}

std::vector<std::string> SettingNames() {
  std::vector<std::string> names;
  VisitSettings([&](const std::string& name, const FieldDescriptor*,
                    const FieldDescriptor&) { names.push_back(name); });
  return names;
}

void PrintConfig(Session* session, const v1::ProjectConfig& config) {
  Table table({{"SETTING"}, {"VALUE"}});
  VisitSettings([&](const std::string& name, const FieldDescriptor* group,
                    const FieldDescriptor& field) {
    const Message& message =
        group == nullptr ? config
                         : config.GetReflection()->GetMessage(config, group);
    const std::string text = FieldText(message, field);
    table.AddRow({name, text.empty() ? "-" : text});
  });
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

absl::Status SetConfig(Session* session,
                       const std::vector<std::string>& settings) {
  v1::UpdateConfigRequest request;
  request.set_parent(session->Parent());
  const bool grouped = std::any_of(
      settings.begin(), settings.end(), [](const std::string& setting) {
        return absl::StrContains(setting.substr(0, setting.find('=')), '.');
      });
  if (grouped) {
    v1::GetConfigRequest get;
    get.set_parent(session->Parent());
    FAULTLINE_ASSIGN_OR_RETURN(
        auto current, session->Call(&v1::AdminService::Stub::GetConfig, get));
    *request.mutable_config() = std::move(*current.mutable_config());
    request.set_etag(current.etag());
  }
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

absl::Status AddSetting(const std::string& setting,
                        v1::UpdateConfigRequest* request) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(setting, absl::MaxSplits('=', 1));
  bool found = false;
  absl::Status status;
  if (absl::StrContains(setting, '=')) {
    VisitSettings([&](const std::string& name, const FieldDescriptor* group,
                      const FieldDescriptor& field) {
      if (name != parts.first) return;
      found = true;
      v1::ProjectConfig* config = request->mutable_config();
      Message* message =
          group == nullptr
              ? config
              : config->GetReflection()->MutableMessage(config, group);
      status = SetFieldText(message, field, parts.second);
      request->mutable_update_mask()->add_paths(
          group == nullptr ? field.name() : group->name());
    });
  }
  if (!found) {
    return absl::InvalidArgumentError(
        absl::StrCat(setting, ": no setting; there are ",
                     absl::StrJoin(SettingNames(), ", ")));
  }
  return status;
}

std::string SettingProblem(const std::string& setting) {
  v1::UpdateConfigRequest scratch;
  return std::string(AddSetting(setting, &scratch).message());
}

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
                 "auto_approve=routing_policy,guardrail "
                 "retention.max_age=720h",
                 [session, settings] { return SetConfig(session, *settings); });
  set->add_option("SETTING=VALUE", *settings, "What to change")
      ->required()
      ->check(SettingProblem);
}

}  // namespace faultline::cli
