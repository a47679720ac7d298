#include "client/sdk/router_client.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/error_detail.h"
#include "lib/base/periodic_runner.h"
#include "lib/base/published.h"
#include "lib/base/status_macros.h"

namespace faultline::sdk {
namespace {

using policy::PolicyMatcher;
using policy::RuleMatch;

constexpr size_t kMaxRouterIdBytes = 128;  // of WatchPolicyRequest
constexpr size_t kMaxNackBytes = 1024;
constexpr int64_t kNoContact = std::numeric_limits<int64_t>::min();

// Calls `visit` for each action that applies.
template <typename Visit>
void VisitApplying(const std::vector<RuleMatch>& matches, const Visit& visit) {
  for (const RuleMatch& match : matches) {
    if (match.applies) visit(match.rule->action());
  }
}

absl::Status Validate(const RouterClient::Options& options) {
  const auto invalid = [](absl::string_view field, absl::string_view limit) {
    return base::DetailedError(
        absl::StatusCode::kInvalidArgument,
        base::MakeErrorDetail(v1::ErrorDetail::REASON_OUT_OF_RANGE, field,
                              limit, "is out of range"));
  };
  if (options.project.empty()) return invalid("project", "not empty");
  if (options.router_id.empty() ||
      options.router_id.size() > kMaxRouterIdBytes) {
    return invalid("router_id", "1 to 128 bytes");
  }
  if (options.poll_timeout <= absl::ZeroDuration()) {
    return invalid("poll_timeout", "above zero");
  }
  return ValidateRetryPolicy(options.retry);
}

// Cuts at a character's border.
std::string CutReason(std::string reason) {
  if (reason.size() <= kMaxNackBytes) return reason;
  size_t end = kMaxNackBytes;
  while (end > 0 && (reason[end] & 0xc0) == 0x80) --end;
  reason.resize(end);
  return reason;
}

absl::Duration TtlOf(const v1::Policy& policy) {
  const absl::Duration ttl = absl::Seconds(policy.ttl().seconds()) +
                             absl::Nanoseconds(policy.ttl().nanos());
  return ttl > absl::ZeroDuration() ? ttl : absl::InfiniteDuration();
}

class LocalRouterClient : public RouterClient {
 public:
  LocalRouterClient(const Options& options,
                    std::shared_ptr<Connection> connection,
                    const base::Clock* clock)
      : options_(options),
        parent_(absl::StrCat("projects/", options.project)),
        connection_(std::move(connection)),
        clock_(clock),
        policy_(PolicyMatcher::Create(v1::Policy())) {
    if (options.mode == Mode::kWatch) {
      watcher_ = std::thread([this] { RunWatcher(); });
    } else if (options.poll_interval > absl::ZeroDuration()) {
      poller_ = std::make_unique<base::PeriodicRunner>(
          clock, [this] { return PollDelay(); }, [this] { RunPoll(); });
      poller_->Trigger();
    }
  }

  ~LocalRouterClient() override { Stop(); }

  Decision Decide(const v1::Trace& context,
                  const policy::AssignmentKeys& keys) const override {
    Decision decision;
    decision.matcher = policy_.Get();
    const int64_t contact = contact_nanos_.load(std::memory_order_acquire);
    decision.stale = contact == kNoContact ||
                     clock_->SteadyNow() - absl::Nanoseconds(contact) >=
                         TtlOf(decision.matcher->policy());
    if (decision.stale) return decision;
    decision.policy_version = decision.matcher->policy().version();
    decision.matches = decision.matcher->Match(context, keys, clock_->Now());
    decision.exposure = decision.matcher->MakeExposure(decision.matches, keys);
    return decision;
  }

  absl::Status Poll() override ABSL_LOCKS_EXCLUDED(receive_mutex_, mutex_) {
    v1::GetPolicyRequest request;
    request.set_parent(parent_);
    request.set_router_id(options_.router_id);
    request.set_known_version(policy_.Get()->policy().version());
    request.set_nack_reason(statistics().nack_reason);
    const absl::StatusOr<v1::GetPolicyResponse> response =
        connection_->GetPolicy(request, options_.poll_timeout);
    if (!response.ok()) {
      CountFailure(response.status());
      return response.status();
    }
    const Verdict verdict =
        Receive(response->has_policy() ? &response->policy() : nullptr,
                response->version());
    if (verdict.refused) {
      return absl::FailedPreconditionError(verdict.reason);
    }
    return absl::OkStatus();
  }

