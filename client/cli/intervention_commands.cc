#include <memory>
#include <string>
#include <vector>

#include "client/cli/case_file.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "faultline/v1/intervention_service.grpc.pb.h"

namespace faultline::cli {
namespace {

// A review triggers a tick.
constexpr absl::Duration kReviewTimeout = absl::Minutes(30);

struct InterventionsOptions {
  int limit = 50;
  std::vector<std::string> statuses;
};

absl::Status ListInterventions(Session* session,
                               const InterventionsOptions& options) {
  v1::ListInterventionsRequest request;
  request.set_parent(session->Parent());
  for (const std::string& word : options.statuses) {
    request.add_statuses(ParseEnumWord<v1::Intervention::Status>(word));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::InterventionService::Stub::ListInterventions, request,
                    options.limit,
                    [](auto* page) { return page->mutable_interventions(); }));
  if (session->options().json) return session->PrintJson(response);
  session->PrintTable(InterventionTable(response.interventions()),
                      "No interventions.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

absl::Status ShowIntervention(Session* session, const std::string& id) {
  v1::GetInterventionRequest request;
  request.set_name(session->Name("interventions", id));
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::InterventionService::Stub::GetIntervention, request));
  if (session->options().json) return session->PrintJson(response);
  PrintIntervention(session, response.intervention());
  return absl::OkStatus();
}

struct ExplainOptions {
  std::string intervention;
  std::string trace;
};

void PrintRuns(Session* session, const char* what,
               const google::protobuf::RepeatedPtrField<std::string>& names) {
  if (names.empty()) return;
  session->out() << "  " << what;
  for (const std::string& name : names) {
    session->out() << " " << OneLine(ShortName(name));
  }
  session->out() << "\n";
}

void PrintExplanation(Session* session,
                      const v1::RuleExplanation& explanation) {
  const std::string& id = explanation.has_rule()
                              ? explanation.rule().intervention_id()
                              : explanation.intervention().intervention_id();
  session->out() << "\nRule " << id;
  if (explanation.has_rule()) {
    session->out() << ": " << OneLine(ActionText(explanation.rule().action()));
  }
  session->out() << "\n";
  for (const std::string& step : explanation.because()) {
    session->out() << "  - " << OneLine(step, 1024) << "\n";
  }
  if (!explanation.medoid().empty()) {
    session->out() << "  medoid " << OneLine(ShortName(explanation.medoid()))
                   << "\n";
  }
  PrintRuns(session, "exemplars", explanation.exemplars());
  PrintRuns(session, "at its edge", explanation.boundary());
}

void PrintTraceExplanation(Session* session,
                           const v1::TraceExplanation& trace) {
  session->out() << "Run " << OneLine(ShortName(trace.trace()))
                 << ", made under policy version " << trace.policy_version()
                 << "\n  cluster "
                 << (trace.cluster().empty() ? "-" : ShortName(trace.cluster()))
                 << "\n";
  PrintRuns(session, "within reach of", trace.within_reach());
  Table table({{"INTERVENTION"}, {"CARRIED"}, {"ARM"}, {"MATCHES"}});
  for (const v1::MatchedRule& rule : trace.rules()) {
    table.AddRow({ShortName(rule.intervention()), rule.carried() ? "yes" : "no",
                  EnumWord(rule.arm()), rule.matches() ? "yes" : "no"});
  }
  session->PrintTable(table, "No rule matches it.");
}

absl::Status Explain(Session* session, const ExplainOptions& options) {
  v1::ExplainPolicyRequest request;
  if (!options.intervention.empty() && !options.trace.empty()) {
    return absl::InvalidArgumentError(
        "name an intervention or --trace, not both");
  }
  if (!options.intervention.empty()) {
    request.set_intervention(
        session->Name("interventions", options.intervention));
  } else if (!options.trace.empty()) {
    request.set_trace(session->Name("traces", options.trace));
  } else {
    request.set_parent(session->Parent());
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::InterventionService::Stub::ExplainPolicy, request));
  if (session->options().json) return session->PrintJson(response);
  if (response.has_trace()) PrintTraceExplanation(session, response.trace());
  for (const v1::RuleExplanation& explanation : response.rules()) {
    PrintExplanation(session, explanation);
  }
  if (response.rules().empty() && !response.has_trace()) {
    session->out() << "Policy version " << response.policy_version()
                   << " has no rules.\n";
  }
  return absl::OkStatus();
}

