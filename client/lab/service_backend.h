#ifndef FAULTLINE_CLIENT_LAB_SERVICE_BACKEND_H_
#define FAULTLINE_CLIENT_LAB_SERVICE_BACKEND_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/lab/lab_runner.h"
#include "client/sdk/router_client.h"
#include "client/sdk/trace_client.h"
#include "grpcpp/channel.h"
#include "lib/base/clock.h"

namespace faultline::lab {

// A project on a Faultline server: traces by TraceClient, the policy by
// RouterClient (pushed), the rest by unary calls. Not thread-safe.
class ServiceBackend final : public Backend {
 public:
  struct Options {
    std::string server = "127.0.0.1:7171";
    std::string project = "lab";
    // How long one call, a flush or a tick may take.
    absl::Duration timeout = absl::Minutes(5);
  };

  // Waits for the first contact. UNAVAILABLE or DEADLINE_EXCEEDED where there
  // is no server; INVALID_ARGUMENT names the option at fault. Does not own the
  // clock.
  static absl::StatusOr<std::unique_ptr<ServiceBackend>> Create(
      const Options& options, const base::Clock* clock);

  absl::Status Configure(const v1::ProjectConfig& config) override;
  absl::Status Send(std::vector<v1::Trace> traces) override;
  absl::StatusOr<v1::Tick> Tick() override;
  absl::StatusOr<std::vector<v1::Cluster>> Clusters() override;
  absl::StatusOr<std::vector<std::string>> Members(
      const std::string& cluster) override;
  absl::StatusOr<std::vector<v1::Intervention>> Interventions() override;
  const PolicySource& policy() const override { return *policy_; }

 private:
  // What TraceClient's thread reports.
  struct Rejections;

  ServiceBackend(const Options& options, const base::Clock* clock);
  std::string Parent() const;
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      const Request& request) const;

  const Options options_;
  const base::Clock* const clock_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<Rejections> rejections_;
  std::unique_ptr<sdk::TraceClient> traces_;
  std::unique_ptr<sdk::RouterClient> router_;
  std::unique_ptr<PolicySource> policy_;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_SERVICE_BACKEND_H_