  absl::Status WaitForVersion(uint64_t version, absl::Duration timeout) override
      ABSL_LOCKS_EXCLUDED(mutex_) {
    const auto reached = [this,
                          version]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return statistics_.contacts > 0 && statistics_.applied_version >= version;
    };
    const absl::Duration deadline = clock_->SteadyNow() + timeout;
    absl::MutexLock lock(&mutex_);
    if (clock_->AwaitWithDeadline(&mutex_, absl::Condition(&reached),
                                  deadline)) {
      return absl::OkStatus();
    }
    return absl::DeadlineExceededError(absl::StrCat(
        "policy version is ", statistics_.applied_version, " after ",
        statistics_.contacts,
        " contacts; last error: ", statistics_.last_error.ToString()));
  }

  void Shutdown() override ABSL_LOCKS_EXCLUDED(stop_mutex_, mutex_) { Stop(); }

  Statistics statistics() const override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return statistics_;
  }

 private:
  struct Verdict {
    bool refused = false;  // whole
    std::string reason;    // empty: taken whole
  };

  void Stop() ABSL_LOCKS_EXCLUDED(stop_mutex_, mutex_) {
    absl::MutexLock stop_lock(&stop_mutex_);
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
      if (stream_ != nullptr) stream_->Cancel();
    }
    if (poller_ != nullptr) poller_->Stop();
    if (watcher_.joinable()) watcher_.join();
  }

  // Takes an answer of the server. A null policy says that nothing changed.
  Verdict Receive(const v1::Policy* policy, uint64_t version)
      ABSL_LOCKS_EXCLUDED(receive_mutex_, mutex_) {
    absl::MutexLock receive_lock(&receive_mutex_);
    // Contact first: a reader between the two lines sees the old policy, which
    // the server has just been asked about, and never an outdated contact.
    contact_nanos_.store(absl::ToInt64Nanoseconds(clock_->SteadyNow()),
                         std::memory_order_release);
    std::shared_ptr<const PolicyMatcher> current = policy_.Get();
    bool swapped = false;
    if (policy != nullptr) {
      verdict_ = Judge(*policy, version);
      if (!verdict_.refused && !IsSame(*policy, current->policy())) {
        current = PolicyMatcher::Create(*policy);
        policy_.Publish(current);
        swapped = true;
      }
      if (!verdict_.refused) {
        verdict_.reason =
            CutReason(absl::StrJoin(current->unsupported(), "; "));
      }
    }
    absl::MutexLock lock(&mutex_);
    ++statistics_.contacts;
    statistics_.applied_version = current->policy().version();
    statistics_.nack_reason = verdict_.reason;
    if (swapped) ++statistics_.swaps;
    if (policy != nullptr && !verdict_.reason.empty()) ++statistics_.nacks;
    return verdict_;
  }

  Verdict Judge(const v1::Policy& policy, uint64_t version) const {
    Verdict verdict;
    if (policy.version() != version) {
      verdict.reason = absl::StrCat("policy.version is ", policy.version(),
                                    ", but the answer is about ", version);
    } else if (!policy.name().empty() &&
               !absl::StartsWith(policy.name(),
                                 absl::StrCat(parent_, "/policies/"))) {
      verdict.reason = CutReason(absl::StrCat("policy.name is ", policy.name(),
                                              ", which is not of ", parent_));
    }
    verdict.refused = !verdict.reason.empty();
    return verdict;
  }

  static bool IsSame(const v1::Policy& a, const v1::Policy& b) {
    return a.version() == b.version() && a.digest() == b.digest();
  }

  void CountFailure(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    ++statistics_.failures;
    statistics_.last_error = status;
  }

  // --- The polling thread ---

  void RunPoll() ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::Status status = Poll();
    absl::MutexLock lock(&mutex_);
    if (status.ok()) {
      poll_backoff_.Reset();
      poll_delay_ = options_.poll_interval;
    } else {
      poll_delay_ =
          std::min(options_.poll_interval, poll_backoff_.Next(status));
    }
  }

  absl::Duration PollDelay() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return poll_delay_;
  }

  // --- The watching thread ---

  void RunWatcher() ABSL_LOCKS_EXCLUDED(mutex_) {
    Backoff backoff(options_.retry, *clock_, options_.router_id);
    while (true) {
      bool contact = false;
      const absl::Status status = WatchOnce(&contact);
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      ++statistics_.failures;
      statistics_.last_error = status;
      if (contact) backoff.Reset();
      clock_->AwaitWithDeadline(&mutex_, absl::Condition(&stopping_),
                                clock_->SteadyNow() + backoff.Next(status));
      if (stopping_) return;
    }
  }

  // One stream, until it ends. Returns why, never OK.
  absl::Status WatchOnce(bool* contact)
      ABSL_LOCKS_EXCLUDED(mutex_, receive_mutex_) {
    const std::unique_ptr<PolicyStream> stream = connection_->WatchPolicy();
    {
      absl::MutexLock lock(&mutex_);
      stream_ = stream.get();
      if (stopping_) stream->Cancel();
    }
    v1::WatchPolicyRequest request;
    request.set_parent(parent_);
    request.set_router_id(options_.router_id);
    request.set_applied_version(policy_.Get()->policy().version());
    stream->Write(request);

    // A Write that fails has a Read that ends the loop.
    v1::WatchPolicyResponse response;
    while (stream->Read(&response)) {
      *contact = true;
      const Verdict verdict =
          Receive(response.has_policy() ? &response.policy() : nullptr,
                  response.version());
      request.set_applied_version(policy_.Get()->policy().version());
      request.set_nonce(response.nonce());
      request.set_nack_reason(verdict.reason);
      stream->Write(request);
    }
    const absl::Status status = stream->Finish();
    absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
    return status.ok() ? absl::UnavailableError("the server ended the stream")
                       : status;
  }

  const Options options_;
  const std::string parent_;
  const std::shared_ptr<Connection> connection_;
  const base::Clock* const clock_;

  base::Published<PolicyMatcher> policy_;
  std::atomic<int64_t> contact_nanos_ = kNoContact;  // steady time

  // Answers are taken one after the other.
  absl::Mutex receive_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  Verdict verdict_ ABSL_GUARDED_BY(receive_mutex_);  // of the latest policy

  mutable absl::Mutex mutex_;
  Statistics statistics_ ABSL_GUARDED_BY(mutex_);
  PolicyStream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration poll_delay_ ABSL_GUARDED_BY(mutex_) = options_.poll_interval;
  Backoff poll_backoff_ ABSL_GUARDED_BY(mutex_){options_.retry, *clock_,
                                                options_.router_id};

  // Last: they use the others.
  absl::Mutex stop_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::unique_ptr<base::PeriodicRunner> poller_;
  std::thread watcher_;
};

}  // namespace

