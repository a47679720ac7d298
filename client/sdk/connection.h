#ifndef FAULTLINE_CLIENT_SDK_CONNECTION_H_
#define FAULTLINE_CLIENT_SDK_CONNECTION_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "faultline/v1/ingest_service.pb.h"
#include "faultline/v1/policy_service.pb.h"

namespace faultline::sdk {

// One bidirectional call. One thread may write while another reads; Cancel may
// be called from any thread at any time, and unblocks both. Not otherwise
// thread-safe.
template <typename Request, typename Response>
class BidiStream {
 public:
  virtual ~BidiStream() = default;

  // Blocks until the request is on its way. False where the call has ended.
  virtual bool Write(const Request& request) = 0;
  // No more requests will come.
  virtual void WritesDone() = 0;
  // Blocks until there is a response. False where the call has ended.
  virtual bool Read(Response* response) = 0;
  // Ends the call with CANCELLED.
  virtual void Cancel() = 0;
  // How the call ended. Call once, after Read has returned false and while
  // nobody writes. Errors carry the server's ErrorDetail
  // (base::GetErrorDetail).
  virtual absl::Status Finish() = 0;
};

using TraceStream =
    BidiStream<v1::StreamTracesRequest, v1::StreamTracesResponse>;
using PolicyStream =
    BidiStream<v1::WatchPolicyRequest, v1::WatchPolicyResponse>;

// What the clients of this SDK ask of a server: single attempts; retries are
// the clients' business. MakeGrpcConnection (grpc_connection.h) makes the real
// one, tests/fakes/fake_server.h one for tests. Thread-safe.
//
// Errors carry the server's ErrorDetail (base::GetErrorDetail).
class Connection {
 public:
  virtual ~Connection() = default;

  // Never null and never blocks: a server that cannot be reached shows in the
  // stream's status.
  virtual std::unique_ptr<TraceStream> StreamTraces() = 0;
  virtual std::unique_ptr<PolicyStream> WatchPolicy() = 0;

  // DEADLINE_EXCEEDED where there is no answer within `timeout`; UNAVAILABLE
  // where the server cannot be reached; otherwise the server's status.
  virtual absl::StatusOr<v1::RecordOutcomesResponse> RecordOutcomes(
      const v1::RecordOutcomesRequest& request, absl::Duration timeout) = 0;
  virtual absl::StatusOr<v1::GetPolicyResponse> GetPolicy(
      const v1::GetPolicyRequest& request, absl::Duration timeout) = 0;
};

}  // namespace faultline::sdk

#endif  // FAULTLINE_CLIENT_SDK_CONNECTION_H_
