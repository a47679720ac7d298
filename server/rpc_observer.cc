#include "server/rpc_observer.h"

#include <glog/logging.h>
#include <grpcpp/support/server_interceptor.h>

namespace faultline::server {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

class RpcObserver::Interceptor : public grpc::experimental::Interceptor {
 public:
  Interceptor(RpcObserver* observer, const char* method)
      : observer_(observer),
        method_(method),
        start_(observer->clock_->SteadyNow()) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::Status status = methods->GetSendStatus();
      observer_->Finished(method_, status.error_code(), status.error_message(),
                          observer_->clock_->SteadyNow() - start_);
    }
    methods->Proceed();
  }

 private:
  RpcObserver* const observer_;
  const char* const method_;
  const absl::Duration start_;
};

class RpcObserver::Factory
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(RpcObserver* observer) : observer_(observer) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      ServerRpcInfo* info) override {
    return new Interceptor(observer_, info->method());  // gRPC owns it
  }

 private:
  RpcObserver* const observer_;
};

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
RpcObserver::MakeInterceptorFactory() {
  return std::make_unique<Factory>(this);
}

std::map<std::pair<std::string, int>, uint64_t> RpcObserver::Counts() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

void RpcObserver::Finished(absl::string_view method, int code,
                           const std::string& message, absl::Duration took) {
  {
    absl::MutexLock lock(&mutex_);
    ++counts_[{std::string(method), code}];
  }
  const bool own_fault = code == grpc::StatusCode::INTERNAL ||
                         code == grpc::StatusCode::DATA_LOSS ||
                         code == grpc::StatusCode::UNKNOWN;
  if (own_fault) {
    LOG(ERROR) << method << " failed, code " << code << ": " << message;
  } else {
    VLOG(1) << method << " code " << code << " after " << took << " "
            << message;
  }
}

}  // namespace faultline::server