struct ReviewOptions {
  std::string id;
  std::string reviewer;
  std::string reason;
};

absl::Status Review(Session* session, const ReviewOptions& options,
                    v1::InterventionReview::Decision decision) {
  v1::ReviewInterventionRequest request;
  request.set_name(session->Name("interventions", options.id));
  request.set_decision(decision);
  request.set_reviewer(options.reviewer);
  request.set_reason(options.reason);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::InterventionService::Stub::ReviewIntervention, request,
                    kReviewTimeout));
  if (session->options().json) return session->PrintJson(response);
  session->out() << "Recorded (" << EnumWord(decision) << " by "
                 << OneLine(options.reviewer) << ", log sequence "
                 << response.sequence() << "). "
                 << response.intervention().intervention_id() << " is "
                 << EnumWord(response.intervention().status())
                 << "; the next tick applies the decision.\n";
  return absl::OkStatus();
}

void AddReview(CLI::App* app, Session* session, const std::string& name,
               const std::string& description,
               v1::InterventionReview::Decision decision, bool needs_reason) {
  auto options = std::make_shared<ReviewOptions>();
  options->reviewer = session->environment().user;
  CLI::App* command = AddCommand(app, session, name, description, [=] {
    return Review(session, *options, decision);
  });
  command->add_option("INTERVENTION", options->id, "Id or resource name")
      ->required();
  CLI::Option* reviewer = command
                              ->add_option("--reviewer", options->reviewer,
                                           "Who decides; default: $USER")
                              ->type_name("NAME");
  if (options->reviewer.empty()) reviewer->required();
  CLI::Option* reason = command->add_option("--reason", options->reason, "Why")
                            ->type_name("TEXT");
  if (needs_reason) reason->required();
}

}  // namespace

void AddInterventionCommands(CLI::App* app, Session* session) {
  auto list = std::make_shared<InterventionsOptions>();
  CLI::App* interventions =
      AddCommand(app, session, "interventions", "Interventions, latest first",
                 [session, list] { return ListInterventions(session, *list); });
  AddLimit(interventions, &list->limit);
  interventions->add_option("--status", list->statuses, "Only these")
      ->check(CLI::IsMember(EnumWords<v1::Intervention::Status>()))
      ->type_name("STATUS")
      ->delimiter(',');

  auto id = std::make_shared<std::string>();
  CLI::App* intervention = AddCommand(
      app, session, "intervention", "One intervention and its effect",
      [session, id] { return ShowIntervention(session, *id); });
  intervention->add_option("INTERVENTION", *id, "Id or resource name")
      ->required();

  auto explain_options = std::make_shared<ExplainOptions>();
  CLI::App* explain =
      AddCommand(app, session, "explain",
                 "Why rules exist, back to the runs; or which rules a run met",
                 [session, explain_options] {
                   return Explain(session, *explain_options);
                 });
  explain->add_option("INTERVENTION", explain_options->intervention,
                      "Id or resource name; default: every rule of the policy");
  explain->add_option("--trace", explain_options->trace, "Start from a run")
      ->type_name("TRACE");

  AddReview(app, session, "approve", "Start a proposed intervention",
            v1::InterventionReview::DECISION_APPROVE, /*needs_reason=*/false);
  AddReview(app, session, "reject", "Refuse a proposed intervention",
            v1::InterventionReview::DECISION_REJECT, /*needs_reason=*/true);
  AddReview(app, session, "rollback", "Withdraw a running intervention",
            v1::InterventionReview::DECISION_ROLL_BACK, /*needs_reason=*/true);
}

}  // namespace faultline::cli
