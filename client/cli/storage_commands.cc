#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "client/cli/commands.h"
#include "client/cli/condition.h"
#include "client/cli/restore.h"
#include "client/cli/text.h"
#include "faultline/v1/admin_service.grpc.pb.h"

namespace faultline::cli {
namespace {

// A filter reads the whole log, a backup all of the data.
constexpr absl::Duration kLongTimeout = absl::Hours(2);

struct DeleteOptions {
  std::vector<std::string> trace_ids;
  std::string session_id;
  std::vector<std::string> where;
  std::string after;
  std::string before;
  std::string outcome;
  bool yes = false;
};

// For CLI11: empty where the text is good.
std::string EqualityProblem(const std::string& text) {
  return text.find('=') != std::string::npos && text[0] != '='
             ? ""
             : "FIELD=VALUE is expected";
}

v1::TraceFilter MakeFilter(const DeleteOptions& options) {
  v1::TraceFilter filter;
  for (const std::string& condition : options.where) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(condition, absl::MaxSplits('=', 1));
    v1::Comparison* comparison = filter.mutable_predicate()
                                     ->mutable_all()
                                     ->add_predicates()
                                     ->mutable_comparison();
    comparison->set_field(parts.first);
    comparison->set_op(v1::Comparison::OPERATOR_EQUAL);
    comparison->set_text(parts.second);
  }
  if (!options.after.empty()) {
    SetTime(options.after, filter.mutable_begin_time());
  }
  if (!options.before.empty()) {
    SetTime(options.before, filter.mutable_end_time());
  }
  filter.set_outcome(ParseEnumWord<v1::Outcome>(options.outcome));
  return filter;
}

absl::Status DeleteTraces(Session* session, const DeleteOptions& options) {
  v1::DeleteTracesRequest request;
  request.set_parent(session->Parent());
  const bool by_filter = !options.where.empty() || !options.after.empty() ||
                         !options.before.empty() || !options.outcome.empty();
  if (static_cast<int>(!options.trace_ids.empty()) +
          static_cast<int>(!options.session_id.empty()) +
          static_cast<int>(by_filter) !=
      1) {
    return absl::InvalidArgumentError(
        "name trace ids, or --session, or conditions (--where, --after, "
        "--before, --outcome)");
  }
  if (by_filter) {
    *request.mutable_filter() = MakeFilter(options);
  } else if (!options.session_id.empty()) {
    request.set_session_id(options.session_id);
  } else {
    request.mutable_ids()->mutable_trace_ids()->Add(options.trace_ids.begin(),
                                                    options.trace_ids.end());
  }
  request.set_dry_run(!options.yes);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response, session->Call(&v1::AdminService::Stub::DeleteTraces,
                                         request, kLongTimeout));
  if (session->options().json) return session->PrintJson(response);
  session->out() << (options.yes ? "Removed " : "Would remove ")
                 << response.traces() << " runs, ";
  if (options.yes) {
    session->out() << response.outcomes() << " outcomes, "
                   << response.annotations() << " annotations, ";
  }
  session->out() << response.vectors() << " vectors, "
                 << Bytes(response.bytes()) << ".\n";
  if (!response.clusters().empty()) {
    session->out() << "Shown as examples of "
                   << absl::StrJoin(
                          response.clusters(), ", ",
                          [](std::string* out, const std::string& name) {
                            absl::StrAppend(out, ShortName(name));
                          })
                   << (options.yes ? "; the tick that runs now chooses others."
                                   : ".")
                   << "\n";
  }
  for (const std::string& id : response.unknown_ids()) {
    session->err() << OneLine(id) << ": no such run\n";
  }
  if (!options.yes) {
    session->err() << "Nothing was removed: repeat with --yes.\n";
  }
  return absl::OkStatus();
}

