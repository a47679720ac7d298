#ifndef FAULTLINE_TESTS_FAKES_FAKE_SERVER_H_
#define FAULTLINE_TESTS_FAKES_FAKE_SERVER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/sdk/connection.h"

namespace faultline::fakes {

// The server's end of a call: what the client reads, and how the call ended.
// Outlives the client's end. Thread-safe.
template <typename Request, typename Response>
class FakeCall {
 public:
  using Handler = std::function<void(FakeCall*, const Request&)>;

  explicit FakeCall(Handler on_request) : on_request_(std::move(on_request)) {}

  void Respond(Response response) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!ended_) responses_.push_back(std::move(response));
  }

  // What was responded before is still read.
  void End(absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (ended_) return;
    ended_ = true;
    status_ = std::move(status);
  }

  // Writes block until the call ends.
  void Jam() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    jammed_ = true;
  }

  bool ended() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return ended_;
  }

  // --- The client's end ---

  bool Write(const Request& request) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return !jammed_ || ended_;
      };
      mutex_.Await(absl::Condition(&ready));
      if (ended_) return false;
    }
    on_request_(this, request);
    return true;
  }

  bool Read(Response* response) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return !responses_.empty() || ended_;
    };
    mutex_.Await(absl::Condition(&ready));
    if (responses_.empty()) return false;
    *response = std::move(responses_.front());
    responses_.pop_front();
    return true;
  }

  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  const Handler on_request_;
  mutable absl::Mutex mutex_;
  std::deque<Response> responses_ ABSL_GUARDED_BY(mutex_);
  bool jammed_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// A Faultline server in memory, as the SDK sees one: it stores traces by id,
// settles them at once or when told, serves one policy, and breaks on demand.
// What it stored survives its calls, as across a restart. Thread-safe.
class FakeServer : public sdk::Connection {
 public:
  using TraceCall = FakeCall<v1::StreamTracesRequest, v1::StreamTracesResponse>;
  using PolicyCall = FakeCall<v1::WatchPolicyRequest, v1::WatchPolicyResponse>;

  // --- Ingest ---

  // Of later streams. Default: 4096.
  void SetWindow(uint64_t window) ABSL_LOCKS_EXCLUDED(mutex_);
  // While held, traces are stored and not settled.
  void HoldSettling() ABSL_LOCKS_EXCLUDED(mutex_);
  void ReleaseSettling() ABSL_LOCKS_EXCLUDED(mutex_);
  // Rejects traces with these ids, and pieces with these names.
  void Reject(std::set<std::string> trace_ids) ABSL_LOCKS_EXCLUDED(mutex_);
  // The next `count` streams end with `status` at their first request.
  void FailStreams(int count, absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);
  // Streams end with `status` after `traces` more traces, the last of which are
  // not stored any more.
  void BreakAfter(uint64_t traces, absl::Status status)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends open streams.
  void BreakStreams(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  // Sends `response` on the open stream.
  void RespondToTraces(v1::StreamTracesResponse response)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Writes of the open stream block.
  void JamStreams() ABSL_LOCKS_EXCLUDED(mutex_);
  // The next calls of RecordOutcomes and GetPolicy fail so, one each.
  void FailCalls(std::vector<absl::Status> statuses)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Blocks until so many traces were received, repetitions counted.
  void WaitForReceived(uint64_t traces) const ABSL_LOCKS_EXCLUDED(mutex_);

  // In the order of arrival, without repetitions; a piece as `run/index`, the
  // last one of its run as `run/index last`.
  std::vector<std::string> stored() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<int> batch_sizes() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t received() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t max_unsettled() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<std::string> parents() const ABSL_LOCKS_EXCLUDED(mutex_);
  int outcome_calls() const ABSL_LOCKS_EXCLUDED(mutex_);

  // --- Policy ---

  // Serves `policy` from now on, and pushes it to who watches.
  void SetPolicy(const v1::Policy& policy) ABSL_LOCKS_EXCLUDED(mutex_);
  void KeepAlive() ABSL_LOCKS_EXCLUDED(mutex_);
  // Requests of watchers, subscriptions included.
  std::vector<v1::WatchPolicyRequest> answers() const
      ABSL_LOCKS_EXCLUDED(mutex_);
  void WaitForAnswers(size_t count) const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<v1::GetPolicyRequest> polls() const ABSL_LOCKS_EXCLUDED(mutex_);
  void WaitForPolls(size_t count) const ABSL_LOCKS_EXCLUDED(mutex_);

  // --- sdk::Connection ---

  std::unique_ptr<sdk::TraceStream> StreamTraces() override;
  std::unique_ptr<sdk::PolicyStream> WatchPolicy() override;
  absl::StatusOr<v1::RecordOutcomesResponse> RecordOutcomes(
      const v1::RecordOutcomesRequest& request,
      absl::Duration timeout) override;
  absl::StatusOr<v1::GetPolicyResponse> GetPolicy(
      const v1::GetPolicyRequest& request, absl::Duration timeout) override;

 private:
  // What the server knows of one trace stream.
  struct Ingest {
    bool greeted = false;
    uint64_t received = 0;
    uint64_t settled = 0;
    uint64_t duplicates = 0;
    v1::StreamTracesResponse open;  // rejections that are not told yet
  };

  void OnTraces(TraceCall* call, Ingest* ingest,
                const v1::StreamTracesRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // False where the stream breaks.
  bool Take(TraceCall* call, Ingest* ingest, const std::string& trace_id,
            const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Settle(TraceCall* call, Ingest* ingest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnWatch(PolicyCall* call, const v1::WatchPolicyRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Push(PolicyCall* call, bool with_policy)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status NextFailure() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  uint64_t window_ ABSL_GUARDED_BY(mutex_) = 4096;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<std::string> rejected_ ABSL_GUARDED_BY(mutex_);
  int failing_streams_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t break_after_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;
  absl::Status break_status_ ABSL_GUARDED_BY(mutex_);
  std::deque<absl::Status> failures_ ABSL_GUARDED_BY(mutex_);

  std::vector<std::string> stored_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> stored_ids_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> batch_sizes_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> parents_ ABSL_GUARDED_BY(mutex_);
  uint64_t received_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t max_unsettled_ ABSL_GUARDED_BY(mutex_) = 0;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  int outcome_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<TraceCall> trace_call_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Ingest> ingest_ ABSL_GUARDED_BY(mutex_);

  v1::Policy policy_ ABSL_GUARDED_BY(mutex_);
  uint64_t nonce_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<PolicyCall> policy_call_ ABSL_GUARDED_BY(mutex_);
  bool subscribed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<v1::WatchPolicyRequest> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::GetPolicyRequest> polls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::fakes

#endif  // FAULTLINE_TESTS_FAKES_FAKE_SERVER_H_
