#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "faultline/v1/cluster_service.grpc.pb.h"

namespace faultline::cli {
namespace {

using v1::ClusterReview;
using v1::LineageEvent;

// A review triggers a tick.
constexpr absl::Duration kReviewTimeout = absl::Minutes(30);

struct LineageOptions {
  std::string cluster;
  std::vector<std::string> kinds;
  int limit = 50;
};

// What the event says beside its kind and its cluster.
std::string DetailsOf(const LineageEvent& event) {
  std::vector<std::string> details;
  const auto add = [&](const char* word, const auto& ids) {
    if (!ids.empty()) {
      details.push_back(absl::StrCat(word, " ", absl::StrJoin(ids, ", ")));
    }
  };
  add("part of", event.parents());
  add("parts", event.children());
  add("took in", event.aliases());
  if (event.has_review()) {
    const ClusterReview& review = event.review();
    details.push_back(absl::StrCat(EnumWord(review.decision()), " by ",
                                   review.reviewer(), ": ", review.reason()));
    if (!review.problem().empty()) {
      details.push_back(absl::StrCat("not applied: ", review.problem()));
    }
  }
  return OneLine(absl::StrJoin(details, "; "));
}

absl::Status ListLineage(Session* session, const LineageOptions& options) {
  v1::ListLineageRequest request;
  request.set_parent(session->Parent());
  if (!options.cluster.empty()) {
    request.set_cluster(session->Name("clusters", options.cluster));
  }
  for (const std::string& word : options.kinds) {
    request.add_kinds(ParseEnumWord<LineageEvent::Kind>(word));
  }
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::ClusterService::Stub::ListLineage, request,
                    options.limit,
                    [](auto* page) { return page->mutable_events(); }));
  if (session->options().json) return session->PrintJson(response);
  Table table({{"TICK", Column::Fit::kNumber},
               {"CLUSTER"},
               {"EVENT"},
               {"OVERLAP", Column::Fit::kNumber},
               {"OF NEW", Column::Fit::kNumber},
               {"OF OLD", Column::Fit::kNumber},
               {"SIZE", Column::Fit::kNumber},
               {"DETAILS", Column::Fit::kCut}});
  for (const LineageEvent& event : response.events()) {
    const bool compared = event.overlap() > 0;
    table.AddRow({absl::StrCat(event.tick()), event.cluster_id(),
                  EnumWord(event.kind()),
                  compared ? Number(event.overlap()) : "-",
                  compared ? Percent(event.new_share()) : "-",
                  compared ? Percent(event.old_share()) : "-",
                  event.size() > 0 ? absl::StrCat(event.size()) : "-",
                  DetailsOf(event)});
  }
  session->PrintTable(table, "No events.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

struct ReviewOptions {
  std::string cluster;
  std::string reviewer;
  std::string reason;
  std::string label;
  std::vector<std::string> others;
  std::vector<uint32_t> parts;
  std::vector<std::string> traces;
  std::string request_id;
};

absl::Status Review(Session* session, const ReviewOptions& options,
                    ClusterReview::Decision decision) {
  v1::ReviewClusterRequest request;
  request.set_name(session->Name("clusters", options.cluster));
  request.set_decision(decision);
  request.set_label(options.label);
  for (const std::string& other : options.others) {
    request.add_others(session->Name("clusters", other));
  }
  for (const uint32_t part : options.parts) request.add_sub_modes(part);
  for (const std::string& trace : options.traces) request.add_trace_ids(trace);
  request.set_reviewer(options.reviewer);
  request.set_reason(options.reason);
  request.set_request_id(options.request_id);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::ClusterService::Stub::ReviewCluster, request,
                    kReviewTimeout));
  if (session->options().json) return session->PrintJson(response);
  session->out() << "Recorded (" << EnumWord(decision) << " by "
                 << OneLine(options.reviewer) << ", log sequence "
                 << response.sequence()
                 << "); the next tick applies it to cluster "
                 << response.cluster().cluster_id() << ".\n";
  return absl::OkStatus();
}

// `review WORD CLUSTER ...`
CLI::App* AddReview(CLI::App* app, Session* session, const std::string& word,
                    const std::string& description,
                    ClusterReview::Decision decision,
                    const std::shared_ptr<ReviewOptions>& options) {
  options->reviewer = session->environment().user;
  CLI::App* command = AddCommand(app, session, word, description, [=] {
    return Review(session, *options, decision);
  });
  command->add_option("CLUSTER", options->cluster, "Id or resource name")
      ->required();
  CLI::Option* reviewer = command
                              ->add_option("--reviewer", options->reviewer,
                                           "Who decides; default: $USER")
                              ->type_name("NAME");
  if (options->reviewer.empty()) reviewer->required();
  command->add_option("--reason", options->reason, "Why")
      ->type_name("TEXT")
      ->required();
  command
      ->add_option("--request-id", options->request_id,
                   "The same in every attempt: it is applied once")
      ->type_name("TEXT");
  return command;
}

}  // namespace

void AddLineageCommands(CLI::App* app, Session* session) {
  auto lineage = std::make_shared<LineageOptions>();
  CLI::App* list =
      AddCommand(app, session, "lineage",
                 "What became of the clusters from tick to tick, latest first",
                 [session, lineage] { return ListLineage(session, *lineage); });
  list->add_option("CLUSTER", lineage->cluster,
                   "Only of this one: id or resource name");
  list->add_option("--kind", lineage->kinds, "Only these")
      ->check(CLI::IsMember(EnumWords<LineageEvent::Kind>()))
      ->type_name("KIND")
      ->delimiter(',');
  AddLimit(list, &lineage->limit);

  CLI::App* review = app->add_subcommand(
      "review", "A reviewer's decision about a cluster; it lasts");
  review->require_subcommand(1);
  review->fallthrough();
  auto options = std::make_shared<ReviewOptions>();
  AddReview(review, session, "label", "Give it a title",
            ClusterReview::DECISION_LABEL, options)
      ->add_option("TITLE", options->label, "The title")
      ->required();
  options = std::make_shared<ReviewOptions>();
  AddReview(review, session, "merge", "Make others part of it",
            ClusterReview::DECISION_MERGE, options)
      ->add_option("OTHER", options->others, "Ids or resource names")
      ->required();
  options = std::make_shared<ReviewOptions>();
  CLI::App* split =
      AddReview(review, session, "split", "Make parts of it clusters",
                ClusterReview::DECISION_SPLIT, options);
  CLI::Option* parts =
      split
          ->add_option("--part", options->parts,
                       "Places in its sub_modes, counted from 1, that leave")
          ->type_name("N")
          ->delimiter(',');
  split->add_option("--trace", options->traces, "Members that leave together")
      ->type_name("ID")
      ->delimiter(',')
      ->excludes(parts);
  const struct {
    const char* word;
    const char* description;
    ClusterReview::Decision decision;
  } links[] = {
      {"must-link", "Two runs fail the same way",
       ClusterReview::DECISION_MUST_LINK},
      {"cannot-link", "Two runs do not fail the same way",
       ClusterReview::DECISION_CANNOT_LINK},
  };
  for (const auto& [word, description, decision] : links) {
    options = std::make_shared<ReviewOptions>();
    AddReview(review, session, word, description, decision, options)
        ->add_option("TRACE", options->traces,
                     "Ids of the two runs, the first a member of CLUSTER")
        ->required()
        ->expected(2);
  }
  AddReview(review, session, "reject", "It is no failure mode",
            ClusterReview::DECISION_REJECT, std::make_shared<ReviewOptions>());
}

}  // namespace faultline::cli
