#ifndef FAULTLINE_CLIENT_SDK_GRPC_CONNECTION_H_
#define FAULTLINE_CLIENT_SDK_GRPC_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/sdk/connection.h"

namespace faultline::sdk {

// The status of a finished call, with the ErrorDetail that the server sent
// beside it (base::GetErrorDetail).
absl::Status ToStatus(const grpc::Status& status,
                      const grpc::ClientContext& context);

// A channel without TLS to `target`, such as `127.0.0.1:7171`. It connects
// when it is first used and notices a dead peer by keep-alive.
std::shared_ptr<grpc::Channel> MakeInsecureChannel(const std::string& target);

// The connection over a channel, which may be shared and may carry TLS and
// credentials of its own.
std::shared_ptr<Connection> MakeGrpcConnection(
    const std::shared_ptr<grpc::Channel>& channel);

}  // namespace faultline::sdk

#endif  // FAULTLINE_CLIENT_SDK_GRPC_CONNECTION_H_
