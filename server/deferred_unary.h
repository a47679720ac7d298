#ifndef FAULTLINE_SERVER_DEFERRED_UNARY_H_
#define FAULTLINE_SERVER_DEFERRED_UNARY_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/grpc_status.h"
#include "server/worker_pool.h"

namespace faultline::server {

// A unary call that another thread answers, or that the client or the end of
// the drain cancels, whichever comes first. An answer that comes later is
// dropped, so the other thread never touches a call that is gone.
// Thread-safe.
template <typename Response>
class DeferredUnary final : public grpc::ServerUnaryReactor {
 public:
  // Answers the call; may be called from any thread, once.
  using Reply = std::function<void(absl::StatusOr<Response>)>;

  // `start` gets the Reply and must not block. gRPC owns the reactor.
  static grpc::ServerUnaryReactor* Start(
      grpc::CallbackServerContext* context, Response* response,
      const std::function<void(Reply)>& start) {
    std::shared_ptr<DeferredUnary> call(new DeferredUnary(context, response));
    call->self_ = call;
    start([call](absl::StatusOr<Response> result) {
      call->Complete(std::move(result));
    });
    return call.get();
  }

  void OnCancel() override { Complete(absl::CancelledError("cancelled")); }
  void OnDone() override { auto last = std::move(self_); }

 private:
  DeferredUnary(grpc::CallbackServerContext* context, Response* response)
      : context_(context), response_(response) {}

  void Complete(absl::StatusOr<Response> result) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      if (completed_) return;
      completed_ = true;
    }
    const absl::Status status = result.status();
    if (status.ok()) *response_ = *std::move(result);
    Finish(ToGrpcStatus(status, context_));
  }

  grpc::CallbackServerContext* const context_;
  Response* const response_;
  std::shared_ptr<DeferredUnary> self_;  // until OnDone
  absl::Mutex mutex_;
  bool completed_ ABSL_GUARDED_BY(mutex_) = false;
};

// Answers at once.
inline grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context,
                                           const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status, context));
  return reactor;
}
template <typename Response>
grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context,
                                    Response* response,
                                    absl::StatusOr<Response> result) {
  const absl::Status status = result.status();
  if (status.ok()) *response = *std::move(result);
  return FinishNow(context, status);
}

// Answers with what `work` returns on a thread of `pool`; the request is
// copied. UNAVAILABLE where the pool is full.
template <typename Request, typename Response>
grpc::ServerUnaryReactor* FinishOn(
    WorkerPool* pool, grpc::CallbackServerContext* context,
    const Request* request, Response* response,
    std::function<absl::StatusOr<Response>(const Request&)> work) {
  return DeferredUnary<Response>::Start(
      context, response, [&](typename DeferredUnary<Response>::Reply reply) {
        if (!pool->Submit([reply, request = *request, work = std::move(work)] {
              reply(work(request));
            })) {
          reply(OverloadedError("too many calls at once"));
        }
      });
}

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_DEFERRED_UNARY_H_
