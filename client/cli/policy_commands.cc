#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "lib/policy/policy_matcher.h"

namespace faultline::cli {
namespace {

constexpr char kRouterId[] = "faultlinectl";

std::string PolicyLine(const v1::Policy& policy) {
  return absl::StrCat("Policy version ", policy.version(), " of tick ",
                      policy.tick(), ", ", Time(policy.create_time()), ", ",
                      policy.rules_size(), " rules, digest ",
                      policy.digest().substr(0, 12));
}

Table RuleTable(const v1::Policy& policy) {
  Table table({{"PRIORITY", Column::Fit::kNumber},
               {"INTERVENTION"},
               {"KIND"},
               {"TREATED", Column::Fit::kNumber},
               {"EXPIRES"},
               {"RUNS"},
               {"ACTION", Column::Fit::kCut}});
  for (const v1::Rule& rule : policy.rules()) {
    table.AddRow({absl::StrCat(rule.priority()), rule.intervention_id(),
                  EnumWord(rule.kind()), Percent(rule.treatment_probability()),
                  Time(rule.expire_time()),
                  OneLine(policy::PredicateText(rule.match())),
                  OneLine(ActionText(rule.action()))});
  }
  return table;
}

absl::Status ShowPolicy(Session* session, uint64_t version) {
  v1::GetPolicyRequest request;
  request.set_parent(session->Parent());
  request.set_version(version);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::PolicyService::Stub::GetPolicy, request));
  if (session->options().json) return session->PrintJson(response);
  const v1::Policy& policy = response.policy();
  session->out() << PolicyLine(policy) << ", parent "
                 << (policy.parent_digest().empty()
                         ? "none"
                         : policy.parent_digest().substr(0, 12))
                 << "\nRouters keep it for " << Span(ToDuration(policy.ttl()))
                 << " without contact; " << Percent(policy.global_holdout())
                 << " of the keys never get an intervention.\n\n";
  session->PrintTable(RuleTable(policy), "No rules.");
  return absl::OkStatus();
}

absl::Status ListVersions(Session* session, int limit) {
  v1::ListPolicyVersionsRequest request;
  request.set_parent(session->Parent());
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::PolicyService::Stub::ListPolicyVersions, request,
                    limit,
                    [](auto* page) { return page->mutable_policies(); }));
  if (session->options().json) return session->PrintJson(response);
  Table table({{"VERSION", Column::Fit::kNumber},
               {"TICK", Column::Fit::kNumber},
               {"MADE"},
               {"RULES", Column::Fit::kNumber},
               {"DIGEST"},
               {"PARENT"}});
  for (const v1::Policy& policy : response.policies()) {
    table.AddRow({absl::StrCat(policy.version()), absl::StrCat(policy.tick()),
                  Time(policy.create_time()), absl::StrCat(policy.rules_size()),
                  policy.digest().substr(0, 12),
                  policy.parent_digest().substr(0, 12)});
  }
  session->PrintTable(table, "No policy yet.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

struct DiffOptions {
  uint64_t from = 0;
  uint64_t to = 0;
};

absl::Status DiffPolicies(Session* session, const DiffOptions& options) {
  v1::DiffPoliciesRequest request;
  request.set_parent(session->Parent());
  request.set_from_version(options.from);
  request.set_to_version(options.to);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::PolicyService::Stub::DiffPolicies, request));
  if (session->options().json) return session->PrintJson(response);
  session->out() << "From version " << response.from_version() << " to "
                 << response.to_version() << ": " << response.added_size()
                 << " rules added, " << response.removed_size() << " removed, "
                 << response.changed_size() << " changed, "
                 << response.unchanged() << " as before.\n\n";
  Table table({{"RULE"},
               {"CHANGE"},
               {"BEFORE", Column::Fit::kCut},
               {"AFTER", Column::Fit::kCut}});
  const auto words = [](const v1::Rule& rule) {
    return OneLine(absl::StrCat(ActionText(rule.action()), " on ",
                                policy::PredicateText(rule.match())));
  };
  for (const v1::Rule& rule : response.added()) {
    table.AddRow(
        {rule.intervention_id(), {"added", Tone::kGood}, "-", words(rule)});
  }
  for (const v1::Rule& rule : response.removed()) {
    table.AddRow(
        {rule.intervention_id(), {"removed", Tone::kBad}, words(rule), "-"});
  }
  for (const v1::RuleChange& change : response.changed()) {
    for (const v1::FieldChange& field : change.fields()) {
      table.AddRow({change.intervention_id(),
                    {field.field(), Tone::kWarning},
                    OneLine(field.before()),
                    OneLine(field.after())});
    }
  }
  for (const v1::FieldChange& setting : response.settings()) {
    table.AddRow({"-",
                  {setting.field(), Tone::kWarning},
                  OneLine(setting.before()),
                  OneLine(setting.after())});
  }
  session->PrintTable(table, "Nothing that a router sees differs.");
  return absl::OkStatus();
}

