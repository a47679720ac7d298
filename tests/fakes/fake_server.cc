#include "tests/fakes/fake_server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline::fakes {
namespace {

// The client's end of a call.
template <typename Request, typename Response>
class FakeStream : public sdk::BidiStream<Request, Response> {
 public:
  explicit FakeStream(std::shared_ptr<FakeCall<Request, Response>> call)
      : call_(std::move(call)) {}

  bool Write(const Request& request) override { return call_->Write(request); }
  void WritesDone() override { call_->End(absl::OkStatus()); }
  bool Read(Response* response) override { return call_->Read(response); }
  void Cancel() override { call_->End(absl::CancelledError("cancelled")); }
  absl::Status Finish() override { return call_->status(); }

 private:
  const std::shared_ptr<FakeCall<Request, Response>> call_;
};

std::string PieceName(const v1::TracePiece& piece) {
  return absl::StrCat(piece.trace_id(), "/", piece.index(),
                      piece.last() ? " last" : "");
}

}  // namespace

void FakeServer::SetWindow(uint64_t window) {
  absl::MutexLock lock(&mutex_);
  window_ = window;
}

void FakeServer::HoldSettling() {
  absl::MutexLock lock(&mutex_);
  held_ = true;
}

void FakeServer::ReleaseSettling() {
  absl::MutexLock lock(&mutex_);
  held_ = false;
  if (ingest_ != nullptr && ingest_->greeted) {
    Settle(trace_call_.get(), ingest_.get());
  }
}

void FakeServer::Reject(std::set<std::string> trace_ids) {
  absl::MutexLock lock(&mutex_);
  rejected_ = std::move(trace_ids);
}

void FakeServer::FailStreams(int count, absl::Status status) {
  absl::MutexLock lock(&mutex_);
  failing_streams_ = count;
  break_status_ = std::move(status);
}

void FakeServer::BreakAfter(uint64_t traces, absl::Status status) {
  absl::MutexLock lock(&mutex_);
  break_after_ = traces;
  break_status_ = std::move(status);
}

void FakeServer::BreakStreams(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (trace_call_ != nullptr) trace_call_->End(status);
  if (policy_call_ != nullptr) policy_call_->End(status);
  subscribed_ = false;
}

void FakeServer::RespondToTraces(v1::StreamTracesResponse response) {
  absl::MutexLock lock(&mutex_);
  trace_call_->Respond(std::move(response));
}

void FakeServer::JamStreams() {
  absl::MutexLock lock(&mutex_);
  trace_call_->Jam();
}

void FakeServer::FailCalls(std::vector<absl::Status> statuses) {
  absl::MutexLock lock(&mutex_);
  failures_.assign(statuses.begin(), statuses.end());
}

void FakeServer::WaitForReceived(uint64_t traces) const {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, traces]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return received_ >= traces;
  };
  mutex_.Await(absl::Condition(&enough));
}

std::vector<std::string> FakeServer::stored() const {
  absl::MutexLock lock(&mutex_);
  return stored_;
}

std::vector<int> FakeServer::batch_sizes() const {
  absl::MutexLock lock(&mutex_);
  return batch_sizes_;
}

uint64_t FakeServer::received() const {
  absl::MutexLock lock(&mutex_);
  return received_;
}

uint64_t FakeServer::max_unsettled() const {
  absl::MutexLock lock(&mutex_);
  return max_unsettled_;
}

std::vector<std::string> FakeServer::parents() const {
  absl::MutexLock lock(&mutex_);
  return parents_;
}

int FakeServer::outcome_calls() const {
  absl::MutexLock lock(&mutex_);
  return outcome_calls_;
}

void FakeServer::SetPolicy(const v1::Policy& policy) {
  absl::MutexLock lock(&mutex_);
  policy_ = policy;
  if (subscribed_) Push(policy_call_.get(), /*with_policy=*/true);
}

void FakeServer::KeepAlive() {
  absl::MutexLock lock(&mutex_);
  if (subscribed_) Push(policy_call_.get(), /*with_policy=*/false);
}

std::vector<v1::WatchPolicyRequest> FakeServer::answers() const {
  absl::MutexLock lock(&mutex_);
  return answers_;
}

void FakeServer::WaitForAnswers(size_t count) const {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return answers_.size() >= count;
  };
  mutex_.Await(absl::Condition(&enough));
}

std::vector<v1::GetPolicyRequest> FakeServer::polls() const {
  absl::MutexLock lock(&mutex_);
  return polls_;
}

void FakeServer::WaitForPolls(size_t count) const {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return polls_.size() >= count;
  };
  mutex_.Await(absl::Condition(&enough));
}

std::unique_ptr<sdk::TraceStream> FakeServer::StreamTraces() {
  auto ingest = std::make_shared<Ingest>();
  auto call = std::make_shared<TraceCall>(
      [this, ingest](TraceCall* self, const v1::StreamTracesRequest& request) {
        OnTraces(self, ingest.get(), request);
      });
  absl::MutexLock lock(&mutex_);
  ++streams_;
  trace_call_ = call;
  ingest_ = ingest;
  return std::make_unique<
      FakeStream<v1::StreamTracesRequest, v1::StreamTracesResponse>>(call);
}

