#ifndef FAULTLINE_CLIENT_SDK_ROUTER_CLIENT_H_
#define FAULTLINE_CLIENT_SDK_ROUTER_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/sdk/connection.h"
#include "client/sdk/retry_policy.h"
#include "faultline/v1/intervention.pb.h"
#include "faultline/v1/trace.pb.h"
#include "lib/base/clock.h"
#include "lib/policy/arm_assignment.h"
#include "lib/policy/policy_matcher.h"

namespace faultline::sdk {

// What the policy says about one run. Actions are read by kind; each accessor
// gives those that apply, and the router leaves alone what it does not
// support. Owns what it points to.
struct Decision {
  // Matching rules in order of priority, also those that do not apply.
  std::vector<policy::RuleMatch> matches;
  // To be stamped into the run's Trace.exposure.
  v1::Exposure exposure;
  // Version that decided; 0: none.
  uint64_t policy_version = 0;
  // There was no contact to the server within the policy's TTL, or none yet:
  // no rule applies, and the router goes by its own defaults.
  bool stale = false;
  // Holds the rules that `matches` points to.
  std::shared_ptr<const policy::PolicyMatcher> matcher;

  // Null where no such action applies. At most one of the first two is set.
  const v1::RoutingPolicy* routing_policy() const;
  const v1::BanditWeights* bandit_weights() const;
  const v1::PromptStrategy* prompt_strategy() const;
  // In order of priority.
  std::vector<const v1::MemorySchema*> memory_schemas() const;
  std::vector<const v1::ToolConstraint*> tool_constraints() const;
  std::vector<const v1::Guardrail*> guardrails() const;
};

// Keeps a router's policy current and decides locally.
//
//   RouterClient::Options options;
//   options.project = "shop";
//   options.router_id = "checkout-1";
//   auto router = RouterClient::Create(options, connection,
//                                      base::Clock::System());
//   if (!router.ok()) return router.status();
//   ...
//   const Decision decision = (*router)->Decide(trace, trace.trace_id());
//   *trace.mutable_exposure() = decision.exposure;
//   if (const auto* routing = decision.routing_policy()) { ... }
//
// Policies. The server's current policy comes by push (kWatch) or by poll.
// A policy that cannot be meant for this router is refused whole, and the last
// good one stays. A rule that this build does not know is a no-op, and the
// others apply. In both cases the server is told why (NACK): by push at once,
// by poll with the next one. The last good policy holds while the server is
// away, until its TTL has passed; then no rule applies until there is contact
// again.
//
// Performance. Decide makes no call and waits for nobody: a new policy is built
// aside and swapped in. A decision keeps the policy that it was made with.
//
// Errors. A broken connection is retried for ever, with growing delays.
//
// Threads. Thread-safe. One thread in the background.
class RouterClient {
 public:
  enum class Mode {
    kWatch,  // the server pushes each version
    kPoll,   // asked for every poll_interval
  };

  struct Options {
    // Required. As in `projects/{project}`.
    std::string project;
    // Required. Names the router in ListRouters. At most 128 bytes.
    std::string router_id;
    Mode mode = Mode::kWatch;
    // With kPoll. Zero or less: no thread; only Poll asks.
    absl::Duration poll_interval = absl::Seconds(10);
    // Of one poll. Positive.
    absl::Duration poll_timeout = absl::Seconds(5);
    RetryPolicy retry;
  };

  struct Statistics {
    uint64_t applied_version = 0;
    uint64_t contacts = 0;    // answers and pushes, keep-alives included
    uint64_t swaps = 0;       // policies put in force
    uint64_t nacks = 0;       // policies refused, in whole or in part
    uint64_t failures = 0;    // failed polls and broken watches
    std::string nack_reason;  // of the latest policy; empty: it was taken whole
    absl::Status last_error;  // of the latest failure
  };

  // INVALID_ARGUMENT, naming the option and its limit. Keeps the connection;
  // does not own the clock. Does not wait for a policy.
  static absl::StatusOr<std::unique_ptr<RouterClient>> Create(
      const Options& options, std::shared_ptr<Connection> connection,
      const base::Clock* clock);

  // As Shutdown.
  virtual ~RouterClient() = default;

  // What the policy in force says about a run, of which `context` holds what is
  // known so far. The keys draw the arms; a runtime whose runs share memories
  // must name the memory (policy::AssignmentKeys), or the arms of its changes
  // would spoil each other.
  virtual Decision Decide(const v1::Trace& context,
                          const policy::AssignmentKeys& keys) const = 0;

  // The same, where one key draws all arms: the trace id, or what groups the
  // runs that must share an arm.
  Decision Decide(const v1::Trace& context,
                  absl::string_view assignment_key) const {
    return Decide(context, policy::AssignmentKeys{assignment_key, {}});
  }

  // Asks the server once, now, in either mode. Returns the server's status;
  // FAILED_PRECONDITION where the policy was refused whole.
  virtual absl::Status Poll() = 0;

  // Waits for contact to the server and for a version of at least `version`;
  // 0 waits for contact alone. DEADLINE_EXCEEDED after `timeout`.
  virtual absl::Status WaitForVersion(uint64_t version,
                                      absl::Duration timeout) = 0;

  // Ends the thread; a poll in flight is waited for. Decide goes on with the
  // last policy until its TTL has passed. Idempotent.
  virtual void Shutdown() = 0;

  virtual Statistics statistics() const = 0;
};

}  // namespace faultline::sdk

#endif  // FAULTLINE_CLIENT_SDK_ROUTER_CLIENT_H_