absl::Status ListRouters(Session* session, int limit) {
  v1::ListRoutersRequest request;
  request.set_parent(session->Parent());
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::PolicyService::Stub::ListRouters, request, limit,
                    [](auto* page) { return page->mutable_routers(); }));
  if (session->options().json) return session->PrintJson(response);
  Table table({{"ROUTER"},
               {"APPLIES", Column::Fit::kNumber},
               {"SENT", Column::Fit::kNumber},
               {"BEHIND", Column::Fit::kNumber},
               {"BY"},
               {"LAST SEEN"},
               {"REFUSED BECAUSE", Column::Fit::kCut}});
  for (const v1::Router& router : response.routers()) {
    table.AddRow({OneLine(router.router_id(), 60),
                  absl::StrCat(router.applied_version()),
                  absl::StrCat(router.sent_version()),
                  {absl::StrCat(router.version_skew()),
                   router.version_skew() > 0 ? Tone::kWarning : Tone::kPlain},
                  router.watching() ? "watch" : "poll",
                  Age(router.last_seen_time(), session->Now()),
                  {OneLine(router.nack_reason()), Tone::kBad}});
  }
  session->PrintTable(table, "No router has asked yet.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

// Prints each version as it comes, until `count` versions came (0: for ever).
absl::Status Watch(Session* session, int count) {
  v1::PolicyService::Stub stub(session->channel());
  grpc::ClientContext context;
  const auto stream = stub.WatchPolicy(&context);
  v1::WatchPolicyRequest request;
  request.set_parent(session->Parent());
  request.set_router_id(kRouterId);
  stream->Write(request);
  v1::WatchPolicyResponse response;
  int seen = 0;
  while ((count == 0 || seen < count) && stream->Read(&response)) {
    if (!response.has_policy()) continue;
    ++seen;
    if (session->options().json) {
      FAULTLINE_RETURN_IF_ERROR(session->PrintJson(response));
    } else {
      session->out() << PolicyLine(response.policy()) << "\n" << std::flush;
    }
    request.set_nonce(response.nonce());
    request.set_applied_version(response.policy().version());
    stream->Write(request);
  }
  // The server ends the call when it has read the last answer.
  stream->WritesDone();
  while (stream->Read(&response)) {
  }
  return session->ToStatus(stream->Finish(), context);
}

}  // namespace

void AddPolicyCommands(CLI::App* app, Session* session) {
  auto version = std::make_shared<uint64_t>(0);
  const auto show = [session, version] {
    return ShowPolicy(session, *version);
  };
  CLI::App* policy =
      AddCommand(app, session, "policy", "The policy that routers apply", show);
  policy->require_subcommand(0, 1);
  CLI::App* show_command =
      AddCommand(policy, session, "show", "One version and its rules", show);
  show_command
      ->add_option("--policy-version", *version, "Which; default: the current")
      ->type_name("N");
  auto limit = std::make_shared<int>(50);
  CLI::App* versions =
      AddCommand(policy, session, "versions", "Versions, latest first",
                 [session, limit] { return ListVersions(session, *limit); });
  AddLimit(versions, limit.get());

  auto diff_options = std::make_shared<DiffOptions>();
  CLI::App* diff = AddCommand(
      policy, session, "diff", "What changed between two versions",
      [session, diff_options] { return DiffPolicies(session, *diff_options); });
  diff->add_option("FROM", diff_options->from,
                   "Earlier version; default: the one before TO");
  diff->add_option("TO", diff_options->to,
                   "Later version; default: the current");

  CLI::App* routers =
      AddCommand(app, session, "routers", "Routers and what they apply",
                 [session, limit] { return ListRouters(session, *limit); });
  AddLimit(routers, limit.get());

  auto count = std::make_shared<int>(0);
  CLI::App* watch =
      AddCommand(app, session, "watch", "Print each policy version as it comes",
                 [session, count] { return Watch(session, *count); });
  watch->add_option("--count", *count, "End after so many; default: never")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
}

}  // namespace faultline::cli
