#include <memory>
#include <string>

#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "client/cli/trace_table.h"
#include "faultline/v1/behavior_service.grpc.pb.h"

namespace faultline::cli {
namespace {

struct SimilarOptions {
  std::string trace_id;
  int limit = 10;
  std::string outcome;
  std::string view;
};

absl::Status FindSimilar(Session* session, const SimilarOptions& options) {
  v1::FindSimilarTracesRequest request;
  request.set_parent(session->Parent());
  request.set_trace_id(options.trace_id);
  request.set_page_size(options.limit);
  request.set_outcome(ParseEnumWord<v1::Outcome>(options.outcome));
  request.set_view(ParseEnumWord<v1::View>(options.view));
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::BehaviorService::Stub::FindSimilarTraces, request));
  if (session->options().json) return session->PrintJson(response);
  TraceTable table("DISTANCE", /*cluster=*/true);
  for (const auto& neighbor : response.neighbors()) {
    table.AddRow(neighbor.trace(), Number(neighbor.distance()),
                 neighbor.cluster(), neighbor.outcome());
  }
  session->PrintTable(table.table(), "No other run.");
  return absl::OkStatus();
}

}  // namespace

void AddTraceCommands(CLI::App* app, Session* session) {
  auto options = std::make_shared<SimilarOptions>();
  CLI::App* similar = AddCommand(
      app, session, "similar", "Runs that went most like a run, nearest first",
      [session, options] { return FindSimilar(session, *options); });
  similar->add_option("TRACE", options->trace_id, "Trace id")->required();
  similar->add_option("--limit", options->limit, "Show at most so many")
      ->check(CLI::Range(1, 1000))
      ->type_name("N")
      ->capture_default_str();
  similar->add_option("--outcome", options->outcome, "Only with this outcome")
      ->check(CLI::IsMember(EnumWords<v1::Outcome>()))
      ->type_name("OUTCOME");
  similar->add_option("--view", options->view, "In which runs are compared")
      ->check(CLI::IsMember(EnumWords<v1::View>()))
      ->type_name("VIEW");
}

}  // namespace faultline::cli
