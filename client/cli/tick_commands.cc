#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/text.h"
#include "faultline/v1/admin_service.grpc.pb.h"

namespace faultline::cli {
namespace {

// A tick may look at 200,000 runs.
constexpr absl::Duration kTickTimeout = absl::Minutes(30);

absl::Duration TotalDuration(const v1::Tick& tick) {
  absl::Duration total;
  for (const auto& stage : tick.stages()) total += ToDuration(stage.duration());
  return total;
}

void PrintStages(Session* session, const v1::Tick& tick) {
  Table table(
      {{"STAGE"}, {"TIME", Column::Fit::kNumber}, {"WHAT", Column::Fit::kCut}});
  for (const auto& stage : tick.stages()) {
    table.AddRow({stage.name(), Span(ToDuration(stage.duration())),
                  OneLine(stage.summary())});
  }
  session->PrintTable(table, "No stages were kept.");
}

absl::Status RunTick(Session* session) {
  v1::TriggerTickRequest request;
  request.set_parent(session->Parent());
  FAULTLINE_ASSIGN_OR_RETURN(const auto response,
                             session->Call(&v1::AdminService::Stub::TriggerTick,
                                           request, kTickTimeout));
  if (session->options().json) return session->PrintJson(response);
  const v1::Tick& tick = response.tick();
  session->out() << "Tick " << tick.tick() << ": " << tick.failures()
                 << " failures in " << tick.runs() << " runs, "
                 << tick.clusters() << " clusters (" << tick.stable_clusters()
                 << " may act), " << tick.trials()
                 << " interventions in trial, policy version "
                 << tick.policy_version() << ", " << Span(TotalDuration(tick))
                 << "\n\n";
  PrintStages(session, tick);
  return absl::OkStatus();
}

struct TicksOptions {
  int limit = 20;
  bool stages = false;
};

absl::Status ListTicks(Session* session, const TicksOptions& options) {
  v1::ListTicksRequest request;
  request.set_parent(session->Parent());
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::AdminService::Stub::ListTicks, request, options.limit,
                    [](auto* page) { return page->mutable_ticks(); }));
  if (session->options().json) return session->PrintJson(response);
  Table table({{"TICK", Column::Fit::kNumber},
               {"STARTED"},
               {"RUNS", Column::Fit::kNumber},
               {"FAILURES", Column::Fit::kNumber},
               {"CLUSTERS", Column::Fit::kNumber},
               {"STABLE", Column::Fit::kNumber},
               {"TRIALS", Column::Fit::kNumber},
               {"POLICY", Column::Fit::kNumber},
               {"TOOK", Column::Fit::kNumber},
               {"DIGEST"}});
  for (const v1::Tick& tick : response.ticks()) {
    table.AddRow(
        {absl::StrCat(tick.tick()), Time(tick.start_time()),
         absl::StrCat(tick.runs()), absl::StrCat(tick.failures()),
         absl::StrCat(tick.clusters()), absl::StrCat(tick.stable_clusters()),
         absl::StrCat(tick.trials()), absl::StrCat(tick.policy_version()),
         Span(TotalDuration(tick)), tick.digest().substr(0, 12)});
  }
  session->PrintTable(table, "No tick yet: run `faultlinectl tick`.");
  if (options.stages) {
    for (const v1::Tick& tick : response.ticks()) {
      session->out() << "\nTick " << tick.tick() << "\n";
      PrintStages(session, tick);
    }
  }
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

}  // namespace

void AddTickCommands(CLI::App* app, Session* session) {
  AddCommand(app, session, "tick", "Run the slow loop once, now",
             [session] { return RunTick(session); });
  auto options = std::make_shared<TicksOptions>();
  CLI::App* ticks =
      AddCommand(app, session, "ticks", "Ticks, latest first",
                 [session, options] { return ListTicks(session, *options); });
  AddLimit(ticks, &options->limit);
  ticks->add_flag("--stages", options->stages, "Show the stages of each");
}

}  // namespace faultline::cli
