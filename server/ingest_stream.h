#ifndef FAULTLINE_SERVER_INGEST_STREAM_H_
#define FAULTLINE_SERVER_INGEST_STREAM_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/ingest_service.pb.h"
#include "faultline/v1/record.pb.h"
#include "lib/ingest/ingestor.h"
#include "server/ingest_lane.h"
#include "server/stream_registry.h"

namespace faultline::server {

// One StreamTraces call. Reads ahead until `window` traces and pieces are
// unsettled;
// commits may finish in any order, acknowledgements go out in the order of the
// stream, several of them in one response where the client is slow. Ends with
// OK after the client's half-close, or with an error after the last
// acknowledgement that it can still give.
//
// A request that a quota or a full log refuses for a short while is held, and
// nothing more is read: the client is slowed by its window. Where the delay is
// long the stream ends with the refusal, and the client comes back after it.
//
// gRPC's threads, the lane's and the log's committer enter it; whichever
// decides on the next operation under the lock starts it outside. Lives until
// both have let go of it. Thread-safe.
class IngestStream final
    : public std::enable_shared_from_this<IngestStream>,
      public grpc::ServerBidiReactor<v1::StreamTracesRequest,
                                     v1::StreamTracesResponse>,
      public DrainableStream {
 public:
  // Told of each commit that stored something new.
  using OnStored = std::function<void(const std::string& project)>;

  // Starts reading. gRPC owns the reactor.
  static IngestStream* Start(grpc::CallbackServerContext* context,
                             ingest::Ingestor* ingestor, IngestLane* lane,
                             StreamRegistry* registry, uint64_t window,
                             OnStored on_stored);

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnDone() override;
  void Drain() override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Traces or pieces of one request, from the read until the response.
  struct Batch {
    uint64_t first;  // position in the stream
    uint64_t count;
    bool pieces;
    bool settled = false;
    ingest::Ingestor::Result result;
  };

  IngestStream(grpc::CallbackServerContext* context, ingest::Ingestor* ingestor,
               IngestLane* lane, StreamRegistry* registry, uint64_t window,
               OnStored on_stored);

  // Reads the project's name from the first request.
  absl::Status Greet() ABSL_LOCKS_EXCLUDED(mutex_);
  // Has the request accepted, here or on a thread of the lane.
  void HandOver() ABSL_LOCKS_EXCLUDED(mutex_);
  // Hands the request to the ingestor. What is left of it after an error may
  // be handed over again; otherwise the error ends the stream.
  absl::Status Accept() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status AcceptTraces() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status AcceptPieces() ABSL_LOCKS_EXCLUDED(mutex_);
  // After handing over `elements`: takes the batch back where that failed.
  template <typename Element>
  absl::Status TakeBack(absl::Status status, std::vector<Element>* elements);
  // A batch for what comes next in the stream; null where the stream ends. It
  // lives as long as the stream.
  Batch* AddBatch(size_t count, bool pieces) ABSL_LOCKS_EXCLUDED(mutex_);
  // What ends the batch that was added last, once it is durable.
  ingest::Ingestor::Done Settler(Batch* batch);
  // Takes the batch that was added last back.
  void DropBatch() ABSL_LOCKS_EXCLUDED(mutex_);
  // What follows on a read, or on the end of a hold.
  void Advance(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether the request waits, after `refused`, to be handed over again.
  bool Hold(const absl::Status& refused) ABSL_LOCKS_EXCLUDED(mutex_);
  void Settle(Batch* batch, absl::StatusOr<ingest::Ingestor::Result> result)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The stream takes nothing more and will end with `status`.
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Starts what is due: a read, a write, the end.
  void Proceed() ABSL_LOCKS_EXCLUDED(mutex_);
  bool FillResponse() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  grpc::CallbackServerContext* const context_;
  ingest::Ingestor* const ingestor_;
  IngestLane* const lane_;
  StreamRegistry* const registry_;
  const uint64_t window_;
  const OnStored on_stored_;
  std::shared_ptr<IngestStream> self_;  // until OnDone

  // Each belongs to gRPC while its operation is in flight.
  v1::StreamTracesRequest request_;
  // What of the request is not handed over yet.
  std::vector<v1::Trace> traces_;
  std::vector<v1::Piece> pieces_;
  // Whether what was refused last is still among them.
  bool may_hold_ = false;
  size_t request_bytes_ = 0;
  v1::StreamTracesResponse response_;
  // Set by the first read.
  std::string project_;

  absl::Mutex mutex_;
  std::deque<std::unique_ptr<Batch>> batches_ ABSL_GUARDED_BY(mutex_);
  uint64_t received_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t settled_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t duplicates_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t durable_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool greeting_due_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more can be settled
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  // Ends a hold. A new one for each, since it may be replaced while it rings.
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<IngestStream> held_ ABSL_GUARDED_BY(mutex_);  // during one
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_INGEST_STREAM_H_
