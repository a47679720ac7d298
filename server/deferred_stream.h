#ifndef FAULTLINE_SERVER_DEFERRED_STREAM_H_
#define FAULTLINE_SERVER_DEFERRED_STREAM_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/grpc_status.h"
#include "server/worker_pool.h"

namespace faultline::server {

// A server-streaming call whose messages another thread makes, one after the
// other, no faster than the client takes them. Thread-safe.
template <typename Response>
class DeferredStream final : public grpc::ServerWriteReactor<Response> {
 public:
  // Sends a message once the one before is on its way. False where the call is
  // gone: then there is nothing left to do.
  using Write = std::function<bool(Response)>;

  // Runs `work` on a thread of `pool`; the call ends with what it returns.
  // UNAVAILABLE where the pool is full. gRPC owns the reactor.
  static grpc::ServerWriteReactor<Response>* Start(
      WorkerPool* pool, grpc::CallbackServerContext* context,
      std::function<absl::Status(const Write&)> work) {
    std::shared_ptr<DeferredStream> call(new DeferredStream(context));
    call->self_ = call;
    if (!pool->Submit([call, work = std::move(work)] {
          call->End(work([&call](Response response) {
            return call->Send(std::move(response));
          }));
        })) {
      call->End(OverloadedError("too many calls at once"));
    }
    return call.get();
  }

  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    gone_ = gone_ || !ok;
  }
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    gone_ = true;
  }
  void OnDone() override { auto last = std::move(self_); }

 private:
  explicit DeferredStream(grpc::CallbackServerContext* context)
      : context_(context) {}

  bool MayWrite() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !writing_ || gone_;
  }
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !writing_; }

  bool Send(Response response) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &DeferredStream::MayWrite));
      if (gone_) return false;
      writing_ = true;
      response_ = std::move(response);
    }
    this->StartWrite(&response_);
    return true;
  }

  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      // gRPC ends every write, that of a cancelled call too.
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &DeferredStream::Idle));
    }
    this->Finish(ToGrpcStatus(status, context_));
  }

  grpc::CallbackServerContext* const context_;
  std::shared_ptr<DeferredStream> self_;  // until OnDone
  Response response_;                     // on its way while writing_
  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_DEFERRED_STREAM_H_
