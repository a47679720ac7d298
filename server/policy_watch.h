#ifndef FAULTLINE_SERVER_POLICY_WATCH_H_
#define FAULTLINE_SERVER_POLICY_WATCH_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/policy_service.pb.h"
#include "lib/policy/policy_board.h"
#include "server/stream_registry.h"

namespace faultline::server {

// One WatchPolicy call: the current policy at once, then each new version; a
// slow router gets the latest and skips what lies between. A keep-alive
// repeats the last nonce, so that an answer to either says what became of the
// same policy; an answer with an older nonce is ignored.
//
// gRPC's threads and the publishing thread enter it; whichever decides on the
// next operation under the lock starts it outside. Thread-safe.
class PolicyWatch final
    : public grpc::ServerBidiReactor<v1::WatchPolicyRequest,
                                     v1::WatchPolicyResponse>,
      public DrainableStream {
 public:
  // Starts reading. gRPC owns the reactor.
  static PolicyWatch* Start(grpc::CallbackServerContext* context,
                            policy::PolicyBoard* board,
                            StreamRegistry* registry);

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnDone() override ABSL_LOCKS_EXCLUDED(mutex_);
  void Drain() override ABSL_LOCKS_EXCLUDED(mutex_);
  void KeepAlive() override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using MatcherPtr = std::shared_ptr<const policy::PolicyMatcher>;

  PolicyWatch(grpc::CallbackServerContext* context, policy::PolicyBoard* board,
              StreamRegistry* registry);

  absl::Status Subscribe() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status HandleAnswer() ABSL_LOCKS_EXCLUDED(mutex_);
  void Offer(MatcherPtr matcher) ABSL_LOCKS_EXCLUDED(mutex_);
  void NoteRouter(bool watching) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Starts what is due: a read, a write, the end.
  void Proceed() ABSL_LOCKS_EXCLUDED(mutex_);

  grpc::CallbackServerContext* const context_;
  policy::PolicyBoard* const board_;
  StreamRegistry* const registry_;
  std::shared_ptr<PolicyWatch> self_;  // until OnDone

  // Each belongs to gRPC while its operation is in flight.
  v1::WatchPolicyRequest request_;
  v1::WatchPolicyResponse response_;
  // Set by the first read.
  std::string project_;
  uint64_t watch_id_ = 0;

  absl::Mutex mutex_;
  policy::PolicyBoard::RouterNote router_ ABSL_GUARDED_BY(mutex_);
  MatcherPtr offered_ ABSL_GUARDED_BY(mutex_);  // to be sent; null: none
  MatcherPtr sent_ ABSL_GUARDED_BY(mutex_);
  uint64_t nonce_ ABSL_GUARDED_BY(mutex_) = 0;
  bool keep_alive_due_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_POLICY_WATCH_H_
