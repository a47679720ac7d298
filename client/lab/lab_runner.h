#ifndef FAULTLINE_CLIENT_LAB_LAB_RUNNER_H_
#define FAULTLINE_CLIENT_LAB_LAB_RUNNER_H_

#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/lab/baselines.h"
#include "client/lab/lab.h"
#include "client/lab/policy_source.h"
#include "client/lab/truth.h"
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
  // Trace ids of a cluster's members; by Cluster.name.
  virtual absl::StatusOr<std::vector<std::string>> Members(
      const std::string& cluster) = 0;
  virtual absl::StatusOr<std::vector<v1::Intervention>> Interventions() = 0;
  // The policy in force. Lives as long as the backend.
  virtual const PolicySource& policy() const = 0;
};

// What became of one tick.
struct TickReport {
  int number = 0;  // of the lab's ticks, counts from 1
  Scores scores;
  v1::Tick tick;
  std::vector<v1::Cluster> clusters;            // largest first
  std::vector<v1::Intervention> interventions;  // latest first
};

// A trial that was started, beside what its intervention does in truth.
struct TrialReport {
  v1::Intervention intervention;
  Truth truth;  // at the tick of its verdict, else at the last one
  int start_tick = 0;
  // Tick of the first verdict after the first start; none: still in trial.
  std::optional<int> verdict_tick;
  bool confirmed = false;    // ever
  bool rolled_back = false;  // at the end
};

// An accepted cluster beside the hidden kind that most of its members have.
struct NamingReport {
  std::string title;
  v1::FailureMode mode = v1::FAILURE_MODE_UNSPECIFIED;
  Family family = Family::kReasoning;
  std::string kind;
  double share = 0;    // of the members that have the kind
  bool right = false;  // the mode is one of ModesOf
};

// Failure rates of the first tick, before there is a policy, and over the last
// ticks; and what the server claimed, held against the truth.
struct Summary {
  int last_ticks = 0;
  Score first;
  Score last;
  // Share of the gap between none and oracle that the last ticks captured.
  double captured = 0;
  double captured_by_random = 0;
  double captured_by_bandit = 0;

  int trials = 0;               // ever started
  int confirmed = 0;            // ever
  int false_confirmations = 0;  // of these, inert or harmful in truth
  int harmful = 0;              // trials that hurt in truth
  int harmful_confirmed = 0;    // of these, confirmed at the end
  int rolled_back = 0;
  double median_ticks_to_verdict = 0;  // 0 where there was none

  int accepted_clusters = 0;
  int rightly_named = 0;
};

// Drives the loop: run problems under the policy in force, send the traces,
// trigger a tick, read what it found. Not thread-safe.
class LabRunner {
 public:
  // Owns nothing. `labels` may be null; it gets one LabelLine for each run.
  LabRunner(const Lab& lab, const base::Clock& clock, Backend* backend,
            std::ostream* labels)
      : lab_(lab),
        clock_(clock),
        backend_(backend),
        labels_(labels),
        baselines_(lab) {}

  // The next tick. Errors are the backend's; DATA_LOSS where the labels cannot
  // be written.
  absl::StatusOr<TickReport> RunTick();

  // Trials of the last tick's interventions, in order of their start.
  std::vector<TrialReport> Trials() const;
  // Accepted clusters (STATUS_STABLE) of the last tick. Errors are the
  // backend's.
  absl::StatusOr<std::vector<NamingReport>> Naming();

  const std::vector<TickReport>& reports() const { return reports_; }

 private:
  const Lab& lab_;
  const base::Clock& clock_;
  Backend* const backend_;
  std::ostream* const labels_;
  Baselines baselines_;
  std::vector<TickReport> reports_;
  std::map<std::string, std::pair<Family, std::string>> kinds_;  // by trace id
};

// The last ticks are the last third of them, at least one and at most four.
Summary Summarize(const std::vector<TickReport>& reports,
                  const std::vector<TrialReport>& trials,
                  const std::vector<NamingReport>& naming);

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_LAB_RUNNER_H_
