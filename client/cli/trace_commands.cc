#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "client/cli/trace_table.h"
#include "faultline/v1/behavior_service.grpc.pb.h"

namespace faultline::cli {
namespace {

void Line(Session* session, absl::string_view key, absl::string_view value) {
  if (value.empty()) return;
  session->out() << absl::StreamFormat("%-10s %s\n", key, OneLine(value, 1000));
}

// `closed: idle, amended 2 times, 3 elements left out`; empty for a run that
// came whole.
std::string AssemblyText(const v1::GetTraceResponse& response) {
  const v1::Trace& trace = response.trace();
  if (trace.closing() == v1::CLOSING_UNSPECIFIED) return "";
  std::string text = EnumWord(trace.closing());
  if (response.replacements() > 0) {
    absl::StrAppend(&text, ", amended ", response.replacements(), " times");
  }
  if (trace.left_out() > 0) {
    absl::StrAppend(&text, ", ", trace.left_out(), " elements left out");
  }
  return text;
}

void PrintSteps(Session* session, const v1::Trace& trace) {
  Table table({{"STEP", Column::Fit::kNumber},
               {"AT", Column::Fit::kNumber},
               {"TOOK", Column::Fit::kNumber},
               {"KIND"},
               {"NAME"},
               {"STATUS"},
               {"INPUT", Column::Fit::kCut},
               {"OUTPUT", Column::Fit::kCut}});
  for (int i = 0; i < trace.steps_size(); ++i) {
    const v1::Step& step = trace.steps(i);
    const bool failed = step.status() == v1::Step::STATUS_ERROR;
    table.AddRow(
        {absl::StrCat(i),
         Span(ToDuration(step.start_offset())),
         Span(ToDuration(step.duration())),
         EnumWord(step.kind()),
         OneLine(step.name(), 40),
         {failed && !step.error_type().empty() ? OneLine(step.error_type(), 40)
                                               : EnumWord(step.status()),
          failed ? Tone::kBad : Tone::kPlain},
         OneLine(step.input(), 80),
         OneLine(failed ? step.error_message() : step.output(), 80)});
  }
  session->out() << "\n";
  session->PrintTable(table, "No steps.");
}

std::string NoveltyText(const v1::LocateTraceResponse& located) {
  if (!located.has_novelty()) return "no mode is known yet";
  const std::string nearest = absl::StrCat(
      Number(located.novelty()), " times the reach of the nearest mode, ",
      ShortName(located.modes(0).cluster()));
  return located.novelty() > 1 ? absl::StrCat("novel: ", nearest)
                               : absl::StrCat("like what is known: ", nearest);
}

absl::Status ShowTrace(Session* session, const std::string& id) {
  v1::GetTraceRequest request;
  request.set_name(session->Name("traces", id));
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::BehaviorService::Stub::GetTrace, request));
  if (session->options().json) return session->PrintJson(response);
  const v1::Trace& trace = response.trace();
  const v1::Evaluation& evaluation = trace.evaluation();
  Line(session, "trace", trace.trace_id());
  Line(session, "session", trace.session_id());
  Line(session, "started", Time(trace.start_time()));
  Line(session, "ended", trace.has_end_time() ? Time(trace.end_time()) : "");
  Line(session, "closed", AssemblyText(response));
  Line(session, "outcome",
       evaluation.evaluator().empty()
           ? EnumWord(evaluation.outcome())
           : absl::StrCat(EnumWord(evaluation.outcome()), " by ",
                          evaluation.evaluator()));
  Line(session, "cluster", ShortName(response.cluster()));
  Line(session, "task", trace.task().type());
  Line(session, "input", trace.task().input());
  Line(session, "agent", trace.system().agent());
  Line(session, "model", trace.system().model());
  for (const v1::Decision& decision : trace.decisions()) {
    Line(session, EnumWord(decision.kind()),
         decision.has_propensity()
             ? absl::StrCat(decision.chosen(), ", with probability ",
                            Number(decision.propensity()))
             : decision.chosen());
  }
  PrintSteps(session, trace);
  return absl::OkStatus();
}

absl::Status LocateTrace(Session* session, const std::string& id) {
  v1::LocateTraceRequest request;
  request.set_name(session->Name("traces", id));
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::BehaviorService::Stub::LocateTrace, request));
  if (session->options().json) return session->PrintJson(response);
  Line(session, "cluster",
       response.cluster().empty() ? "-" : ShortName(response.cluster()));
  Line(session, "novelty", NoveltyText(response));
  session->out() << "\n";
  Table table({{"MODE"},
               {"DISTANCE", Column::Fit::kNumber},
               {"REACH", Column::Fit::kNumber},
               {"TIMES", Column::Fit::kNumber},
               {"VIEW"}});
  for (const auto& mode : response.modes()) {
    table.AddRow({ShortName(mode.cluster()), Number(mode.distance()),
                  Number(mode.reach()), Number(mode.distance() / mode.reach()),
                  EnumWord(mode.view())});
  }
  session->PrintTable(table, "No known mode.");
  return absl::OkStatus();
}

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
  TraceTable table({{"DISTANCE", Column::Fit::kNumber}}, /*cluster=*/true);
  for (const auto& neighbor : response.neighbors()) {
    table.AddRow(neighbor.trace(), {Number(neighbor.distance())},
                 neighbor.cluster(), neighbor.outcome());
  }
  session->PrintTable(table.table(), "No other run.");
  return absl::OkStatus();
}

}  // namespace

void AddTraceCommands(CLI::App* app, Session* session) {
  auto id = std::make_shared<std::string>();
  CLI::App* trace =
      AddCommand(app, session, "trace", "One run, as it is stored",
                 [session, id] { return ShowTrace(session, *id); });
  trace->add_option("TRACE", *id, "Trace id")->required();

  auto located = std::make_shared<std::string>();
  CLI::App* locate = AddCommand(
      app, session, "locate", "How far a run is from every known failure mode",
      [session, located] { return LocateTrace(session, *located); });
  locate->add_option("TRACE", *located, "Trace id")->required();

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
