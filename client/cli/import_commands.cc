#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/cli/commands.h"
#include "client/cli/import.h"
#include "client/cli/text.h"
#include "client/importers/episode_importer.h"
#include "client/importers/trace_reader.h"
#include "client/sdk/grpc_connection.h"
#include "client/sdk/trace_client.h"
#include "faultline/v1/cluster_service.grpc.pb.h"

namespace faultline::cli {
namespace {

constexpr int kShownProblems = 10;

struct ImportOptions {
  std::string format;
  std::vector<std::string> files;
  double patience_seconds = 60;
};

// Says what is wrong with the first few records and counts the others.
// Thread-safe: rejections come on a thread of the SDK.
class Problems {
 public:
  explicit Problems(std::ostream* err) : err_(err) {}

  void Add(const std::string& problem) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (++count_ > kShownProblems) return;
    *err_ << "\n" << OneLine(problem, 1024) << std::flush;
    if (count_ == kShownProblems) {
      *err_ << "\nFurther ones are only counted.";
    }
  }

  // Ends the line of the last problem.
  void Finish() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (count_ > 0) *err_ << "\n";
  }

 private:
  absl::Mutex mutex_;
  std::ostream* const err_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

absl::Status PrintCounts(Session* session, const ImportCounts& counts,
                         absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  const std::vector<std::pair<std::string, uint64_t>> rows = {
      {"read", counts.read},
      {"stored", counts.stored},
      {"duplicates", counts.duplicates},
      {"rejected", counts.rejected},
      {"unreadable", counts.unreadable},
      {"settled", counts.settled}};
  if (session->options().json) {
    nlohmann::ordered_json json;
    for (const auto& [name, count] : rows) json[name] = count;
    json["seconds"] = seconds;
    session->out() << json.dump() << "\n";
    return absl::OkStatus();
  }
  for (const auto& [name, count] : rows) {
    session->out() << absl::StreamFormat("%-10s  %d\n", name, count);
  }
  session->out() << absl::StreamFormat("%-10s  %.2f\n", "seconds", seconds);
  return absl::OkStatus();
}

absl::Status RunImport(Session* session, const ImportOptions& options) {
  const base::Clock* clock = session->environment().clock;
  Problems problems(&session->err());
  sdk::TraceClient::Options client_options;
  client_options.project = session->options().project;
  client_options.max_batch_traces = 512;
  client_options.max_buffer_bytes = 256 << 20;
  client_options.on_rejected = [&problems](const v1::Rejection& rejection) {
    problems.Add(absl::StrCat("refused: ", rejection.trace_id(), ": ",
                              rejection.error().field(), ": ",
                              rejection.error().message(), " (",
                              rejection.error().limit(), ")"));
  };
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto client,
      sdk::TraceClient::Create(
          client_options, sdk::MakeGrpcConnection(session->channel()), clock));
  Progress progress("runs", session->environment().err_terminal, clock,
                    &session->err());
  Import import(options.format, client.get(), clock,
                absl::Seconds(options.patience_seconds),
                [&problems](const std::string& text) { problems.Add(text); });
  const absl::Status status = import.Run(options.files, &progress);
  problems.Finish();
  const ImportCounts counts = import.counts();
  FAULTLINE_RETURN_IF_ERROR(PrintCounts(session, counts, progress.elapsed()));
  FAULTLINE_RETURN_IF_ERROR(status);
  const uint64_t refused = counts.rejected + counts.unreadable;
  if (refused == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(refused, " of ", counts.read + counts.unreadable,
                   " records were not taken"));
}

struct ExportOptions {
  std::string cluster;
  int limit = 1000;
};

absl::Status RunExport(Session* session, const ExportOptions& options) {
  v1::ListMembersRequest request;
  request.set_parent(session->Name("clusters", options.cluster));
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::ClusterService::Stub::ListMembers, request,
                    options.limit,
                    [](auto* page) { return page->mutable_members(); }));
  for (const auto& member : response.members()) {
    FAULTLINE_ASSIGN_OR_RETURN(const std::string episode,
                               importers::WriteEpisode(member.trace()));
    session->out() << episode << "\n";
  }
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

}  // namespace

void AddImportCommands(CLI::App* app, Session* session) {
  auto options = std::make_shared<ImportOptions>();
  CLI::App* import =
      AddCommand(app, session, "import",
                 "Store recorded runs; repeat it to go on after a break",
                 [session, options] { return RunImport(session, *options); });
  import->add_option("FILES", options->files, "Files, in this order")
      ->required()
      ->type_name("FILE");
  import->add_option("--format", options->format, "What is in the files")
      ->required()
      ->check(CLI::IsMember(importers::TraceFormats()))
      ->type_name("FORMAT");
  import
      ->add_option("--patience", options->patience_seconds,
                   "Give up where the server stores nothing for so long")
      ->check(CLI::PositiveNumber)
      ->type_name("SECONDS")
      ->capture_default_str();

  auto export_options = std::make_shared<ExportOptions>();
  CLI::App* export_command = AddCommand(
      app, session, "export", "Print the runs of a cluster as episodes",
      [session, export_options] {
        return RunExport(session, *export_options);
      });
  export_command
      ->add_option("CLUSTER", export_options->cluster, "Id or resource name")
      ->required();
  AddLimit(export_command, &export_options->limit);
}

}  // namespace faultline::cli