absl::Status ListRejections(Session* session, int limit) {
  v1::ListRejectionsRequest request;
  request.set_parent(session->Parent());
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->List(&v1::AdminService::Stub::ListRejections, request, limit,
                    [](auto* page) { return page->mutable_rejections(); }));
  if (session->options().json) return session->PrintJson(response);
  Table table({{"TIME"},
               {"FROM"},
               {"TRACE"},
               {"REASON"},
               {"FIELD"},
               {"LIMIT"},
               {"WHY", Column::Fit::kCut}});
  for (const v1::RejectedRecord& rejection : response.rejections()) {
    const v1::ErrorDetail& error = rejection.error();
    table.AddRow({Time(rejection.time()), EnumWord(rejection.source()),
                  OneLine(rejection.trace_id()), EnumWord(error.reason()),
                  OneLine(error.field()), OneLine(error.limit()),
                  OneLine(error.message())});
  }
  session->PrintTable(table,
                      "Nothing was refused since the start of the server.");
  session->PrintMore(response.next_page_token());
  return absl::OkStatus();
}

absl::Status Backup(Session* session, const std::string& directory) {
  v1::BackupRequest request;
  request.set_directory(directory);
  FAULTLINE_ASSIGN_OR_RETURN(
      const auto response,
      session->Call(&v1::AdminService::Stub::Backup, request, kLongTimeout));
  if (session->options().json) return session->PrintJson(response);
  session->out() << "Wrote " << response.files() << " files, "
                 << Bytes(response.bytes()) << ", to " << directory
                 << " on the server's machine.\n";
  return absl::OkStatus();
}

struct RestoreOptions {
  std::string from;
  std::string data_dir;
};

absl::Status Restore(Session* session, const RestoreOptions& options) {
  FAULTLINE_ASSIGN_OR_RETURN(const v1::BackupManifest manifest,
                             RestoreBackup(options.from, options.data_dir));
  if (session->options().json) return session->PrintJson(manifest);
  session->out() << "Restored " << manifest.files_size() << " files of "
                 << Time(manifest.create_time()) << " to " << options.data_dir
                 << "; start faultlined with --data_dir " << options.data_dir
                 << ".\n";
  return absl::OkStatus();
}

void AddDelete(CLI::App* app, Session* session) {
  auto options = std::make_shared<DeleteOptions>();
  CLI::App* command = AddCommand(
      app, session, "delete",
      "Remove runs, with all that is known of them, for good",
      [session, options] { return DeleteTraces(session, *options); });
  command->add_option("TRACE", options->trace_ids, "Trace ids");
  command->add_option("--session", options->session_id, "All runs of a session")
      ->type_name("ID");
  command
      ->add_option("--where", options->where,
                   "Runs with FIELD=VALUE, such as task.type=qa; of several, "
                   "all must hold")
      ->check(EqualityProblem)
      ->type_name("FIELD=VALUE");
  command
      ->add_option("--after", options->after, "Runs that began then or later")
      ->check(TimeProblem)
      ->type_name("TIME");
  command->add_option("--before", options->before, "Runs that began earlier")
      ->check(TimeProblem)
      ->type_name("TIME");
  command->add_option("--outcome", options->outcome, "Runs with this outcome")
      ->check(CLI::IsMember(EnumWords<v1::Outcome>()))
      ->type_name("OUTCOME");
  command->add_flag("--yes", options->yes,
                    "Do it; without, only say what would be removed");
}

}  // namespace

void AddStorageCommands(CLI::App* app, Session* session) {
  AddDelete(app, session);

  auto limit = std::make_shared<int>(20);
  CLI::App* rejections =
      AddCommand(app, session, "rejections",
                 "Records that the server refused, and why, latest first",
                 [session, limit] { return ListRejections(session, *limit); });
  AddLimit(rejections, limit.get());

  auto directory = std::make_shared<std::string>();
  CLI::App* backup =
      AddCommand(app, session, "backup", "Copy all data while the server runs",
                 [session, directory] { return Backup(session, *directory); });
  backup
      ->add_option("--to", *directory,
                   "Absolute path on the server's machine, new or empty")
      ->required()
      ->type_name("DIR");

  auto restore_options = std::make_shared<RestoreOptions>();
  CLI::App* restore = AddCommand(
      app, session, "restore",
      "Make a data directory of a backup, on this machine, without a server",
      [session, restore_options] {
        return Restore(session, *restore_options);
      });
  restore->add_option("--from", restore_options->from, "The backup")
      ->required()
      ->type_name("DIR");
  restore
      ->add_option("--data_dir", restore_options->data_dir,
                   "New or empty directory")
      ->required()
      ->type_name("DIR");
}

}  // namespace faultline::cli
