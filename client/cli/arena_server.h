#ifndef FAULTLINE_CLIENT_CLI_ARENA_SERVER_H_
#define FAULTLINE_CLIENT_CLI_ARENA_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/arena/arena.h"
#include "client/cli/session.h"
#include "client/sdk/router_client.h"
#include "client/sdk/trace_client.h"

namespace faultline::cli {

// A project of its own on the session's server: traces by TraceClient, the
// policy by RouterClient (pushed), the rest by unary calls. Routing
// interventions start without a reviewer; before each tick the others are
// refused, since recorded runs cannot change. Not thread-safe.
class ArenaServer final : public arena::Backend {
 public:
  // `settings`: of the project, `SETTING=VALUE` each. FAILED_PRECONDITION
  // where the project has runs already: they would be part of the result. Does
  // not own the session.
  static absl::StatusOr<std::unique_ptr<ArenaServer>> Create(
      Session* session, const std::string& project,
      const std::vector<std::string>& settings);

  absl::Status Send(std::vector<v1::Trace> traces) override;
  absl::StatusOr<v1::Tick> Tick() override;
  sdk::Decision Decide(const v1::Trace& context,
                       absl::string_view assignment_key) override;
  absl::StatusOr<v1::RecommendResponse> Recommend(
      const v1::Trace& partial) override;

 private:
  // What TraceClient's thread reports.
  struct Rejections;

  ArenaServer(Session* session, std::string parent);
  absl::Status Configure(const std::vector<std::string>& settings);
  absl::Status RefuseWhatCannotBeReplayed();

  Session* const session_;
  const std::string parent_;
  std::shared_ptr<Rejections> rejections_;
  std::unique_ptr<sdk::TraceClient> traces_;
  std::unique_ptr<sdk::RouterClient> router_;
};

}  // namespace faultline::cli

#endif  // FAULTLINE_CLIENT_CLI_ARENA_SERVER_H_