void FakeServer::OnTraces(TraceCall* call, Ingest* ingest,
                          const v1::StreamTracesRequest& request) {
  absl::MutexLock lock(&mutex_);
  if (failing_streams_ > 0) {
    --failing_streams_;
    call->End(break_status_);
    return;
  }
  if (!ingest->greeted) {
    ingest->greeted = true;
    parents_.push_back(request.parent());
    v1::StreamTracesResponse greeting;
    greeting.set_window(window_);
    call->Respond(greeting);
  }
  if (request.traces().empty() && request.pieces().empty()) return;
  batch_sizes_.push_back(request.traces_size() + request.pieces_size());
  for (const v1::Trace& trace : request.traces()) {
    if (!Take(call, ingest, trace.trace_id(), trace.trace_id())) return;
  }
  for (const v1::TracePiece& piece : request.pieces()) {
    if (!Take(call, ingest, piece.trace_id(), PieceName(piece))) return;
  }
  max_unsettled_ = std::max(max_unsettled_, ingest->received - ingest->settled);
  if (!held_) Settle(call, ingest);
}

bool FakeServer::Take(TraceCall* call, Ingest* ingest,
                      const std::string& trace_id, const std::string& name) {
  if (break_after_ == 0) {
    break_after_ = UINT64_MAX;
    call->End(break_status_);
    return false;
  }
  if (break_after_ != UINT64_MAX) --break_after_;
  ++received_;
  const uint64_t index = ingest->received++;
  if (rejected_.count(name) > 0) {
    v1::Rejection* const rejection = ingest->open.add_rejections();
    rejection->set_index(index);
    rejection->set_trace_id(trace_id);
    rejection->mutable_error()->set_reason(v1::ErrorDetail::REASON_TOO_LONG);
  } else if (stored_ids_.insert(name).second) {
    stored_.push_back(name);
  } else {
    ++ingest->duplicates;
  }
  return true;
}

void FakeServer::Settle(TraceCall* call, Ingest* ingest) {
  ingest->settled = ingest->received;
  ingest->open.set_settled(ingest->settled);
  ingest->open.set_duplicates(ingest->duplicates);
  call->Respond(ingest->open);
  ingest->open.Clear();
}

std::unique_ptr<sdk::PolicyStream> FakeServer::WatchPolicy() {
  auto call = std::make_shared<PolicyCall>(
      [this](PolicyCall* self, const v1::WatchPolicyRequest& request) {
        OnWatch(self, request);
      });
  absl::MutexLock lock(&mutex_);
  ++streams_;
  policy_call_ = call;
  subscribed_ = false;
  return std::make_unique<
      FakeStream<v1::WatchPolicyRequest, v1::WatchPolicyResponse>>(call);
}

void FakeServer::OnWatch(PolicyCall* call,
                         const v1::WatchPolicyRequest& request) {
  absl::MutexLock lock(&mutex_);
  if (failing_streams_ > 0) {
    --failing_streams_;
    call->End(break_status_);
    return;
  }
  answers_.push_back(request);
  if (subscribed_) return;
  subscribed_ = true;
  Push(call, /*with_policy=*/true);
}

void FakeServer::Push(PolicyCall* call, bool with_policy) {
  v1::WatchPolicyResponse response;
  if (with_policy) {
    *response.mutable_policy() = policy_;
    ++nonce_;
  }
  response.set_version(policy_.version());
  response.set_nonce(absl::StrCat(nonce_));
  call->Respond(std::move(response));
}

absl::Status FakeServer::NextFailure() {
  if (failures_.empty()) return absl::OkStatus();
  absl::Status status = std::move(failures_.front());
  failures_.pop_front();
  return status;
}

absl::StatusOr<v1::RecordOutcomesResponse> FakeServer::RecordOutcomes(
    const v1::RecordOutcomesRequest& request, absl::Duration) {
  absl::MutexLock lock(&mutex_);
  ++outcome_calls_;
  const absl::Status failure = NextFailure();
  if (!failure.ok()) return failure;
  v1::RecordOutcomesResponse response;
  response.set_stored(request.outcomes_size());
  return response;
}

absl::StatusOr<v1::GetPolicyResponse> FakeServer::GetPolicy(
    const v1::GetPolicyRequest& request, absl::Duration) {
  absl::MutexLock lock(&mutex_);
  polls_.push_back(request);
  const absl::Status failure = NextFailure();
  if (!failure.ok()) return failure;
  v1::GetPolicyResponse response;
  response.set_version(policy_.version());
  if (request.known_version() != policy_.version()) {
    *response.mutable_policy() = policy_;
  }
  return response;
}

}  // namespace faultline::fakes
