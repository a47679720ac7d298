#ifndef FAULTLINE_SERVER_GRPC_STATUS_H_
#define FAULTLINE_SERVER_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace grpc {
class CallbackServerContext;
}

namespace faultline::server {

// Trailer that carries a serialised v1::ErrorDetail.
inline constexpr char kErrorDetailTrailer[] = "faultline-error-detail-bin";

// `status` as the client gets it: the message cut to 1024 bytes, the
// v1::ErrorDetail in a trailer of `context` and, for tools that know nothing of
// us, beside google.rpc.RetryInfo in `grpc-status-details-bin`. UNAVAILABLE
// always carries a retry delay. Call once for each RPC, before it finishes.
grpc::Status ToGrpcStatus(const absl::Status& status,
                          grpc::CallbackServerContext* context);

// UNAVAILABLE: the server cannot take this now, try again soon.
absl::Status OverloadedError(absl::string_view message);
// UNAVAILABLE: the server stops.
absl::Status StoppingError();
// NOT_FOUND of the resource that `field` names.
absl::Status NotFoundError(absl::string_view field, absl::string_view name);

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_GRPC_STATUS_H_
