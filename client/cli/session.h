#ifndef FAULTLINE_CLIENT_CLI_SESSION_H_
#define FAULTLINE_CLIENT_CLI_SESSION_H_

#include <algorithm>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "google/protobuf/message.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"

namespace faultline::cli {

// What holds for every command; filled in by the command line.
struct GlobalOptions {
  std::string server = "127.0.0.1:7171";
  std::string project = "default";
  bool json = false;
  double timeout_seconds = 30;
};

// Where output goes. The streams and the clock must outlive the session.
struct Environment {
  std::ostream* out;
  std::ostream* err;
  Terminal out_terminal;
  Terminal err_terminal;
  const base::Clock* clock;
  std::string user;  // default reviewer
};

// One call of faultlinectl: the options, the connection and the output. A
// command returns a status; the session prints it. Not thread-safe.
class Session {
 public:
  explicit Session(Environment environment)
      : environment_(std::move(environment)) {}

  GlobalOptions& options() { return options_; }
  const Environment& environment() const { return environment_; }
  std::ostream& out() const { return *environment_.out; }
  std::ostream& err() const { return *environment_.err; }
  absl::Time Now() const { return environment_.clock->Now(); }

  // The command that the command line chose.
  void set_command(std::function<absl::Status()> command) {
    command_ = std::move(command);
  }
  // Runs it; reports its error on err(). Returns what main() returns.
  int Run();

  // `projects/{project}`.
  std::string Parent() const;
  // `projects/{project}/{collection}/{id}`; an id that is a whole name stays.
  std::string Name(absl::string_view collection, absl::string_view id) const;

  // The connection; made when first used.
  std::shared_ptr<grpc::Channel> channel();

  // One unary call: `Call(&v1::AdminService::Stub::GetStatus, request)`. The
  // error carries the server's ErrorDetail, where it sent one. `timeout`: at
  // least so long, whatever --timeout says.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      const Request& request, absl::Duration timeout = absl::ZeroDuration()) {
    Stub stub(channel());
    grpc::ClientContext context;
    SetDeadline(&context, timeout);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    FAULTLINE_RETURN_IF_ERROR(ToStatus(status, context));
    return response;
  }

  // Pages of a list call until `limit` elements, in one response; its
  // next_page_token tells whether there are more. `items` gives the response's
  // repeated field.
  template <typename Stub, typename Request, typename Response, typename Items>
  absl::StatusOr<Response> List(
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      Request request, int limit, Items items) {
    constexpr int kLargestPage = 1000;
    Response all;
    while (true) {
      request.set_page_size(
          std::min(limit - items(&all)->size(), kLargestPage));
      FAULTLINE_ASSIGN_OR_RETURN(const Response page, Call(method, request));
      all.MergeFrom(page);
      all.set_next_page_token(page.next_page_token());
      if (page.next_page_token().empty() || items(&all)->size() >= limit) {
        return all;
      }
      request.set_page_token(page.next_page_token());
    }
  }

  // The status of a finished call.
  absl::Status ToStatus(const grpc::Status& status,
                        const grpc::ClientContext& context) const;

  // Prints a message as JSON (protobuf's mapping, every field): one line, on
  // out() or elsewhere.
  absl::Status PrintJson(const google::protobuf::Message& message) const {
    return PrintJson(message, &out());
  }
  absl::Status PrintJson(const google::protobuf::Message& message,
                         std::ostream* to) const;
  // Prints a table, or `none` where it has no rows.
  void PrintTable(const Table& table, absl::string_view none) const;
  // Says on err() that a list was cut.
  void PrintMore(absl::string_view next_page_token) const;

  // `timeout`: at least so long, whatever --timeout says.
  void SetDeadline(grpc::ClientContext* context, absl::Duration timeout) const;

 private:
  void PrintError(const absl::Status& status) const;

  const Environment environment_;
  GlobalOptions options_;
  std::function<absl::Status()> command_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_SESSION_H_
