#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

struct ReplayOptions {
  bool verify = false;
  uint64_t tick = 0;
  uint64_t policy = 0;
};

// Why a tick that was computed again is not what it was.
std::string Difference(const v1::ReplayTicksResponse& replayed) {
  if (replayed.same()) return "same";
  if (replayed.embedder() != replayed.tick().embedder()) {
    return "embedded in another way: other options or another release";
  }
  return replayed.digest() != replayed.tick().digest() ? "another state"
                                                       : "another policy";
}

// Prints each tick as it comes. With `verify`, an error after the first that
// is not what it was; with `policy`, that version alone, as computed again.
absl::Status Replay(Session* session, const ReplayOptions& options) {
  v1::ReplayTicksRequest request;
  request.set_parent(session->Parent());
  request.set_last_tick(options.tick);
  request.set_include_policies(options.policy > 0);
  v1::AdminService::Stub stub(session->channel());
  grpc::ClientContext context;
  const auto reader = stub.ReplayTicks(&context, request);
  const bool json = session->options().json;
  if (!json && options.policy == 0) {
    session->out() << "  TICK        RUNS  POLICY  DIGEST        NOW\n";
  }
  v1::ReplayTicksResponse replayed;
  uint64_t ticks = 0;
  absl::Status difference;
  bool found = false;
  while (reader->Read(&replayed)) {
    ++ticks;
    if (options.policy > 0) {
      found = replayed.policy().version() == options.policy;
      if (!found) continue;
      FAULTLINE_RETURN_IF_ERROR(session->PrintJson(replayed.policy()));
      context.TryCancel();
      break;
    }
    if (json) {
      FAULTLINE_RETURN_IF_ERROR(session->PrintJson(replayed));
    } else {
      session->out() << absl::StreamFormat(
          "%6d  %10d  %6d  %s  %s  %s\n", replayed.tick().tick(),
          replayed.tick().runs(), replayed.tick().policy_version(),
          replayed.tick().digest().substr(0, 12),
          replayed.digest().substr(0, 12), Difference(replayed));
      session->out().flush();
    }
    if (!replayed.same() && difference.ok()) {
      difference = absl::DataLossError(
          absl::StrCat("tick ", replayed.tick().tick(), ": ",
                       Difference(replayed), "; the log does not give it"));
      if (!options.verify) continue;
      context.TryCancel();
      break;
    }
  }
  const grpc::Status status = reader->Finish();
  if (found) return absl::OkStatus();
  if (options.verify && !difference.ok()) return difference;
  FAULTLINE_RETURN_IF_ERROR(session->ToStatus(status, context));
  if (options.policy > 0) {
    return absl::NotFoundError(
        absl::StrCat("no tick made policy version ", options.policy));
  }
  if (!json) {
    session->out() << ticks << " ticks computed again, "
                   << (difference.ok() ? "all the same" : "not all the same")
                   << "\n";
  }
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

  auto replay_options = std::make_shared<ReplayOptions>();
  CLI::App* replay = AddCommand(
      app, session, "replay", "Compute the ticks again from the log",
      [session, replay_options] { return Replay(session, *replay_options); });
  replay->add_flag("--verify", replay_options->verify,
                   "Fail at the first tick that is not what it was");
  replay->add_option("--last", replay_options->tick, "Tick to end with");
  replay->add_option("--policy", replay_options->policy,
                     "Print this version of the policy, as computed again");
}

}  // namespace faultline::cli
