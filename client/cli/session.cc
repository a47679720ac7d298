#include "client/cli/session.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/text.h"
#include "client/sdk/grpc_connection.h"
#include "faultline/v1/error.pb.h"
#include "google/protobuf/util/json_util.h"
#include "grpc/support/time.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "lib/base/error_detail.h"

namespace faultline::cli {
namespace {

std::string Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "";
}

}  // namespace

int Session::Run() {
  const absl::Status status = command_();
  if (!status.ok()) PrintError(status);
  out().flush();
  return ToExitCode(status);
}

std::string Session::Parent() const {
  return absl::StrCat("projects/", options_.project);
}

std::string Session::Name(absl::string_view collection,
                          absl::string_view id) const {
  if (absl::StartsWith(id, "projects/")) return std::string(id);
  return absl::StrCat(Parent(), "/", collection, "/", id);
}

std::shared_ptr<grpc::Channel> Session::channel() {
  if (channel_ == nullptr) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    // An import waits for a server to come back; gRPC by itself would wait up
    // to two minutes between attempts.
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    channel_ = grpc::CreateCustomChannel(
        options_.server, grpc::InsecureChannelCredentials(), arguments);
  }
  return channel_;
}

void Session::SetDeadline(grpc::ClientContext* context,
                          absl::Duration timeout) const {
  timeout = std::max(timeout, absl::Seconds(options_.timeout_seconds));
  context->set_deadline(
      gpr_time_from_millis(absl::ToInt64Milliseconds(timeout), GPR_TIMESPAN));
}

absl::Status Session::ToStatus(const grpc::Status& status,
                               const grpc::ClientContext& context) const {
  if (status.ok()) return absl::OkStatus();
  absl::Status result = sdk::ToStatus(status, context);
  if (absl::IsUnavailable(result) &&
      !base::GetErrorDetail(result).has_value()) {
    return absl::UnavailableError(absl::StrCat("no server at ", options_.server,
                                               " (", status.error_message(),
                                               "); see --server"));
  }
  return result;
}

absl::Status Session::PrintJson(const google::protobuf::Message& message,
                                std::ostream* to) const {
  const std::string json = Json(message);
  if (json.empty()) return absl::InternalError("the answer is no valid JSON");
  *to << json << "\n" << std::flush;
  return absl::OkStatus();
}

void Session::PrintTable(const Table& table, absl::string_view none) const {
  if (table.rows() == 0) {
    out() << none << "\n";
  } else {
    out() << table.Render(environment_.out_terminal);
  }
}

void Session::PrintMore(absl::string_view next_page_token) const {
  if (!next_page_token.empty()) err() << "There are more: raise --limit.\n";
}

void Session::PrintError(const absl::Status& status) const {
  const auto detail = base::GetErrorDetail(status);
  const std::string code = absl::StatusCodeToString(status.code());
  if (options_.json) {
    nlohmann::ordered_json error = {{"code", code},
                                    {"message", std::string(status.message())}};
    if (detail.has_value()) {
      error["detail"] = nlohmann::ordered_json::parse(Json(*detail));
    }
    err() << nlohmann::ordered_json{{"error", error}}.dump(
                 -1, ' ', false, nlohmann::json::error_handler_t::replace)
          << "\n";
    return;
  }
  err() << "faultlinectl: "
        << OneLine(detail.has_value() && !detail->message().empty()
                       ? absl::string_view(detail->message())
                       : status.message(),
                   1024)
        << " [" << code << "]\n";
  if (!detail.has_value()) return;
  if (!detail->field().empty()) {
    err() << "  field  " << OneLine(detail->field(), 1024) << "\n";
  }
  if (!detail->limit().empty()) {
    err() << "  limit  " << OneLine(detail->limit(), 1024) << "\n";
  }
  if (detail->has_retry_delay()) {
    err() << "  retry  in " << Span(ToDuration(detail->retry_delay())) << "\n";
  }
}

}  // namespace faultline::cli
