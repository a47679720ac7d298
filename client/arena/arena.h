#ifndef FAULTLINE_CLIENT_ARENA_ARENA_H_
#define FAULTLINE_CLIENT_ARENA_ARENA_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/arena/recorded_runs.h"
#include "client/sdk/router_client.h"
#include "faultline/v1/policy.pb.h"
#include "faultline/v1/policy_service.pb.h"
#include "faultline/v1/tick.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/clock.h"

namespace faultline::arena {

// What the arena asks of a Faultline server, about one project. Not
// thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;

  // Returns when every trace is durable. Rejections are an error.
  virtual absl::Status Send(std::vector<v1::Trace> traces) = 0;
  // Refuses what the arena cannot apply, runs a tick and returns when its
  // policy is the one in force.
  virtual absl::StatusOr<v1::Tick> Tick() = 0;
  // What the policy in force says about a run (sdk::RouterClient::Decide).
  virtual sdk::Decision Decide(const v1::Trace& context,
                               absl::string_view assignment_key) = 0;
  virtual absl::StatusOr<v1::RecommendResponse> Recommend(
      const v1::Trace& partial) = 0;
};

// What a router knows of a task before it chooses: type, dataset, input, and
// what is the same in all recorded runs of it (agent, prompt strategy).
v1::Trace MakeContext(const RecordedTask& task);

// Probability of each model, for one task, under a policy.
struct PolicyView {
  // As routers serve it: with the global holdout, the holdout arms and the
  // exploration floor. A run that no rule treats is routed uniformly.
  std::vector<double> served;
  // Every rule that matches is applied, and only models that it names are
  // asked: what the policy recommends. Uniform where none matches.
  std::vector<double> recommended;
};
PolicyView ViewPolicy(const v1::Policy& policy, const v1::Trace& context,
                      absl::Span<const std::string> models, absl::Time now);

struct StreamOptions {
  uint64_t seed = 1;
  double unseen_share = 0.2;
  // Visits of each task of the stream.
  int epochs = 16;
  int runs_per_tick = 250;
};

// Failure rates of one replay. Baselines know the answers of the very tasks
// that they are judged on.
struct StreamResult {
  uint64_t seed = 0;
  int learning_tasks = 0;
  int unseen_tasks = 0;
  int runs = 0;
  int repeated_runs = 0;  // recorded runs that had been in the stream before
  // Of what was served in the first and in the last third of the stream.
  double first_third = 0;
  double last_third = 0;
  // Expected, under the last policy.
  double unseen_served = 0;
  double unseen_recommended = 0;
  double stream_recommended = 0;  // tasks of the stream
  // On the unseen tasks.
  Baselines unseen;
  double unseen_learned_per_type = 0;  // see LearnedPerType
  // On the tasks of the stream.
  Baselines stream;
  v1::Policy policy;  // the last one
  std::vector<v1::Tick> ticks;
};

// Called now and then with the share that is done.
using ProgressSink = std::function<void(double share)>;

// Replays recorded runs through a server. In each epoch every task of the
// stream arrives once, in random order; the router asks the model that the
// policy in force says, or draws one uniformly; one of its recorded runs, one
// that has not been in the stream as long as there is one, is sent with the
// decision, its candidates and propensity, and the exposure. After every
// `runs_per_tick` runs, and at the end, there is a tick. Errors are the
// backend's.
absl::StatusOr<StreamResult> RunStream(const RecordedRuns& recorded,
                                       const StreamOptions& options,
                                       const base::Clock& clock,
                                       Backend* backend,
                                       const ProgressSink& progress);

}  // namespace faultline::arena

#endif  // FAULTLINE_CLIENT_ARENA_ARENA_H_
