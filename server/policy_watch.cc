#include "server/policy_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "server/grpc_status.h"
#include "server/request_check.h"
#include "server/resource_name.h"

namespace faultline::server {
namespace {

constexpr size_t kMaxRouterIdBytes = 128;
constexpr size_t kMaxNackBytes = 1024;

}  // namespace

PolicyWatch* PolicyWatch::Start(grpc::CallbackServerContext* context,
                                policy::PolicyBoard* board,
                                StreamRegistry* registry) {
  std::shared_ptr<PolicyWatch> watch(new PolicyWatch(context, board, registry));
  watch->self_ = watch;
  if (!registry->Add(watch)) watch->Drain();
  watch->Proceed();
  return watch.get();
}

PolicyWatch::PolicyWatch(grpc::CallbackServerContext* context,
                         policy::PolicyBoard* board, StreamRegistry* registry)
    : context_(context), board_(board), registry_(registry) {}

void PolicyWatch::OnReadDone(bool ok) {
  absl::Status status;
  {
    // What arrives after the end is not looked at.
    absl::MutexLock lock(&mutex_);
    ok = ok && !ending_;
  }
  if (ok) status = project_.empty() ? Subscribe() : HandleAnswer();
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (!ok || !status.ok()) End(status);
  }
  Proceed();
}

absl::Status PolicyWatch::Subscribe() {
  FAULTLINE_ASSIGN_OR_RETURN(const std::string project,
                             ParseProjectName("parent", request_.parent()));
  FAULTLINE_RETURN_IF_ERROR(
      CheckLength("router_id", request_.router_id(), 1, kMaxRouterIdBytes));
  project_ = project;
  {
    absl::MutexLock lock(&mutex_);
    router_.router_id = request_.router_id();
    router_.applied_version = request_.applied_version();
  }
  NoteRouter(/*watching=*/true);
  // First the watch, then the current version: none slips through between.
  watch_id_ = board_->Watch(
      project_, [this](MatcherPtr matcher) { Offer(std::move(matcher)); });
  Offer(board_->Current(project_));
  return absl::OkStatus();
}

absl::Status PolicyWatch::HandleAnswer() {
  FAULTLINE_RETURN_IF_ERROR(
      CheckLength("nack_reason", request_.nack_reason(), 0, kMaxNackBytes));
  {
    absl::MutexLock lock(&mutex_);
    if (request_.nonce() != absl::StrCat(nonce_)) return absl::OkStatus();
    router_.applied_version = request_.applied_version();
    router_.nack_reason = request_.nack_reason();
  }
  NoteRouter(/*watching=*/true);
  return absl::OkStatus();
}

void PolicyWatch::Offer(MatcherPtr matcher) {
  {
    absl::MutexLock lock(&mutex_);
    const MatcherPtr& latest = offered_ != nullptr ? offered_ : sent_;
    if (latest != nullptr &&
        latest->policy().version() >= matcher->policy().version()) {
      return;
    }
    offered_ = std::move(matcher);
  }
  Proceed();
}

void PolicyWatch::NoteRouter(bool watching) {
  policy::PolicyBoard::RouterNote note;
  {
    absl::MutexLock lock(&mutex_);
    router_.watching = watching;
    note = router_;
  }
  board_->NoteRouter(project_, note);
}

void PolicyWatch::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) End(absl::CancelledError("the client is gone"));
  }
  if (ok) NoteRouter(/*watching=*/true);
  Proceed();
}

void PolicyWatch::OnCancel() {
  {
    absl::MutexLock lock(&mutex_);
    End(absl::CancelledError("cancelled"));
  }
  Proceed();
}

void PolicyWatch::Drain() {
  {
    absl::MutexLock lock(&mutex_);
    End(StoppingError());
  }
  Proceed();
}

void PolicyWatch::KeepAlive() {
  {
    absl::MutexLock lock(&mutex_);
    keep_alive_due_ = sent_ != nullptr;
  }
  Proceed();
}

void PolicyWatch::OnDone() {
  if (watch_id_ != 0) {
    board_->Unwatch(watch_id_);
    NoteRouter(/*watching=*/false);
  }
  registry_->Remove(this);
  auto last = std::move(self_);
}

void PolicyWatch::End(const absl::Status& status) {
  if (ending_) return;
  ending_ = true;
  status_ = status;
}

void PolicyWatch::Proceed() {
  bool read = false, write = false, finish = false;
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_) return;
    if (!writing_ && !ending_ && (offered_ != nullptr || keep_alive_due_)) {
      response_.Clear();
      if (offered_ != nullptr) {
        sent_ = std::move(offered_);
        offered_ = nullptr;
        ++nonce_;
        *response_.mutable_policy() = sent_->policy();
        router_.sent_version = sent_->policy().version();
      }
      keep_alive_due_ = false;
      response_.set_version(sent_->policy().version());
      response_.set_nonce(absl::StrCat(nonce_));
      writing_ = write = true;
    }
    if (!reading_ && !ending_) reading_ = read = true;
    if (ending_ && !writing_) {
      finished_ = finish = true;
      status = status_;
    }
  }
  if (write) StartWrite(&response_);
  if (read) StartRead(&request_);
  if (finish) Finish(ToGrpcStatus(status, context_));
}

}  // namespace faultline::server
