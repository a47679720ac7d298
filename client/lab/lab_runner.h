#ifndef FAULTLINE_CLIENT_LAB_LAB_RUNNER_H_
#define FAULTLINE_CLIENT_LAB_LAB_RUNNER_H_

#include <array>
#include <ostream>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/lab/lab.h"
#include "client/lab/policy_source.h"
#include "faultline/v1/cluster.pb.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/tick.pb.h"
#include "lib/base/clock.h"

namespace faultline::lab {

// What the lab asks of a Faultline server, about one project. The real one is
// in service_backend.h; tests bring their own. Not thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;

  // Changes the settings that `config` has.
  virtual absl::Status Configure(const v1::ProjectConfig& config) = 0;
  // Returns when every trace is durable. Rejections are an error.
  virtual absl::Status Send(std::vector<v1::Trace> traces) = 0;
  // Runs a tick and returns when its policy is the one that `policy` follows.
  virtual absl::StatusOr<v1::Tick> Tick() = 0;
  virtual absl::StatusOr<std::vector<v1::Cluster>> Clusters() = 0;
  virtual absl::StatusOr<std::vector<v1::Intervention>> Interventions() = 0;
  // The policy in force. Lives as long as the backend.
  virtual const PolicySource& policy() const = 0;
};

// What became of one tick.
struct TickReport {
  int number = 0;  // of the lab's ticks, counts from 1
  Score score;
  std::array<Score, 2> by_family;
  v1::Tick tick;
  std::vector<v1::Cluster> clusters;            // largest first
  std::vector<v1::Intervention> interventions;  // latest first
};

// Failure rates of the first tick, before there is a policy, and over the last
// ticks.
struct Summary {
  int last_ticks = 0;
  Score first;
  Score last;
  // Share of the gap between none and oracle that the last ticks have closed.
  double gap_closed = 0;
};

// The last ticks are the last third of them, at least one and at most four.
Summary Summarize(const std::vector<TickReport>& reports);

// Drives the loop: run problems under the policy in force, send the traces,
// trigger a tick, read what it found. Not thread-safe.
class LabRunner {
 public:
  // Owns nothing. `labels` may be null; it gets one LabelLine for each run.
  LabRunner(const Lab& lab, const base::Clock& clock, Backend* backend,
            std::ostream* labels)
      : lab_(lab), clock_(clock), backend_(backend), labels_(labels) {}

  // The next tick. Errors are the backend's; DATA_LOSS where the labels cannot
  // be written.
  absl::StatusOr<TickReport> RunTick();

 private:
  const Lab& lab_;
  const base::Clock& clock_;
  Backend* const backend_;
  std::ostream* const labels_;
  int ticks_ = 0;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_LAB_RUNNER_H_
