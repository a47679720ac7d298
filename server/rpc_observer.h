#ifndef FAULTLINE_SERVER_RPC_OBSERVER_H_
#define FAULTLINE_SERVER_RPC_OBSERVER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/clock.h"

namespace grpc::experimental {
class ServerInterceptorFactoryInterface;
}

namespace faultline::server {

// Counts and logs every RPC of every service in one place, health and
// reflection included, so that no handler does. Faults of our own (INTERNAL,
// DATA_LOSS, UNKNOWN) are logged as errors with their message; the rest, with
// code and duration, at verbosity 1. A stream counts once, when its status is
// sent; a call that the client abandoned counts under what the handler said.
//
// Does not own the clock. Thread-safe.
class RpcObserver {
 public:
  explicit RpcObserver(const base::Clock* clock) : clock_(clock) {}

  // For grpc::ServerBuilder; the observer must outlive the server.
  std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
  MakeInterceptorFactory();

  // Finished RPCs by method (`/package.Service/Method`) and gRPC status code.
  std::map<std::pair<std::string, int>, uint64_t> Counts() const
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Factory;
  class Interceptor;

  void Finished(absl::string_view method, int code, const std::string& message,
                absl::Duration took) ABSL_LOCKS_EXCLUDED(mutex_);

  const base::Clock* const clock_;
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> counts_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_RPC_OBSERVER_H_