const v1::RoutingPolicy* Decision::routing_policy() const {
  const v1::RoutingPolicy* found = nullptr;
  VisitApplying(matches, [&found](const v1::Action& action) {
    if (action.has_routing_policy()) found = &action.routing_policy();
  });
  return found;
}

const v1::BanditWeights* Decision::bandit_weights() const {
  const v1::BanditWeights* found = nullptr;
  VisitApplying(matches, [&found](const v1::Action& action) {
    if (action.has_bandit_weights()) found = &action.bandit_weights();
  });
  return found;
}

const v1::PromptStrategy* Decision::prompt_strategy() const {
  const v1::PromptStrategy* found = nullptr;
  VisitApplying(matches, [&found](const v1::Action& action) {
    if (action.has_prompt_strategy()) found = &action.prompt_strategy();
  });
  return found;
}

std::vector<const v1::MemorySchema*> Decision::memory_schemas() const {
  std::vector<const v1::MemorySchema*> found;
  VisitApplying(matches, [&found](const v1::Action& action) {
    if (action.has_memory_schema()) found.push_back(&action.memory_schema());
  });
  return found;
}

std::vector<const v1::ToolConstraint*> Decision::tool_constraints() const {
  std::vector<const v1::ToolConstraint*> found;
  VisitApplying(matches, [&found](const v1::Action& action) {
    if (action.has_tool_constraint()) {
      found.push_back(&action.tool_constraint());
    }
  });
  return found;
}

std::vector<const v1::Guardrail*> Decision::guardrails() const {
  std::vector<const v1::Guardrail*> found;
  VisitApplying(matches, [&found](const v1::Action& action) {
    if (action.has_guardrail()) found.push_back(&action.guardrail());
  });
  return found;
}

absl::StatusOr<std::unique_ptr<RouterClient>> RouterClient::Create(
    const Options& options, std::shared_ptr<Connection> connection,
    const base::Clock* clock) {
  FAULTLINE_RETURN_IF_ERROR(Validate(options));
  return std::make_unique<LocalRouterClient>(options, std::move(connection),
                                             clock);
}

}  // namespace faultline::sdk
